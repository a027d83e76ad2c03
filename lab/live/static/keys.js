// The table of all keys: the page handles these, and `?` shows them.

import { byId, button, el } from "./dom.js";
import { FAULTS, TARGETS } from "./faults.js";

const TYPING = "input:not([type=range]), textarea, select";

/** @returns {[string, string, () => void, boolean][]} key, label, action, for spectators too */
export function keyTable(actions) {
  return [
    ...TARGETS.map((name, i) => [String(i + 1), `choose ${name}`, () => actions.chooseTarget(name), false]),
    ...FAULTS.map((fault) => [fault.key, FAULT_LABELS[fault.kind], () => actions.injectFault(fault), false]),
    ["u", "heal it", actions.heal, false],
    ["0", "heal all", actions.healAll, false],
    ["q", "action on the left half only", () => actions.chooseScope("left"), false],
    ["w", "action on both halves", () => actions.chooseScope("both"), false],
    ["e", "action on the right half only", () => actions.chooseScope("right"), false],
    ["+", "more load", actions.increaseLoad, false],
    ["-", "less load", actions.decreaseLoad, false],
    ["m", "another mix of reads and writes", actions.nextMix, false],
    ["n", "write a post", () => actions.focusText("post"), false],
    ["c", "write a comment", () => actions.focusText("comment"), false],
    ["r", "reset: start clean (asks once)", actions.reset, false],
    [" ", "next step of the script; without one: pause", actions.nextStepOrPause, true],
    [".", "pause the screen, and go on", actions.pause, true],
    ["b", "the last minute again, and back to now", actions.replay, true],
    ["ArrowLeft", "a second back", () => actions.stepTime(-1), true],
    ["ArrowRight", "a second on", () => actions.stepTime(1), true],
    ["p", "large type for presenting", actions.toggleLargeType, true],
    ["d", "light or dark", actions.toggleTheme, true],
    ["?", "these keys", actions.help, true],
    ["Escape", "back to now", actions.backToLive, true],
  ];
}

const FAULT_LABELS = {
  down: "kill what is chosen",
  hang: "hang it: it takes requests and never answers",
  latency: "make it slow (slider)",
  error: "have it fail (slider)",
  partition: "cut it off from who asks or tells it",
};

const NAMES = { " ": "Space", ArrowLeft: "←", ArrowRight: "→", Escape: "Esc" };

/** Handles key presses. `isSpectator` tells whether this screen is a spectator's. */
export function handleKeys(keys, isSpectator) {
  const known = new Map(keys.map(([key, , action, forAll]) => [key, { action, forAll }]));
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
    const binding = known.get(event.key.length === 1 ? event.key.toLowerCase() : event.key);
    if (!binding || (isSpectator() && !binding.forAll)) return;
    // A key that is held down repeats its action only for the load and for steps in time.
    if (event.repeat && !/^(Arrow.*|[+-])$/.test(event.key)) return;
    event.preventDefault();
    binding.action();
  });
}

/** Shows all keys in a dialog. */
export function showKeyDialog(keys, isSpectator) {
  const dialog = byId("keys");
  const shown = keys.filter(([, , , forAll]) => forAll || !isSpectator());
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
