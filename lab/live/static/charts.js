// The chart of the last 60 seconds of one pane. Above, a band of the reads: each second is filled
// from below with the share that succeeded, and from above with the share that failed. Below, how
// long a writer waits for the response, and how long until readers see the write. The times of the
// faults lie behind both. Both panes have the same time axis and the same scale, which is
// logarithmic: both 3 ms and 3 s must be visible.

import { el, updateAttribute, setText, svg } from "./dom.js";
import { faultName } from "./format.js";
import { inLanes } from "./lanes.js";

const STEP_S = 1;
const MIN_MS = 1;
const MAX_MS = 10_000;
const SCALE_MARKS = [
  [10, "10 ms"],
  [100, "0.1 s"],
  [1_000, "1 s"],
];
const LEFT = 3; // in rem: space for the labels of the scale
const BOTTOM = 1.1;
const BAND = 0.38; // of the height
const GAP = 0.08;
const MAX_INTERVALS = 6;
const MAX_CACHED_WIDTHS = 200;

export class Chart {
  /** @param {string} hatch id of the fill pattern for the times of faults */
  constructor(name, hatch) {
    this.shades = Array.from({ length: MAX_INTERVALS }, () => ({
      area: svg("rect", { class: "shade", y: 0, fill: `url(#${hatch})` }),
      label: svg("text", { class: "shade-label" }),
    }));
    this.marks = SCALE_MARKS.map(([, text]) => ({
      line: svg("path", { class: "grid" }),
      label: svg("text", { class: "axis end" }, text),
    }));
    this.times = ["60 s ago", "30 s", "now"].map((text, i) =>
      svg("text", { class: `axis ${["", "middle", "end"][i]}` }, text),
    );
    this.bandFrame = svg("rect", { class: "band-frame", y: 0 });
    this.bandLabel = svg("text", { class: "axis end" }, "reads");
    this.succeeded = svg("path", { class: "band succeeded" });
    this.failed = svg("path", { class: "band failed" });
    this.answered = svg("path", { class: "line answered" });
    this.visible = svg("path", { class: "line visible" });
    this.drawing = svg(
      "svg",
      {
        class: "chart",
        role: "img",
        "aria-label": `${name}: successful and failed reads, and the time until a write is answered and visible, last 60 seconds`,
      },
      ...this.shades.map((one) => one.area),
      ...this.marks.flatMap((one) => [one.line, one.label]),
      ...this.times,
      this.bandFrame,
      this.bandLabel,
      this.succeeded,
      this.failed,
      this.visible,
      this.answered,
      ...this.shades.map((one) => one.label),
    );
    this.root = el(
      "figure",
      { class: "chart-box" },
      el(
        "figcaption",
        {},
        el("span", { class: "key succeeded" }, "reads succeed"),
        el("span", { class: "key failing" }, "fail"),
        el("span", { class: "key answered" }, "a write is answered"),
        el("span", { class: "key visible" }, "… is visible"),
      ),
      this.drawing,
    );
    this.lengths = new Map();
    this.width = this.left = this.bottom = 0;
    this.observer = new ResizeObserver(([entry]) => this._resize(entry.contentRect));
    this.observer.observe(this.drawing);
  }

  close() {
    this.observer.disconnect();
  }

  _resize({ width, height }) {
    if (!height) return; // the chart is hidden
    this.lengths.clear();
    this.width = Math.round(width);
    this.height = Math.round(height);
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    this.left = Math.round(LEFT * rem);
    this.bottom = Math.round(BOTTOM * rem);
    this.bandHeight = Math.round((this.height - this.bottom) * BAND);
    updateAttribute(this.bandFrame, "x", this.left);
    updateAttribute(this.bandFrame, "width", Math.max(0, this.width - this.left));
    updateAttribute(this.bandFrame, "height", this.bandHeight);
    updateAttribute(this.bandLabel, "x", this.left - 5);
    updateAttribute(this.bandLabel, "y", this.bandHeight / 2 + 0.25 * this.bottom);
    updateAttribute(this.drawing, "viewBox", `0 0 ${this.width} ${this.height}`);
    this.marks.forEach(({ line, label }, i) => {
      const y = this._y(SCALE_MARKS[i][0]);
      updateAttribute(line, "d", `M${this.left} ${y}H${this.width}`);
      updateAttribute(label, "x", this.left - 5);
      updateAttribute(label, "y", y + 0.25 * this.bottom);
    });
    this.times.forEach((label, i) => {
      updateAttribute(label, "x", this.left + ((this.width - this.left) * i) / 2);
      updateAttribute(label, "y", this.height - 0.3 * this.bottom);
    });
  }

  _y(ms) {
    const share =
      Math.log(Math.min(Math.max(ms, MIN_MS), MAX_MS) / MIN_MS) /
      Math.log(MAX_MS / MIN_MS);
    const top = (BAND + GAP) * (this.height - this.bottom);
    return Math.round((top + (this.height - this.bottom - top) * (1 - share)) * 10) / 10;
  }

