// The nodes of the picture: a service with its workers, database, outbox and lag, and the bar of
// the bus. Each is drawn once; updates change only what differs.

import { updateAttribute, setText, svg } from "./dom.js";
import { faultName } from "./format.js";
import { BAR, BOX, BUS, POSITIONS } from "./layout.js";

const WORKERS_SHOWN = 8;
const GAUGE_FROM = 3;
const GAUGE_ALERT_FROM = 10;
/** The fill pattern of a failing node. One for each pane, as ids are unique in a document. */
export function hatchPattern(id) {
  const lines = svg("path", { d: "M0 8L8 0M-2 2L2 -2M6 10L10 6", class: "hatch-line" });
  return svg(
    "pattern",
    { id, width: 8, height: 8, patternUnits: "userSpaceOnUse" },
    svg("rect", { width: 8, height: 8, class: "hatch-ground" }),
    lines,
  );
}

export function databaseIcon(x, y) {
  return svg("path", {
    class: "database",
    d: `M${x} ${y + 4}a7 3.5 0 0 1 14 0v13a7 3.5 0 0 1 -14 0zm0 0a7 3.5 0 0 0 14 0`,
  });
}

/** A service: its name, workers and database, and a line for its state. */
export class ServiceBox {
  constructor(name, hatch, ownsData) {
    const { x, y } = POSITIONS[name];
    const left = x - BOX.width / 2;
    const top = y - BOX.height / 2;
    this.workers = Array.from({ length: WORKERS_SHOWN }, (_, i) =>
      svg("rect", { x: left + 6 + i * 7.6, y: y - 4, width: 6, height: 9, class: "worker" }),
    );
    this.queue = svg("text", { x: left + 68, y: y + 5, class: "queue" });
    this.pill = svg("rect", { x: left, y: y + 9, width: BOX.width, height: 23, class: "pill" });
    this.state = svg("text", { x, y: y + 25, class: "state" });
    this.outbox = new Gauge(x - 11, y + 49, "outbox", "end");
    // The line of `query` to the bus goes around `comments`, so its gauge is at another place.
    this.lag =
      name === "query"
        ? new Gauge(x + 86, y, "lag", "")
        : new Gauge(x + 11, y + 49, "lag", "");
    this.root = svg(
      "g",
      { class: "node", "data-node": name },
      svg("rect", { x: left, y: top, width: BOX.width, height: BOX.height, rx: 8, class: "box" }),
      svg("rect", {
        x: left,
        y: top,
        width: BOX.width,
        height: BOX.height,
        rx: 8,
        class: "hatched",
        fill: `url(#${hatch})`,
      }),
      svg("text", { x, y: y - 11, class: "name" }, name),
      ...this.workers,
      this.queue,
      ownsData ? databaseIcon(left + 101, y - 10) : "",
      this.pill,
      this.state,
      this.outbox.root,
      this.lag.root,
    );
  }

  /** @param {any} node as in a tick @param {any[]} faults those on this node */
  show(node, faults) {
    const state = nodeState(node, faults);
    updateAttribute(this.root, "data-how", state.kind);
    setText(this.state, state.says);
    const busy = node?.workers ? Math.ceil((WORKERS_SHOWN * (node.busy ?? 0)) / node.workers) : 0;
    this.workers.forEach((one, i) => updateAttribute(one, "data-busy", i < busy));
    setText(this.queue, node?.queue && state.kind !== "full" ? `+${compactNumber(node.queue)}` : "");
    this.outbox.show(node?.untold);
    this.lag.show(node?.lag);
  }
}

/** The number of events that wait: in the outbox for publication, or on the bus (the lag). */
class Gauge {
  constructor(x, y, word, end) {
    this.count = svg("text", { x, y, class: `gauge ${end}` });
    this.word = svg("text", { x, y: y + 11, class: `gauge-word ${end}` });
    this.root = svg("g", {}, this.count, this.word);
    this.says = word;
  }

  show(n) {
    // One or two events always wait; a figure that flickers has no information.
    setText(this.count, n >= GAUGE_FROM ? compactNumber(n) : "");
    setText(this.word, n >= GAUGE_FROM ? this.says : "");
    updateAttribute(this.root, "data-much", (n ?? 0) >= GAUGE_ALERT_FROM);
  }
}

/** The state of a node: one word for the style sheet, and a label for people. */
function nodeState(node, faults) {
  const processFault = faults.find((one) => one.kind === "down" || one.kind === "hang");
  if (processFault?.kind === "down" || (node && node.up === false)) return { kind: "down", says: "DOWN" };
  if (processFault || node?.up === "hangs") return { kind: "hangs", says: "HANGS" };
  if (node?.up === "slow" && !faults.length) return { kind: "unknown", says: "slow to answer" };
  if (faults.length) return { kind: "degraded", says: faultNames(faults) };
  if (!node || node.up === null || node.up === undefined) return { kind: "unknown", says: "" };
  if (node.queue) return { kind: "full", says: `${compactNumber(node.queue)} waiting` };
  return { kind: "well", says: "" };
}

const faultNames = ([first, ...rest]) => `${faultName(first)}${rest.length ? ` +${rest.length}` : ""}`;
const compactNumber = (n) => (n < 1_000 ? String(n) : `${(n / 1_000).toFixed(n < 10_000 ? 1 : 0)}k`);

/** The bar of the bus, with its state. */
export class BusBar {
  constructor(hatch) {
    const { x, y, width, height } = BAR;
    const box = { x, y, width, height, rx: 8 };
    this.state = svg("text", { x: x + width - 10, y: y + 24, class: "state end" });
    this.pill = svg("rect", {
      x: x + width - 130,
      y: y + 4,
      width: 126,
      height: height - 8,
      rx: 6,
      class: "pill",
    });
    this.root = svg(
      "g",
      { class: "node bus", "data-node": BUS },
      svg("rect", { ...box, class: "box" }),
      svg("rect", { ...box, class: "hatched", fill: `url(#${hatch})` }),
      svg("text", { x: x + 74, y: y + 18, class: "name start" }, "event-bus"),
      this.pill,
      this.state,
    );
  }

  show(node, faults) {
    const state = nodeState(node, faults);
    updateAttribute(this.root, "data-how", state.kind);
    setText(this.state, state.says);
  }
}
