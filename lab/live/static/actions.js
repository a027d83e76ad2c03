// The presenter's actions, one function each: buttons and keys both call these.

import { askAgain } from "./reset_dialog.js";
import { MIXES } from "./controls.js";
import { post } from "./api.js";
import { byId } from "./dom.js";
import { showKeys, table } from "./keys.js";
import { notice } from "./announcements.js";

const LEAST_RATE = 5;
const MOST_RATE = 200;

async function wish(path, body) {
  const answer = await post(path, body);
  if (answer.says) notice(answer.says);
  return answer;
}

/** @param {any} page model, view, look, breaker and, added later, controls and halves */
export function desk(page) {
  const { model, view, look, breaker } = page;
  const choose = (what, value) => {
    breaker[what] = value;
    page.controls.choose();
  };
  const load = (change) => wish("/api/load", change);
  const more = (by) => {
    const rate = model.load?.rate ?? 40;
    const step = (by > 0 ? rate : rate - 1) < 20 ? 5 : 10;
    const wanted = Math.min(Math.max(rate + by * step, LEAST_RATE), MOST_RATE);
    model.load = { ...model.load, rate: wanted };
    return load({ rate: wanted });
  };
  const acts = {
    target: (name) => choose("target", name),
    scope: (scope) => choose("scope", scope),
    fault: (fault) => breaker.put(fault),
    heal: () => breaker.heal(),
    healAll: () => breaker.healAll(),
    load,
    more: () => more(1),
    less: () => more(-1),
    mix: () => {
      const is = MIXES.findIndex(
        ([, mix]) => JSON.stringify(mix) === JSON.stringify(model.load?.mix),
      );
      load({ mix: MIXES[(is + 1) % MIXES.length][1] });
    },
    type: (what) => {
      page.controls.wanted = what;
      byId("controls").querySelector(".write input").focus();
    },
    write: (what) => write(page, what),
    reset: () =>
      model.hello &&
      askAgain(model.hello, async (choice) => {
        document.body.dataset.state = "resetting";
        const answer = await wish("/api/reset", choice);
        if (answer.says) document.body.dataset.state = "open";
      }),
    next: () => wish("/api/step", {}),
    space: () => (model.script && page.role === "presenter" ? acts.next() : view.pause()),
    pause: () => view.pause(),
    replay: () => view.replay(),
    live: () => {
      page.script.putAway();
      view.live();
    },
    step: (seconds) => view.step(seconds),
    presenting: () => look.turnPresenting(),
    theme: () => look.turnTheme(),
    help: () => showKeys(acts.keys, () => page.role !== "presenter"),
  };
  acts.keys = table(acts);
  return acts;
}

/** Sends a post or comment to each selected pane; each pane shows its own response. */
async function write(page, what) {
  const { text } = page.controls;
  const written =
    text.value.trim() ||
    (what === "post" ? "Hello from the lecture" : "A comment from the lecture");
  text.value = "";
  text.blur();
  const names = new Set(page.breaker.halves.map((half) => half.name));
  await Promise.all(
    page.halves
      .filter((half) => names.has(half.name))
      .map(async ({ name, blog }) => {
        const postId = blog.target;
        if (what === "comment" && !postId)
          return blog.wrote(what, { status: 0, says: "there is no post yet" });
        const body =
          what === "post"
            ? { half: name, title: written }
            : { half: name, post_id: postId, content: written };
        blog.wrote(what, await post(`/api/${what}`, body));
        blog.ask(page.model);
      }),
  );
}
