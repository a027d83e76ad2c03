// One pane of the screen: a stack, from its name down to its chart.

import { Blog } from "./blog.js";
import { Chart } from "./charts.js";
import { el, mark } from "./dom.js";
import { Figures, OVER_S } from "./figures.js";
import { Hops } from "./traffic.js";
import { Topology } from "./topology.js";

const HOW = {
  "sync-chain": "services ask each other and wait",
  "async-bus": "services tell; each keeps its own copy",
  "request-reply": "services ask over the bus and wait",
  monolith: "one process asks itself",
};
const SHAPES = ["■", "●"];
const EDGES_OVER_S = 0.5;

export class Half {
  /** @param {any} half as in `hello` @param {number} number 0 left, 1 right */
  constructor(half, number) {
    this.name = half.name;
    this.topology = new Topology(half, number);
    this.hops = new Hops(this.topology.canvas, this.topology.hasBus);
    this.figures = new Figures();
    this.chart = new Chart(half.name, `hatch-${number}`);
    this.blog = new Blog(half);
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
        el("span", { class: "half-how" }, `${HOW[half.arrangement] ?? ""}${engine}`),
      ),
      this.topology.root,
      this.blog.root,
      this.figures.root,
      this.chart.root,
    );
    this.t = 0;
    this.jumps = 0;
  }

  close() {
    this.hops.close();
    this.chart.close();
    this.root.remove();
  }

  /** Animates the hops of the ticks since the last call, and draws the dots. */
  move(model, view, now, still) {
    if (view.jumps !== this.jumps) {
      this.jumps = view.jumps;
      this.hops.clear();
    } else if (view.t > this.t && !still) {
      for (const tick of model.between(this.t, view.t))
        this.hops.send(tick.halves[this.name]?.hops, now);
    }
    this.t = view.t;
    this.hops.draw(now);
  }

  /** Shows the state at the view's moment. */
  show(model, view) {
    const here = (tick) => tick.halves[this.name];
    const now = model.tickAt(view.t)?.halves[this.name];
    const faults = model.faultsAt(this.name, view.t);
    const lately = model
      .between(view.t - EDGES_OVER_S, view.t)
      .map(here)
      .filter(Boolean);
    const second = model
      .between(view.t - OVER_S, view.t)
      .map(here)
      .filter(Boolean);
    this.topology.show(now, faults, lately);
    this.figures.show(now, second);
    mark(this.root, "data-broken", faults.length > 0);
  }
}