  /**
   * @param {import("./model.js").Model} model @param {string} half
   * @param {number} t the right end of the time axis, in seconds
   */
  show(model, half, t) {
    if (!this.width) return;
    const from = t - model.window;
    const x = (at) =>
      Math.round((this.left + ((this.width - this.left) * (at - from)) / model.window) * 10) / 10;
    const steps = this._steps(model, half, from, t);
    updateAttribute(this.answered, "d", this._line(steps, "answered", x));
    updateAttribute(this.visible, "d", this._line(steps, "visible", x));
    const columns = (from, to) =>
      steps
        .filter((s) => s.ok + s.failed)
        .map((s) => column(x(Math.max(s.at, t - model.window)), x(Math.min(s.at + STEP_S, t)), from(s), to(s)))
        .join("") || "M0 0";
    const edge = (s) => Math.round((this.bandHeight * s.failed) / (s.ok + s.failed));
    updateAttribute(this.succeeded, "d", columns(edge, () => this.bandHeight));
    updateAttribute(this.failed, "d", columns(() => 0, edge));
    this._shade(
      model.faultIntervals.filter(
        ({ fault, since, until }) => fault.half === half && until > from && since < t,
      ),
      x,
      from,
      t,
    );
  }

  /** Sums of the ticks on a fixed grid of time, so that lines move smoothly and do not flicker. */
  _steps(model, half, from, t) {
    const steps = [];
    let step = null;
    for (const tick of model.ticksBetween(from, t)) {
      const here = tick.halves[half];
      if (!here) continue;
      const at = Math.floor(tick.t / STEP_S) * STEP_S;
      if (!step || step.at !== at) {
        step = { at, answered: [0, 0], visible: [0, 0], ok: 0, failed: 0 };
        steps.push(step);
      }
      add(step.answered, here.answered_ms);
      add(step.visible, here.visible_ms);
      step.ok += here.reads?.ok ?? 0;
      step.failed += here.reads?.failed ?? 0;
    }
    return steps;
  }

  _line(steps, what, x) {
    let d = "";
    let before = -Infinity;
    for (const step of steps) {
      const [sum, n] = step[what];
      if (!n) continue;
      const alone = step.at - before > 2.1 * STEP_S;
      const point = `${x(step.at + STEP_S / 2)} ${this._y(Math.exp(sum / n))}`;
      d += alone ? `M${point}h1` : `L${point}`; // a single point becomes a short stroke
      before = step.at;
    }
    return d || "M0 0";
  }

  /** Shades the times of the newest faults, each in a lane of its own where they overlap. A label
   * is left out if it would overlap a newer one of its lane. */
  _shade(intervals, x, from, t) {
    const newest = inLanes(intervals.slice(-MAX_INTERVALS)).reverse();
    const free = [];
    const height = this.height - this.bottom;
    this.shades.forEach(({ area, label }, i) => {
      const interval = newest[i];
      updateAttribute(area, "visibility", interval ? "visible" : "hidden");
      if (!interval) return setText(label, "");
      const { lane, lanes } = interval;
      const begin = x(Math.max(interval.since, from));
      updateAttribute(area, "x", begin);
      updateAttribute(area, "width", Math.max(1, x(Math.min(interval.until, t)) - begin));
      updateAttribute(area, "y", Math.round((height * lane) / lanes));
      updateAttribute(area, "height", Math.round(height / lanes));
      const name = faultName(interval.fault);
      const right = free[lane] ?? this.width;
      const text = [`${interval.fault.target} ${name}`, name].find(
        (words) => begin + this._labelWidth(label, words) <= right || right === this.width,
      );
      if (!text) return setText(label, "");
      const at = Math.min(begin + 4, right - this._labelWidth(label, text));
      setText(label, text);
      updateAttribute(label, "x", at);
      updateAttribute(label, "y", this.bandHeight + (0.8 + lane) * this.bottom);
      free[lane] = at - 4;
    });
  }

  /** The width of a label on this screen, in pixels with a margin; measured once for each text. */
  _labelWidth(label, words) {
    if (!this.lengths.has(words)) {
      if (this.lengths.size > MAX_CACHED_WIDTHS) this.lengths.clear();
      setText(label, words);
      this.lengths.set(words, label.getComputedTextLength() + 8);
    }
    return this.lengths.get(words);
  }
}

/** A filled column of the band, from `left` to `right` and from `top` to `bottom`. */
const column = (left, right, top, bottom) =>
  bottom > top ? `M${left} ${top}H${right}V${bottom}H${left}Z` : "";

/** Adds the logarithm of a median: a mean of logarithms fits a logarithmic scale. */
function add(sum, figures) {
  if (!figures) return;
  sum[0] += Math.log(Math.max(figures.p50, MIN_MS));
  sum[1] += 1;
}
