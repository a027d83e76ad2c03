// The presenter's actions, one function each: buttons and keys both call these.

import { openResetDialog } from "./reset_dialog.js";
import { MIXES } from "./controls.js";
import { post } from "./api.js";
import { showKeyDialog, keyTable } from "./keys.js";
import { showNotice } from "./announcements.js";

let written = 0;
const LEAST_RATE = 5;
const MOST_RATE = 200;

async function send(path, body) {
  const answer = await post(path, body);
  if (answer.says) showNotice(answer.says);
  return answer;
}

/** @param {any} page model, view, theme, faults and, added later, controls and halves */
export function createActions(page) {
  const { model, view, theme, faults } = page;
  const choose = (what, value) => {
    faults[what] = value;
    page.controls.showSelection();
  };
  const load = (change) => send("/api/load", change);
  const changeRate = (direction) => {
    const rate = model.load?.rate ?? 40;
    const step = (direction > 0 ? rate : rate - 1) < 20 ? 5 : 10;
    const wanted = Math.min(Math.max(rate + direction * step, LEAST_RATE), MOST_RATE);
    model.load = { ...model.load, rate: wanted };
    return load({ rate: wanted });
  };
  const actions = {
    chooseTarget: (name) => choose("target", name),
    chooseScope: (scope) => choose("scope", scope),
    injectFault: (fault) => faults.inject(fault),
    heal: () => faults.heal(),
    healAll: () => faults.healAll(),
    load,
    increaseLoad: () => changeRate(1),
    decreaseLoad: () => changeRate(-1),
    nextMix: () => {
      const is = MIXES.findIndex(
        ([, mix]) => JSON.stringify(mix) === JSON.stringify(model.load?.mix),
      );
      load({ mix: MIXES[(is + 1) % MIXES.length][1] });
    },
    focusText: () => page.controls.text.focus(),
    write: (what) => sendPost(page, what),
    reset: () =>
      model.hello &&
      openResetDialog(model.hello, async (choice) => {
        document.body.dataset.state = "resetting";
        const answer = await send("/api/reset", choice);
        if (answer.says) document.body.dataset.state = "open";
      }),
    nextStep: () => send("/api/step", {}),
    previousStep: () => model.script && send("/api/step", { do: "back" }),
    repeatStep: () => model.script && send("/api/step", { do: "again" }),
    listScenarios: () => page.scenarios.open(),
    nextPage: () => page.script.scroll(1) || (model.script && actions.nextStep()),
    previousPage: () => page.script.scroll(-1),
    nextStepOrPause: () =>
      model.script && page.role === "presenter" ? actions.nextStep() : view.togglePause(),
    follow: () => page.slowMotion.follow(),
    followMissing: () => page.slowMotion.follow("missing"),
    nextBet: () => page.bets.next(model),
    toggleInvitation: () => page.bets.toggleInvitation(),
    pause: () => view.togglePause(),
    replay: () => view.toggleReplay(),
    backToLive: () => {
      page.card.close();
      page.script.hideSheet();
      page.bets.close();
      page.slowMotion.close();
      view.goLive();
    },
    stepTime: (seconds) => view.step(seconds),
    toggleLargeType: () => theme.toggleLargeType(),
    nextStage: () => theme.nextStage(),
    toggleTheme: () => theme.toggleTheme(),
    help: () => showKeyDialog(actions.keys, () => page.role !== "presenter", theme),
  };
  actions.keys = keyTable(actions);
  return actions;
}

/** Sends a post or comment to each selected pane; each pane shows its own response. */
async function sendPost(page, what) {
  const field = page.controls.text;
  const readyText = () => `${what === "post" ? "Post" : "Comment"} ${(written += 1)} from the lecture`;
  const text = field.value.trim() || readyText();
  field.value = "";
  field.blur();
  const names = new Set(page.faults.selectedPanes.map((half) => half.name));
  await Promise.all(
    page.halves
      .filter((half) => names.has(half.name))
      .map(async ({ name, blog }) => {
        const postId = blog.target;
        if (what === "comment" && !postId)
          return blog.showResponse(what, { status: 0, says: "the feed shows no post to comment on" });
        const body =
          what === "post"
            ? { half: name, title: text }
            : { half: name, post_id: postId, content: text };
        blog.showResponse(what, await post(`/api/${what}`, body));
        blog.refresh(page.model);
      }),
  );
}
