// The picture of one pane: its nodes, the edges between them, and what fails. It is drawn once;
// updates change only what differs.

import { el, updateAttribute, svg } from "./dom.js";
import { BUS, HEIGHT, POSITIONS, WIDTH, svgPath, pathBetween } from "./layout.js";
import { BusBar, ServiceBox, databaseIcon, hatchPattern } from "./service_box.js";

const CLIENTS = "people";
const CLIENT_EDGES = { query: "people read", posts: "write", comments: "write" };
const ENTRANCE_LABELS = {
  query: { dx: -5, dy: 5, end: "end" },
  posts: { dx: 6, dy: 17, end: "" },
  comments: { dx: -6, dy: 17, end: "end" },
};

export class Topology {
  constructor(half, number) {
    const hatch = `hatch-${number}`;
    this.half = half;
    this.hasBus = half.nodes.includes(BUS);
    this.boxes = new Map();
    this.edges = [];
    const drawing = svg(
      "svg",
      {
        viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
        class: "topology",
        role: "img",
        "aria-label": `The services of ${half.name} and what lies between them`,
      },
      svg("defs", {}, hatchPattern(hatch)),
    );
    const isMonolith = half.arrangement === "monolith";
    if (isMonolith) {
      drawing.append(
        svg("rect", { x: 0, y: 2, width: WIDTH, height: 172, rx: 12, class: "process" }),
        svg("text", { x: WIDTH / 2, y: 194, class: "legend middle" }, "one process, one database"),
        databaseIcon(WIDTH / 2 + 88, 178),
      );
    }
    for (const [from, to] of this._edges()) this._edge(drawing, from, to);
    for (const [to, label] of Object.entries(CLIENT_EDGES)) this._entrance(drawing, to, label);
    for (const name of half.nodes.filter((one) => one in POSITIONS)) {
      this.boxes.set(name, new ServiceBox(name, hatch, !isMonolith));
    }
    if (this.hasBus) this.boxes.set(BUS, new BusBar(hatch));
    for (const box of this.boxes.values()) drawing.append(box.root);
    this.canvas = el("canvas", { class: "dots", "aria-hidden": "true" });
    this.root = el("div", { class: "picture" }, drawing, this.canvas);
  }

  _edges() {
    if (!this.hasBus) return this.half.edges;
    return this.half.nodes.filter((name) => name in POSITIONS).map((name) => [name, BUS]);
  }

  _edge(drawing, from, to) {
    const path = pathBetween(from, to, this.hasBus);
    if (!path) return;
    // No line is drawn on the bar of the bus. On a path with a bend (`query`) the cross is on the
    // long part.
    const long = path.length > 3 ? 1 : 0;
    this._line(
      drawing,
      from,
      to,
      this.hasBus ? path.slice(0, -1) : path,
      middleOf(path[long], path[long + 1]),
    );
  }

  _entrance(drawing, to, label) {
    const path = pathBetween(CLIENTS, to, this.hasBus);
    this._line(drawing, CLIENTS, to, path, middleOf(...path));
    const { dx, dy, end } = ENTRANCE_LABELS[to];
    const [x, y] = path[0];
    drawing.append(svg("text", { x: x + dx, y: y + dy, class: `legend ${end}` }, label));
  }

  _line(drawing, from, to, path, middle) {
    const line = svg("path", { d: svgPath(path), class: "edge" });
    const cross = svg("path", { class: "broken", d: crossAt(middle) });
    drawing.append(line, cross);
    this.edges.push({ from, to, line, cross, count: 0, failed: 0 });
  }

  /**
   * @param {any} now this pane's part of a tick
   * @param {any[]} faults the active faults of this pane
   * @param {any[]} ticks this pane's parts of the ticks of the last half second
   */
  show(now, faults, ticks) {
    for (const [name, box] of this.boxes) {
      box.show(
        now?.nodes?.[name],
        faults.filter((one) => one.target === name),
      );
    }
    for (const edge of this.edges) {
      edge.count = 0;
      edge.failed = 0;
    }
    for (const tick of ticks) {
      for (const [from, to, , , , , ok] of tick.hops ?? []) this._count(from, to, ok);
    }
    for (const edge of this.edges) {
      const cut = faults.some((one) => one.kind === "partition" && isCutBy(edge, one));
      const gone = faults.some(
        (one) =>
          one.kind === "down" &&
          (edge.to === one.target || (this.hasBus && edge.from === one.target)),
      );
      const broken = cut || gone || edge.failed > edge.count / 2;
      updateAttribute(edge.line, "data-broken", broken);
      updateAttribute(edge.cross, "data-broken", broken);
    }
  }

  _count(from, to, ok) {
    for (const edge of this.edges) {
      const fromPeople = edge.from === CLIENTS && !(from in POSITIONS) && from !== BUS;
      if (edge.to !== to || !(edge.from === from || fromPeople)) continue;
      edge.count += 1;
      if (!ok) edge.failed += 1;
    }
  }
}

const middleOf = (a, b) => [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
const crossAt = ([x, y]) => `M${x - 8} ${y - 8}l16 16m0 -16l-16 16`;

/** Whether a partition cuts this edge. */
function isCutBy(edge, { target, options }) {
  const from = options?.from;
  if (edge.from === CLIENTS) return edge.to === target && from === "client";
  return (edge.from === from && edge.to === target) || (edge.to === from && edge.from === target);
}
