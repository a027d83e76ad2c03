// All texts of the page: the sentence on the current figures, the log of actions, and the
// announcements for screen readers.

import { byId, el, updateAttribute, setText, withBoldNames } from "./dom.js";
import { clock, duration, faultName } from "./format.js";

const HEALED_S = 5;
const MOST_CLOCKS = 2;

const LINES = 50;
const AT_ONCE_S = 1;
const STARTING = "Two empty blogs are starting. Both get the same requests …";
const FULL =
  "You are not connected: the lab serves no more screens. Watch the projector; this page tries again by itself.";
const RUNNING = "The same blog, twice, with the same requests.";
const SPEAK_EVERY_MS = 1_500;

export class Announcements {
  constructor(log) {
    this.log = log;
    this.newestShown = null;
    this.epoch = -1;
    this.comment = null;
    this.shownT = -1;
    this.lastText = "";
    this.queue = [];
    this.announcedAt = 0;
    this.pool = Array.from({ length: LINES }, () => {
      const at = el("span", { class: "line-at" });
      const says = el("span", { class: "line-says" });
      return { at, says, root: el("li", { hidden: true }, at, " ", says) };
    });
    this.log?.append(...this.pool.map((line) => line.root));
  }

  show(model, view, now) {
    this._showComment(model, view);
    this._showLog(model);
    this._flush(now);
    byId("missed").hidden = !model.missedRecently;
    if (model.missedRecently)
      setText(
        byId("missed"),
        `! ${model.missed} updates missed: this screen's network is too slow`,
      );
    this._showLateness(model, view);
    this._showOutage(model, view);
    const mode = { live: "", paused: "PAUSED · ", replay: "REPLAY · " }[view.mode];
    const late = view.mode === "live" ? "" : ` (${clock(model.newest - view.t)} ago)`;
    setText(byId("clock"), model.hello ? `${mode}${clock(view.t)}${late}` : "");
    updateAttribute(document.body, "data-mode", view.mode);
  }

  /** Says so when the machine is too busy to send its own load in time. */
  _showLateness(model, view) {
    const late = model.tickAt(view.t)?.lag?.schedule_p99_ms ?? 0;
    const limit = model.hello?.late_after_ms ?? Infinity;
    byId("late").hidden = late <= limit;
    if (late > limit)
      setText(byId("late"), `▲ Machine busy: up to +${duration(late)}`);
  }

  /** The active faults, each with its own clock: `comments DOWN · 0:12`; or what was just healed. */
  _showOutage(model, view) {
    const active = model.faultIntervals.filter(
      ({ since, until }) => since <= view.t && view.t < until,
    );
    const healed = model.faultIntervals.findLast(
      ({ until }) => until <= view.t && view.t < until + HEALED_S,
    );
    const name = ({ fault }) => `${fault.target} ${faultName(fault)}`;
    const clocks = new Map(); // a fault in both halves has one clock
    for (const one of active)
      if (!clocks.has(name(one))) clocks.set(name(one), clock(view.t - one.since));
    const running = [...clocks].map(([says, time]) => `${says} · ${time}`);
    const more = running.length > MOST_CLOCKS ? ` +${running.length - MOST_CLOCKS}` : "";
    const ended = healed ? `healed: ${name(healed)}` : "";
    setText(byId("outage"), running.slice(-MOST_CLOCKS).join(" | ") + more || ended);
  }

  _showComment(model, view) {
    if (view.mode !== "live" && view.t === this.shownT) return;
    this.shownT = view.t;
    const comment = model.commentAt(view.t);
    if (!comment) {
      this.comment = null;
      const isFull = document.body.dataset.state === "full";
      showSentence(isFull ? FULL : model.ticks.length ? RUNNING : STARTING);
      return setText(byId("claim"), "");
    }
    if (comment === this.comment) return;
    this.comment = comment;
    showSentence(comment.says);
    const claim = comment.claim ? model.hello?.claims?.[comment.claim] : null;
    setText(byId("claim"), claim ? `What the course claims (${comment.claim}): ${claim}` : "");
    // A sentence that differs only in its figures is not announced again.
    const text = comment.says.replace(/[\d.]+/g, "");
    if (text !== this.lastText) this.announce(comment.says.replaceAll("`", ""));
    this.lastText = text;
  }

  /** Shows the log, the newest line first. */
  _showLog(model) {
    const newest = model.log.at(-1) ?? null;
    if (!this.log || (newest === this.newestShown && model.epoch === this.epoch)) return;
    if (newest && model.epoch === this.epoch) this.announce(newest.says);
    this.newestShown = newest;
    this.epoch = model.epoch;
    const lines = mergePaneLines(model.log);
    this.pool.forEach(({ at, says, root }, i) => {
      const line = lines[lines.length - 1 - i];
      root.hidden = !line;
      if (!line) return;
      setText(at, clock(line.t));
      setText(says, line.half ? `${line.half}: ${line.says}` : line.says);
      updateAttribute(says, "title", line.says);
      updateAttribute(root, "data-kind", line.kind);
    });
  }

  /** Queues a text for the screen reader, which gets the queue every SPEAK_EVERY_MS. */
  announce(text) {
    if (this.queue.at(-1) !== text) this.queue.push(text);
    if (this.queue.length > 3) this.queue.shift();
  }

  _flush(now) {
    if (!this.queue.length || now - this.announcedAt < SPEAK_EVERY_MS) return;
    this.announcedAt = now;
    setText(byId("spoken"), this.queue.splice(0).join(" "));
  }
}

let shownSentence = "";

/** Shows the sentence. */
function showSentence(text) {
  if (text === shownSentence) return;
  shownSentence = text;
  byId("seen").replaceChildren(...withBoldNames(text));
}

/** Merges the two lines of an action on both panes into one. */
function mergePaneLines(lines) {
  const merged = [];
  for (const line of lines) {
    const before = merged.at(-1);
    const same =
      before?.half &&
      line.half &&
      before.half !== line.half &&
      before.kind === line.kind &&
      line.t - before.t < AT_ONCE_S &&
      firstSentence(before.says) === firstSentence(line.says);
    if (same)
      merged[merged.length - 1] = {
        ...line,
        half: "both",
        says: `${firstSentence(line.says).replace(/\.$/, "")}.`,
      };
    else merged.push(line);
  }
  return merged;
}

/** The first sentence of a line: the rest is the evidence, which differs between the panes. */
const firstSentence = (says) => says.split(". ", 1)[0];

let hideTimer = 0;

/** Shows the presenter a sentence for 6 seconds, as why the lab refused a request. */
export function showNotice(text) {
  const box = byId("notice");
  setText(box, text);
  box.hidden = !text;
  clearTimeout(hideTimer);
  hideTimer = setTimeout(() => (box.hidden = true), 6_000);
}
