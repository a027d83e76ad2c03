// One pane of the screen: a stack, from its name down to its chart.

import { BlogView } from "./blog.js";
import { Score } from "./cards.js";
import { Chart } from "./charts.js";
import { el, updateAttribute } from "./dom.js";
import { Figures, FIGURES_WINDOW_S, SETTLED_AFTER_S } from "./figures.js";
import { Traffic } from "./traffic.js";
import { Topology } from "./topology.js";

const DESCRIPTIONS = {
  "sync-chain": "services ask each other and wait",
  "async-bus": "services publish events, each keeps a copy",
  "request-reply": "services ask over the bus and wait",
  monolith: "one process, with local calls",
};
const SHAPES = ["■", "●"];
const EDGES_WINDOW_S = 0.5;

export class Pane {
  /** @param {any} half as in `hello` @param {number} number 0 left, 1 right */
  constructor(half, number) {
    this.name = half.name;
    this.topology = new Topology(half, number);
    this.traffic = new Traffic(this.topology.canvas, this.topology.hasBus);
    this.figures = new Figures();
    this.chart = new Chart(half.name, `hatch-${number}`);
    this.blog = new BlogView(half);
    this.score = new Score();
    this.figures.root.append(this.score.root);
    const engine = half.engine && half.engine !== "log" ? ` · bus: ${half.engine}` : "";
    this.root = el(
      "section",
      {
        class: "half",
        "data-side": number ? "right" : "left",
        "aria-labelledby": `half-${number}`,
      },
      el(
        "h2",
        { id: `half-${number}` },
        el("span", { class: "shape", "aria-hidden": "true" }, SHAPES[number]),
        el("span", { class: "half-name" }, half.name),
        el("span", { class: "half-how" }, `${DESCRIPTIONS[half.arrangement] ?? ""}${engine}`),
      ),
      this.topology.root,
      this.blog.root,
      this.figures.root,
      this.chart.root,
    );
    this.t = 0;
    this.discontinuities = 0;
  }

  close() {
    this.traffic.close();
    this.chart.close();
    this.root.remove();
  }

  /** Animates the hops of the ticks since the last call, and draws the dots. */
  animate(model, view, now, reducedMotion) {
    if (view.discontinuities !== this.discontinuities) {
      this.discontinuities = view.discontinuities;
      this.traffic.clear();
    } else if (view.t > this.t && !reducedMotion) {
      for (const tick of model.ticksBetween(this.t, view.t))
        this.traffic.addHops(tick.halves[this.name]?.hops, tick.t, now);
    }
    this.t = view.t;
    this.traffic.draw(now);
  }

  /** Shows the state at the view's moment. */
  show(model, view) {
    const paneOf = (tick) => tick.halves[this.name];
    const now = model.tickAt(view.t)?.halves[this.name];
    const faults = model.faultsAt(this.name, view.t);
    const recent = model
      .ticksBetween(view.t - EDGES_WINDOW_S, view.t)
      .map(paneOf)
      .filter(Boolean);
    const from = view.t - FIGURES_WINDOW_S;
    const change = model.lastChange(this.name, view.t);
    const partsSince = (t) => model.ticksBetween(t, view.t).map(paneOf).filter(Boolean);
    this.topology.show(now, faults, recent);
    this.figures.show(
      now,
      partsSince(from),
      partsSince(Math.max(from, change)),
      view.t - change > SETTLED_AFTER_S,
    );
    this.score.show(now?.score);
    updateAttribute(this.root, "data-broken", faults.length > 0);
  }
}
