// The table of all keys: the page handles these, and `?` shows them.

import { byId, button, el } from "./dom.js";
import { FAULTS, TARGETS } from "./faults.js";

const TYPING = "input:not([type=range]), textarea, select";

/** @returns {[string, string, () => void, boolean][]} key, label, action, for spectators too */
export function table(acts) {
  return [
    ...TARGETS.map((name, i) => [String(i + 1), `choose ${name}`, () => acts.target(name), false]),
    ...FAULTS.map((fault) => [fault.key, SAYS[fault.kind], () => acts.fault(fault), false]),
    ["u", "heal it", acts.heal, false],
    ["0", "heal all", acts.healAll, false],
    ["q", "act on the left half only", () => acts.scope("left"), false],
    ["w", "act on both halves", () => acts.scope("both"), false],
    ["e", "act on the right half only", () => acts.scope("right"), false],
    ["+", "more load", acts.more, false],
    ["-", "less load", acts.less, false],
    ["m", "another mix of reads and writes", acts.mix, false],
    ["n", "write a post", () => acts.type("post"), false],
    ["c", "write a comment", () => acts.type("comment"), false],
    ["r", "reset: start clean (asks once)", acts.reset, false],
    [" ", "next step of the script; without one: pause", acts.space, true],
    [".", "pause the screen, and go on", acts.pause, true],
    ["b", "the last minute again, and back to now", acts.replay, true],
    ["ArrowLeft", "a second back", () => acts.step(-1), true],
    ["ArrowRight", "a second on", () => acts.step(1), true],
    ["p", "large type for presenting", acts.presenting, true],
    ["d", "light or dark", acts.theme, true],
    ["?", "these keys", acts.help, true],
    ["Escape", "back to now", acts.live, true],
  ];
}

const SAYS = {
  down: "kill what is chosen",
  hang: "hang it: it takes requests and never answers",
  latency: "make it slow (slider)",
  error: "have it fail (slider)",
  partition: "cut it off from who asks or tells it",
};

const NAMES = { " ": "Space", ArrowLeft: "←", ArrowRight: "→", Escape: "Esc" };

/** Handles key presses. `watches` tells whether this screen is a spectator's. */
export function obey(keys, watches) {
  const known = new Map(keys.map(([key, , act, forAll]) => [key, { act, forAll }]));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (document.querySelector("dialog[open]")) return;
    const { target } = event;
    if (target.matches?.(TYPING)) {
      if (event.key === "Escape") target.blur();
      return;
    }
    if (event.key === " " && target.matches?.("button")) return;
    if (event.key.startsWith("Arrow") && target.matches?.("[type=range], [tabindex]")) return;
    const one = known.get(event.key.length === 1 ? event.key.toLowerCase() : event.key);
    if (!one || (watches() && !one.forAll)) return;
    // A key that is held down repeats its action only for the load and for steps in time.
    if (event.repeat && !/^(Arrow.*|[+-])$/.test(event.key)) return;
    event.preventDefault();
    one.act();
  });
}

/** Shows all keys in a dialog. */
export function showKeys(keys, watches) {
  const dialog = byId("keys");
  const shown = keys.filter(([, , , forAll]) => forAll || !watches());
  dialog.replaceChildren(
    el("h2", { id: "keys-title" }, "Keys"),
    el(
      "dl",
      { class: "key-list" },
      ...shown.map(([key, says]) =>
        el("div", {}, el("dt", {}, el("kbd", {}, NAMES[key] ?? key)), el("dd", {}, says)),
      ),
    ),
    el(
      "p",
      { class: "note" },
      "A round dot is a question and, hollow, its answer; a square is an event. ",
      "Each is a real one. A dot is on its way for a third of a second at least: most take some milliseconds.",
    ),
    el(
      "p",
      { class: "dialog-buttons" },
      button("Close", "Esc", { class: "main" }, () => dialog.close()),
    ),
  );
  if (!dialog.open) dialog.showModal();
}
