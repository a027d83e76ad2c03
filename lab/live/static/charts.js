// The chart of the last 60 seconds of one pane: how long a writer waits for the response, how long
// until readers see the write, the failed requests, and the times of the faults. Both panes have
// the same time axis and the same scale, which is logarithmic: both 3 ms and 3 s must be visible.

import { el, updateAttribute, setText, svg } from "./dom.js";
import { faultName } from "./format.js";

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
const MAX_INTERVALS = 6;
const MAX_CACHED_WIDTHS = 200;

export class Chart {
  /** @param {string} hatch id of the fill pattern for the times of faults */
  constructor(name, hatch) {
    this.shades = Array.from({ length: MAX_INTERVALS }, () => ({
      area: svg("rect", { class: "shade", y: 0, fill: `url(#${hatch})` }),
      label: svg("text", { class: "shade-label", y: "0.85em" }),
    }));
    this.marks = SCALE_MARKS.map(([, text]) => ({
      line: svg("path", { class: "grid" }),
      label: svg("text", { class: "axis end" }, text),
    }));
    this.times = ["60 s ago", "30 s", "now"].map((text, i) =>
      svg("text", { class: `axis ${["", "middle", "end"][i]}` }, text),
    );
    this.failed = svg("path", { class: "failed" });
    this.answered = svg("path", { class: "line answered" });
    this.visible = svg("path", { class: "line visible" });
    this.drawing = svg(
      "svg",
      {
        class: "chart",
        role: "img",
        "aria-label": `${name}: time until a write is answered and visible, last 60 seconds`,
      },
      ...this.shades.map((one) => one.area),
      ...this.marks.flatMap((one) => [one.line, one.label]),
      ...this.times,
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
        el("span", { class: "key answered" }, "a write is answered"),
        el("span", { class: "key visible" }, "… is visible"),
        el("span", { class: "key failing" }, "failed"),
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
    this.lengths.clear();
    this.width = Math.round(width);
    this.height = Math.round(height);
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    this.left = Math.round(LEFT * rem);
    this.bottom = Math.round(BOTTOM * rem);
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
    return Math.round((this.height - this.bottom) * (1 - share) * 10) / 10;
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
    const floor = this.height - this.bottom;
    updateAttribute(
      this.failed,
      "d",
      steps
        .filter((s) => s.failed)
        .map(
          (s) =>
            `M${x(s.at)} ${floor}v${-Math.max(4, Math.round(0.3 * floor * (s.failed / s.all)))}`,
        )
        .join("") || "M0 0",
    );
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
        step = { at, answered: [0, 0], visible: [0, 0], failed: 0, all: 0 };
        steps.push(step);
      }
      add(step.answered, here.answered_ms);
      add(step.visible, here.visible_ms);
      for (const part of [here.reads, here.writes]) {
        step.failed += part?.failed ?? 0;
        step.all += (part?.failed ?? 0) + (part?.ok ?? 0);
      }
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

  /** Shades the times of the newest faults, with a label if it does not overlap a newer one. */
  _shade(intervals, x, from, t) {
    const newest = intervals.slice(-MAX_INTERVALS).reverse();
    let free = this.width;
    this.shades.forEach(({ area, label }, i) => {
      const interval = newest[i];
      updateAttribute(area, "visibility", interval ? "visible" : "hidden");
      if (!interval) return setText(label, "");
      const begin = x(Math.max(interval.since, from));
      updateAttribute(area, "x", begin);
      updateAttribute(area, "width", Math.max(1, x(Math.min(interval.until, t)) - begin));
      updateAttribute(area, "height", this.height - this.bottom);
      const name = faultName(interval.fault);
      const text = [`${interval.fault.target} ${name}`, name].find(
        (words) => begin + this._labelWidth(label, words) <= free || i === 0,
      );
      if (!text) return setText(label, "");
      const at = Math.min(begin + 4, free - this._labelWidth(label, text));
      setText(label, text);
      updateAttribute(label, "x", at);
      free = at - 4;
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

/** Adds the logarithm of a median: a mean of logarithms fits a logarithmic scale. */
function add(sum, figures) {
  if (!figures) return;
  sum[0] += Math.log(Math.max(figures.p50, MIN_MS));
  sum[1] += 1;
}
