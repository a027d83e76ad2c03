// The presenter's controls: target and faults, the load, the screen. Every button shows the key
// that does the same.

import { byId, button, el, mark, say } from "./dom.js";
import { FAULTS, TARGETS } from "./faults.js";

const SCOPES = [
  ["left", "q", "Left"],
  ["both", "w", "Both"],
  ["right", "e", "Right"],
];
export const MIXES = [
  ["mostly reads", { read_feed: 18, create_post: 1, create_comment: 1 }],
  ["usual mix", { read_feed: 6, create_post: 1, create_comment: 3 }],
  ["mostly writes", { read_feed: 3, create_post: 2, create_comment: 5 }],
];

/** A labelled slider. Calls `moving` with each value as it moves, `moved` when it is released. */
function slider(label, { min, max, step, value }, unit, moving, moved) {
  const shown = el("output", {}, `${value} ${unit}`);
  const input = el("input", { type: "range", min, max, step, value, "aria-label": label });
  input.addEventListener("input", () => {
    say(shown, `${input.value} ${unit}`);
    moving(Number(input.value));
  });
  input.addEventListener("change", () => moved(Number(input.value)));
  const root = el("label", { class: "slider" }, input, shown);
  return { root, input, shown };
}

/** A row of buttons, one of which is selected. */
function choice(label, options, choose) {
  const buttons = options.map(([value, key, text]) => {
    const one = button(text, key, { "data-value": value }, () => choose(value));
    return one;
  });
  const root = el("div", { class: "choice", role: "group", "aria-label": label }, ...buttons);
  const show = (value) =>
    buttons.forEach((one) => mark(one, "aria-pressed", String(one.dataset.value === value)));
  return { root, show };
}

export class Controls {
  /** @param {import("./faults.js").Breaker} breaker @param {any} acts the actions of keys too */
  constructor(breaker, acts) {
    this.breaker = breaker;
    this.targets = choice(
      "What to break",
      TARGETS.map((name, i) => [name, String(i + 1), name]),
      acts.target,
    );
    this.scopes = choice("In which half", SCOPES, acts.scope);
    const slow = slider(
      "How much slower",
      { min: 50, max: 3000, step: 50, value: breaker.slowMs },
      "ms",
      (v) => (breaker.slowMs = v),
      () => breaker.moved("latency"),
    );
    const fail = slider(
      "How many fail",
      { min: 5, max: 100, step: 5, value: breaker.failPercent },
      "%",
      (v) => (breaker.failPercent = v),
      () => breaker.moved("error"),
    );
    const beside = { latency: slow.root, error: fail.root };
    const faults = FAULTS.map((fault) => {
      const one = button(fault.label, fault.key, { class: "breaks" }, () => acts.fault(fault));
      return beside[fault.kind]
        ? el("span", { class: "with-slider" }, one, beside[fault.kind])
        : one;
    });
    this.rate = slider(
      "Requests a second in each half",
      { min: 5, max: 200, step: 5, value: 40 },
      "/s",
      () => {},
      (v) => acts.load({ rate: v }),
    );
    this.mix = el(
      "select",
      { "aria-label": "What is asked for", class: "mix" },
      ...MIXES.map(([text], i) => el("option", { value: i }, text)),
      el("option", { value: "", hidden: true }, "own mix"),
    );
    this.mix.addEventListener("change", () =>
      acts.load({ mix: MIXES[Number(this.mix.value)][1] }),
    );
    this.log = el("ol", {
      class: "log",
      tabindex: "0",
      "aria-label": "What was done, the newest first",
    });
    const label = (text) => el("span", { class: "row-label" }, text);
    this.victim = el("span", { class: "victim" });
    this.rows = [
      el(
        "div",
        { class: "row" },
        label("Break"),
        this.targets.root,
        label("in"),
        this.scopes.root,
      ),
      el(
        "div",
        { class: "row" },
        this.victim,
        ...faults,
        button("Heal", "u", { class: "heals" }, acts.heal),
        button("Heal all", "0", { class: "heals" }, acts.healAll),
      ),
      el(
        "div",
        { class: "row" },
        label("Load"),
        this.rate.root,
        button("−", "-", { "aria-label": "Less load" }, acts.less),
        button("+", "+", { "aria-label": "More load" }, acts.more),
        this.mix,
        this._form(acts),
      ),
    ];
    byId("controls").append(el("div", { class: "desk" }, ...this.rows), this.log);
    this.screen = {
      pause: button("Pause", ".", { "aria-pressed": "false" }, acts.pause),
      replay: button("Last minute", "b", { "aria-pressed": "false" }, acts.replay),
      reset: button("Reset", "r", {}, acts.reset),
      presenting: button("Large", "p", {}, acts.presenting),
      theme: button("Light/dark", "d", {}, acts.theme),
      help: button("Keys", "?", {}, acts.help),
    };
    byId("screen").append(...Object.values(this.screen));
    this.shown = {};
    this.choose();
  }

  _form(acts) {
    this.text = el("input", {
      type: "text",
      name: "text",
      maxlength: 2000,
      autocomplete: "off",
      dir: "auto",
      placeholder: "Write as a reader …",
      "aria-label": "Text of a post or a comment",
    });
    const form = el(
      "form",
      { class: "write" },
      this.text,
      button("Post", "n", {}, () => acts.write("post")),
      button("Comment", "c", {}, () => acts.write("comment")),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      acts.write(this.wanted ?? "post");
    });
    return form;
  }

  /** Shows the selected target and scope. */
  choose() {
    this.targets.show(this.breaker.target);
    this.scopes.show(this.breaker.scope);
    say(this.victim, `${this.breaker.target}:`);
  }

  /** Shows the current load, and whether the screen is paused or replays. */
  show(model, view) {
    const { load } = model;
    if (load && load !== this.shown.load && document.activeElement !== this.rate.input) {
      this.shown.load = load;
      this.rate.input.value = load.rate;
      say(this.rate.shown, `${Math.round(load.rate)} /s`);
      const known = MIXES.findIndex(([, mix]) =>
        Object.entries(mix).every(([k, n]) => load.mix?.[k] === n),
      );
      this.mix.value = known < 0 ? "" : String(known);
    }
    mark(this.screen.pause, "aria-pressed", String(view.mode === "paused"));
    mark(this.screen.replay, "aria-pressed", String(view.mode === "replay"));
  }

  /** Removes the controls for a spectator, except those of the own screen and the log. */
  watchOnly() {
    byId("controls").classList.add("watching");
    byId("controls").querySelector(".desk").remove();
    this.screen.reset.remove();
    this.victim = el("span", { class: "victim" });
    this.rows = [];
  }
}
