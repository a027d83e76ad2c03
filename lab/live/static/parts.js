// The parts in the picture: a service with its workers, its database and what waits at its ends,
// and the bar of the bus. Each is drawn once; afterwards only what differs is written.

import { mark, say, svg } from "./dom.js";
import { faultName } from "./format.js";
import { BAR, BOX, BUS, PLACES } from "./layout.js";

const WORKERS_SHOWN = 8;
const SOME = 3;
const MUCH = 10;
/** Outlines that a failing part is filled with; one for each half, for ids are of the document. */
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

/** A service: its name, its workers, its database, and a line that says how it is. */
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
    // Query's way to the bus goes round comments, and its gauge stands where there is room.
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

  /** @param {any} node as in a tick @param {any[]} faults those on this part */
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

/** How many events wait at one end of the way to the bus: told by nobody yet, or not heard yet. */
class Gauge {
  constructor(x, y, word, end) {
    this.count = svg("text", { x, y, class: `gauge ${end}` });
    this.word = svg("text", { x, y: y + 11, class: `gauge-word ${end}` });
    this.root = svg("g", {}, this.count, this.word);
    this.says = word;
  }

  show(n) {
    // One or two are always on their way; a figure that comes and goes says nothing.
    say(this.count, n >= SOME ? short(n) : "");
    say(this.word, n >= SOME ? this.says : "");
    mark(this.root, "data-much", (n ?? 0) >= MUCH);
  }
}

/** How a part is, in one word for the style and two for people. */
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

/** The bar of the bus, with how it is. */
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
