// All texts of the page: the sentence on the current figures, the log of actions, and the
// announcements for screen readers.

import { byId, el, mark, say } from "./dom.js";
import { clock } from "./format.js";

const LINES = 50;
const AT_ONCE_S = 1;
const STARTING = "Two blogs start, both empty, and get the same work to do …";
const RUNNING = "The same blog, twice, with the same work to do.";
const SPEAK_EVERY_MS = 1_500;

export class Words {
  constructor(log) {
    this.log = log;
    this.drawn = null;
    this.epoch = -1;
    this.said = null;
    this.at = -1;
    this.gist = "";
    this.toSpeak = [];
    this.spokeAt = 0;
    this.pool = Array.from({ length: LINES }, () => {
      const at = el("span", { class: "line-at" });
      const says = el("span", { class: "line-says" });
      return { at, says, root: el("li", { hidden: true }, at, " ", says) };
    });
    this.log?.append(...this.pool.map((one) => one.root));
  }

  show(model, view, now) {
    this._sentence(model, view);
    this._lines(model);
    this._speak(now);
    byId("missed").hidden = !model.misses;
    if (model.misses)
      say(byId("missed"), `! ${model.missed} pictures missed: this screen's network is too slow`);
    const mode = { live: "", paused: "PAUSED · ", replay: "REPLAY · " }[view.mode];
    const late = view.mode === "live" ? "" : ` (${clock(model.newest - view.t)} ago)`;
    say(byId("clock"), model.hello ? `${mode}${clock(view.t)}${late}` : "");
    mark(document.body, "data-mode", view.mode);
  }

  _sentence(model, view) {
    if (view.mode !== "live" && view.t === this.at) return;
    this.at = view.t;
    const seen = model.saidAt(view.t);
    if (!seen) {
      this.said = null;
      say(byId("seen"), model.ticks.length ? RUNNING : STARTING);
      return say(byId("claim"), "");
    }
    if (seen === this.said) return;
    this.said = seen;
    say(byId("seen"), seen.says);
    const claim = seen.claim ? model.hello?.claims?.[seen.claim] : null;
    say(byId("claim"), claim ? `The notes (${seen.claim}): ${claim}` : "");
    // A sentence that differs only in its figures is not announced again.
    const gist = seen.says.replace(/[\d.]+/g, "");
    if (gist !== this.gist) this.speak(seen.says);
    this.gist = gist;
  }

  /** Shows the log, the newest line first. */
  _lines(model) {
    const newest = model.lines.at(-1) ?? null;
    if (!this.log || (newest === this.drawn && model.epoch === this.epoch)) return;
    if (newest && model.epoch === this.epoch) this.speak(newest.says);
    this.drawn = newest;
    this.epoch = model.epoch;
    const lines = together(model.lines);
    this.pool.forEach(({ at, says, root }, i) => {
      const line = lines[lines.length - 1 - i];
      root.hidden = !line;
      if (!line) return;
      say(at, clock(line.t));
      say(says, line.half ? `${line.half}: ${line.says}` : line.says);
      mark(says, "title", line.says);
      mark(root, "data-kind", line.kind);
    });
  }

  /** Queues a text for the screen reader, which gets the queue every SPEAK_EVERY_MS. */
  speak(text) {
    if (this.toSpeak.at(-1) !== text) this.toSpeak.push(text);
    if (this.toSpeak.length > 3) this.toSpeak.shift();
  }

  _speak(now) {
    if (!this.toSpeak.length || now - this.spokeAt < SPEAK_EVERY_MS) return;
    this.spokeAt = now;
    say(byId("spoken"), this.toSpeak.splice(0).join(" "));
  }
}

/** Merges the two lines of an action on both panes into one. */
function together(lines) {
  const told = [];
  for (const line of lines) {
    const before = told.at(-1);
    const same =
      before?.half &&
      line.half &&
      before.half !== line.half &&
      before.kind === line.kind &&
      line.t - before.t < AT_ONCE_S &&
      firstWords(before.says) === firstWords(line.says);
    if (same)
      told[told.length - 1] = {
        ...line,
        half: "both",
        says: `${firstWords(line.says).replace(/\.$/, "")}.`,
      };
    else told.push(line);
  }
  return told;
}

/** The first sentence of a line: the rest is the evidence, which differs between the panes. */
const firstWords = (says) => says.split(". ", 1)[0];

let hides = 0;

/** Shows the presenter a sentence for 6 seconds, as why the lab refused a request. */
export function notice(text) {
  const box = byId("notice");
  say(box, text);
  box.hidden = !text;
  clearTimeout(hides);
  hides = setTimeout(() => (box.hidden = true), 6_000);
}
