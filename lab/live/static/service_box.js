// The nodes of the picture: a service with its workers, database, outbox and lag, and the bar of
// the bus. Each is drawn once; updates change only what differs.

import { mark, say, svg } from "./dom.js";
import { faultName } from "./format.js";
import { BAR, BOX, BUS, PLACES } from "./layout.js";

const WORKERS_SHOWN = 8;
const SOME = 3;
const MUCH = 10;
/** The fill pattern of a failing node. One for each pane, as ids are unique in a document. */
export function hatching(id) {
  const lines = svg("path", { d: "M0 8L8 0M-2 2L2 -2M6 10L10 6", class: "hatch-line" });
  return svg(
    "pattern",
    { id, width: 8, height: 8, patternUnits: "userSpaceOnUse" },
    svg("rect", { width: 8, height: 8, class: "hatch-ground" }),
    lines,
  );
}

export function database(x, y) {
  return svg("path", {
    class: "database",
    d: `M${x} ${y + 4}a7 3.5 0 0 1 14 0v13a7 3.5 0 0 1 -14 0zm0 0a7 3.5 0 0 0 14 0`,
  });
}

/** A service: its name, workers and database, and a line for its state. */
export class Box {
  constructor(name, hatch, ownsData) {
    const { x, y } = PLACES[name];
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
        ? new Gauge(x + 86, y, "behind", "")
        : new Gauge(x + 11, y + 49, "behind", "");
    this.group = svg(
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
      ownsData ? database(left + 101, y - 10) : "",
      this.pill,
      this.state,
      this.outbox.root,
      this.lag.root,
    );
  }

  /** @param {any} node as in a tick @param {any[]} faults those on this node */
  show(node, faults) {
    const how = condition(node, faults);
    mark(this.group, "data-how", how.kind);
    say(this.state, how.says);
    const shown = node?.workers ? Math.ceil((WORKERS_SHOWN * (node.busy ?? 0)) / node.workers) : 0;
    this.workers.forEach((one, i) => mark(one, "data-busy", i < shown));
    say(this.queue, node?.queue && how.kind !== "full" ? `+${short(node.queue)}` : "");
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
    say(this.count, n >= SOME ? short(n) : "");
    say(this.word, n >= SOME ? this.says : "");
    mark(this.root, "data-much", (n ?? 0) >= MUCH);
  }
}

/** The state of a node: one word for the style sheet, and a label for people. */
function condition(node, faults) {
  const whole = faults.find((one) => one.kind === "down" || one.kind === "hang");
  if (whole?.kind === "down" || (node && node.up === false)) return { kind: "down", says: "DOWN" };
  if (whole || node?.up === "hangs") return { kind: "hangs", says: "HANGS" };
  if (faults.length) return { kind: "hurt", says: faultName(faults[0]) };
  if (!node || node.up === null || node.up === undefined) return { kind: "unknown", says: "" };
  if (node.queue) return { kind: "full", says: `${short(node.queue)} waiting` };
  return { kind: "well", says: "" };
}

const short = (n) => (n < 1_000 ? String(n) : `${(n / 1_000).toFixed(n < 10_000 ? 1 : 0)}k`);

/** The bar of the bus, with its state. */
export class Bar {
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
    this.group = svg(
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
    const how = condition(node, faults);
    mark(this.group, "data-how", how.kind);
    say(this.state, how.says);
  }
}
