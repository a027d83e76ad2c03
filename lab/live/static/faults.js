// The faults, their targets and panes: the requests that the buttons and the keys send.

import { post } from "./api.js";
import { showNotice } from "./announcements.js";

export const TARGETS = ["posts", "comments", "moderation", "query", "event-bus"];

/** Key, label, kind of the fault, and its options from the sliders. */
export const FAULTS = [
  { key: "k", label: "Kill", kind: "down", options: () => ({}) },
  { key: "h", label: "Hang", kind: "hang", options: () => ({}) },
  { key: "s", label: "Slow", kind: "latency", options: (c) => ({ ms: c.slowMs }) },
  {
    key: "f",
    label: "Fail",
    kind: "error",
    options: (c) => ({ status: 503, probability: c.failPercent / 100 }),
  },
  {
    key: "x",
    label: "Cut off",
    kind: "partition",
    options: (c, half) => ({ from: callerOf(c.target, half) }),
  },
];

// A partition cuts off one caller of a service: here the caller that the cut hurts most.
const MAIN_CALLER_OF = { posts: "query", comments: "query", moderation: "comments", query: "client" };

function callerOf(target, half) {
  if (target === "event-bus") return "comments";
  return half.side === "tell" ? "event-bus" : MAIN_CALLER_OF[target];
}

export class FaultControls {
  /** @param {import("./model.js").Model} model */
  constructor(model) {
    this.model = model;
    this.target = "comments";
    this.scope = "both";
    this.slowMs = 300;
    this.failPercent = 50;
  }

  /** The selected panes. */
  get selectedPanes() {
    const halves = this.model.hello?.halves ?? [];
    return halves.filter((_, i) => this.scope === "both" || this.scope === ["left", "right"][i]);
  }

  /** The selected panes that have the target. */
  get affectedPanes() {
    return this.selectedPanes.filter((half) => half.nodes.includes(this.target));
  }

  async inject(fault) {
    const halves = this.affectedPanes;
    if (!halves.length)
      return showNotice(`There is no ${this.target} here. Choose another target.`);
    const options = halves.map((half) => fault.options(this, half));
    const same = options.every((one) => JSON.stringify(one) === JSON.stringify(options[0]));
    const sent =
      same && halves.length === this.model.hello.halves.length
        ? [this._send("/api/fault", { kind: fault.kind, options: options[0], half: null })]
        : halves.map((half, i) =>
            this._send("/api/fault", { kind: fault.kind, options: options[i], half: half.name }),
          );
    await Promise.all(sent);
  }

  async heal() {
    const halves = this.affectedPanes;
    const whole = this.scope === "both";
    const answers = await Promise.all(
      (whole ? [null] : halves.map((half) => half.name)).map((half) =>
        this._send("/api/heal", { kind: null, half }),
      ),
    );
    if (answers.every((one) => one.status === 200 && !one.body.deeds.length))
      showNotice(`Nothing is broken in ${this.target}.`);
  }

  async healAll() {
    await this._send("/api/heal", { target: null, kind: null, half: null });
  }

  /** Injects an active fault again, with the new value, after its slider was moved. */
  async reinject(kind) {
    const on = this.model.faultIntervals.some(
      (one) => one.until === Infinity && one.fault.kind === kind && one.fault.target === this.target,
    );
    if (on) await this.inject(FAULTS.find((one) => one.kind === kind));
  }

  async _send(path, body) {
    const answer = await post(path, { target: this.target, ...body });
    if (answer.says) showNotice(answer.says);
    return answer;
  }
}
