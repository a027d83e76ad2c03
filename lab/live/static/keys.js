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
    ["n", "write a post, with a ready text", () => actions.write("post"), false],
    ["c", "write a comment, with a ready text", () => actions.write("comment"), false],
    ["/", "type a text of your own; Enter sends it as a post", actions.focusText, false],
    ["t", "follow a comment in slow motion; again: another one", actions.follow, false],
    ["l", "one write that readers will never see: where it was last", actions.followMissing, false],
    ["a", "ask the room for a bet; close it; finish it", actions.nextBet, false],
    ["i", "invite phones: the address as a QR code", actions.toggleInvitation, false],
    ["r", "restart both blogs with no data (asks once)", actions.reset, false],
    ["o", "open a prepared demonstration", actions.listScenarios, false],
    [" ", "next step of the script; without one: pause", actions.nextStepOrPause, true],
    ["PageDown", "next step of the script, or the rest of a long text", actions.nextPage, false],
    ["PageUp", "back in a long text", actions.previousPage, false],
    ["Backspace", "one step of the script back", actions.previousStep, false],
    ["g", "the last step of the script again", actions.repeatStep, false],
    [".", "pause the screen, and go on", actions.pause, true],
    ["b", "the last minute again, and back to now", actions.replay, true],
    ["ArrowLeft", "a second back", () => actions.stepTime(-1), true],
    ["ArrowRight", "a second on", () => actions.stepTime(1), true],
    ["p", "large type for presenting", actions.toggleLargeType, true],
    ["v", "in large type: only the readers, only the chart, or all", actions.nextStage, true],
    ["d", "light or dark", actions.toggleTheme, true],
    ["?", "these keys", actions.help, true],
    ["Escape", "back to now", actions.backToLive, true],
  ];
}

const FAULT_LABELS = {
  down: "kill what is chosen",
  hang: "hang it: it accepts requests and never responds",
  latency: "make it slow (slider)",
  error: "let it return errors (slider)",
  partition: "partition it from its main caller, or from the bus",
};

// Keys at the place of a symbol of the US layout, for layouts that have another symbol there.
const SYMBOL_CODES = {
  Equal: "+",
  NumpadAdd: "+",
  Minus: "-",
  NumpadSubtract: "-",
  Period: ".",
  Slash: "?",
};

/**
 * The key of the table that this event means: first by what it types, then by its place. So `k`
 * works in a Greek or Cyrillic layout too, and `+` without Shift.
 */
export function keyOf(event, known) {
  const typed = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (known.has(typed) || event.key.length > 1) return typed;
  const place = /^(?:Key|Digit|Numpad)([A-Z0-9])$/.exec(event.code)?.[1].toLowerCase();
  return place ?? SYMBOL_CODES[event.code] ?? typed;
}

const NAMES = { " ": "Space", PageDown: "PgDn", PageUp: "PgUp", ArrowLeft: "←", ArrowRight: "→", Escape: "Esc", Backspace: "⌫" };

/**
 * Handles key presses. `isSpectator` tells whether this screen is a spectator's, `areOn` whether
 * keys of a single character act (WCAG 2.1.4: somebody who dictates turns them off).
 */
export function handleKeys(keys, isSpectator, areOn) {
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
    const key = keyOf(event, known);
    const binding = known.get(key);
    if (key.length === 1 && !areOn()) return;
    if (!binding || (isSpectator() && !binding.forAll)) return;
    // A key that is held down repeats its action only for the load and for steps in time.
    if (event.repeat && !/^(Arrow.*|[+-])$/.test(key)) return;
    event.preventDefault();
    binding.action();
  });
}

/** Shows all keys in a dialog. */
export function showKeyDialog(keys, isSpectator, theme) {
  const dialog = byId("keys");
  const shown = keys.filter(([, , , forAll]) => forAll || !isSpectator());
  dialog.replaceChildren(
    el(
      "h2",
      { id: "keys-title" },
      theme.settings.singleKeys ? "Keys" : "Keys (those of one character are off)",
    ),
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
      "A round dot is a request and, hollow, its response; a square is an event. ",
      "Each is a real one. A dot is on its way for a third of a second at least: most take some milliseconds.",
    ),
    el(
      "p",
      { class: "dialog-buttons" },
      button("Close", "Esc", { class: "main" }, () => dialog.close()),
      button(theme.settings.singleKeys ? "Turn keys off" : "Turn keys on", "", {}, () => {
        theme.toggleSingleKeys();
        showKeyDialog(keys, isSpectator, theme);
      }),
    ),
  );
  if (!dialog.open) dialog.showModal();
}
