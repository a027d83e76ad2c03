// The presenter's controls: target and faults, the load, the screen. Every button shows the key
// that does the same.

import { byId, button, el, updateAttribute, setText } from "./dom.js";
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

/** A labelled slider. Calls `onInput` with each value as it moves, `onChange` on its release. */
function slider(label, { min, max, step, value }, unit, onInput, onChange) {
  const shown = el("output", {}, `${value} ${unit}`);
  const input = el("input", { type: "range", min, max, step, value, "aria-label": label });
  input.addEventListener("input", () => {
    setText(shown, `${input.value} ${unit}`);
    onInput(Number(input.value));
  });
  input.addEventListener("change", () => onChange(Number(input.value)));
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
    buttons.forEach((one) =>
      updateAttribute(one, "aria-pressed", String(one.dataset.value === value)),
    );
  return { root, show };
}

export class Controls {
  /**
   * @param {import("./faults.js").FaultControls} faults
   * @param {any} actions the actions of keys too
   */
  constructor(faults, actions) {
    this.faults = faults;
    this.targets = choice(
      "What to break",
      TARGETS.map((name, i) => [name, String(i + 1), name]),
      actions.chooseTarget,
    );
    this.scopes = choice("In which half", SCOPES, actions.chooseScope);
    const slow = slider(
      "How much slower",
      { min: 50, max: 3000, step: 50, value: faults.slowMs },
      "ms",
      (v) => (faults.slowMs = v),
      () => faults.reinject("latency"),
    );
    const fail = slider(
      "How many fail",
      { min: 5, max: 100, step: 5, value: faults.failPercent },
      "%",
      (v) => (faults.failPercent = v),
      () => faults.reinject("error"),
    );
    const sliders = { latency: slow.root, error: fail.root };
    const faultButtons = FAULTS.map((fault) => {
      const one = button(fault.label, fault.key, { class: "breaks" }, () =>
        actions.injectFault(fault),
      );
      return sliders[fault.kind]
        ? el("span", { class: "with-slider" }, one, sliders[fault.kind])
        : one;
    });
    this.rate = slider(
      "Requests a second in each half",
      { min: 5, max: 200, step: 5, value: 20 },
      "/s",
      () => {},
      (v) => actions.load({ rate: v }),
    );
    this.mix = el(
      "select",
      { "aria-label": "What is asked for", class: "mix" },
      ...MIXES.map(([text], i) => el("option", { value: i }, text)),
      el("option", { value: "", hidden: true }, "own mix"),
    );
    this.mix.addEventListener("change", () =>
      actions.load({ mix: MIXES[Number(this.mix.value)][1] }),
    );
    this.log = el("ol", {
      class: "log",
      tabindex: "0",
      "aria-label": "What was done, the newest first",
    });
    const label = (text) => el("span", { class: "row-label" }, text);
    this.targetLabel = el("span", { class: "victim" });
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
        this.targetLabel,
        ...faultButtons,
        button("Heal", "u", { class: "heals" }, actions.heal),
        button("Heal all", "0", { class: "heals" }, actions.healAll),
      ),
      el(
        "div",
        { class: "row" },
        label("Load"),
        this.rate.root,
        button("−", "-", { "aria-label": "Less load" }, actions.decreaseLoad),
        button("+", "+", { "aria-label": "More load" }, actions.increaseLoad),
        this.mix,
        this._form(actions),
      ),
    ];
    byId("controls").append(el("div", { class: "desk" }, ...this.rows), this.log);
    this.screen = {
      pause: button("Pause", ".", { "aria-pressed": "false" }, actions.pause),
      replay: button("Last minute", "b", { "aria-pressed": "false" }, actions.replay),
      reset: button("Reset", "r", {}, actions.reset),
      presenting: button("Large", "p", {}, actions.toggleLargeType),
      theme: button("Light/dark", "d", {}, actions.toggleTheme),
      help: button("Keys", "?", {}, actions.help),
    };
    byId("screen").append(...Object.values(this.screen));
    this.lastShown = {};
    this.showSelection();
  }

  _form(actions) {
    this.text = el("input", {
      type: "text",
      name: "text",
      maxlength: 2000,
      autocomplete: "off",
      dir: "auto",
      placeholder: "Write as a reader (key /) …",
      "aria-label": "Text of a post or a comment",
    });
    const form = el(
      "form",
      { class: "write" },
      this.text,
      button("Post", "n", {}, () => actions.write("post")),
      button("Comment", "c", {}, () => actions.write("comment")),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      actions.write("post");
    });
    return form;
  }

  /** Shows the selected target and scope. */
  showSelection() {
    this.targets.show(this.faults.target);
    this.scopes.show(this.faults.scope);
    setText(this.targetLabel, `${this.faults.target}:`);
    // The choice buttons are hidden in large type; the scope must be seen there, too.
    document.body.dataset.scope = this.faults.scope;
  }

  /** Shows the current load, and whether the screen is paused or replays. */
  show(model, view) {
    const { load } = model;
    if (load && load !== this.lastShown.load && document.activeElement !== this.rate.input) {
      this.lastShown.load = load;
      this.rate.input.value = load.rate;
      setText(this.rate.shown, `${Math.round(load.rate)} /s`);
      const known = MIXES.findIndex(([, mix]) =>
        Object.entries(mix).every(([k, n]) => load.mix?.[k] === n),
      );
      this.mix.value = known < 0 ? "" : String(known);
    }
    updateAttribute(this.screen.pause, "aria-pressed", String(view.mode === "paused"));
    updateAttribute(this.screen.replay, "aria-pressed", String(view.mode === "replay"));
  }

  /** Removes the controls for a spectator, except those of the own screen and the log. */
  hidePresenterControls() {
    byId("controls").classList.add("watching");
    byId("controls").querySelector(".desk").remove();
    this.screen.reset.remove();
    this.targetLabel = el("span", { class: "victim" });
    this.rows = [];
  }
}
