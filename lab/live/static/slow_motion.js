// Slow motion: one request through both halves, drawn by the lab on one time axis, and uncovered.
//
// A step takes 50 times as long as it did, but at least a third of a second, and at most three: a
// hop of 1 ms can be seen, and a wait of 2 s does not stop the lecture. The factor is shown.

import { button, el, byId, setText } from "./dom.js";
import { post } from "./api.js";
import { showNotice } from "./announcements.js";

const SLOWER = 50;
const LEAST_S = 0.35;
const MOST_S = 3;
const KINDS = {
  comment: ["A comment", "t"],
  post: ["A post", ""],
  read: ["A read", ""],
  missing: ["One that never came", "l"],
};

export class SlowMotion {
  constructor() {
    this.box = byId("slow-motion");
    this.what = "comment";
    this.asked = false;
    this.moments = [];
    this.at = 0;
    this.until = 0;
  }

  /** Follows a request of this kind, or of the kind that was followed before. */
  async follow(what = this.what) {
    if (this.asked) return;
    this.asked = true;
    const answer = post("/api/follow", { what });
    if (what !== "missing") {
      this.what = what;
      this._wait(`${KINDS[what][0]} is on its way …`);
    }
    const { says, body } = await answer;
    this.asked = false;
    if (says) {
      this.close();
      return showNotice(says);
    }
    this._start(body);
  }

  close() {
    this.box.hidden = true;
    this.box.replaceChildren();
    this.moments = [];
  }

  _wait(text) {
    this.box.hidden = false;
    this.moments = [];
    this.box.replaceChildren(el("p", { class: "slow-clock", role: "status" }, text));
  }

  _start({ n, what, halves, steps }) {
    const address = `./api/still.svg?n=${n}`;
    const says = halves.map((half) => `${half.name}: ${half.says}`);
    this.halves = halves.map(({ name, says: outcome }) => {
      const line = el("span", {});
      return { outcome, line, root: el("p", { class: "slow-line" }, el("b", {}, `${name}: `), line) };
    });
    this.image = el("img", { src: address, alt: says.join(" ") });
    this.scroller = el(
      "div",
      { class: "slow-scroller", tabindex: "0", role: "group", "aria-label": "The drawing" },
      el("div", { class: "slow-names" }, el("img", { src: address, alt: "" })),
      this.image,
    );
    this.clock = el("p", { class: "slow-clock" });
    const kinds = Object.entries(KINDS).map(([kind, [label, key]]) =>
      button(label, key, { "aria-pressed": String(kind === what) }, () => this.follow(kind)),
    );
    const still = el("a", { href: address, download: `${what}.svg` }, "Save as SVG");
    const close = button("Close", "Esc", {}, () => this.close());
    this.box.replaceChildren(
      el("p", { class: "dialog-buttons" }, this.clock, still, ...kinds, close),
      this.scroller,
      el("div", { class: "slow-lines" }, ...this.halves.map(({ root }) => root)),
    );
    this.box.hidden = false;
    this.moments = steps;
    this.at = 0;
    this.until = 0;
  }

  /** Goes on to the next moment when its time has come; without motion, to the last one at once. */
  show(now, reducedMotion) {
    if (this.box.hidden || this.at >= this.moments.length || now < this.until) return;
    if (reducedMotion) this.at = this.moments.length - 1;
    const [at, share, lines] = this.moments[this.at];
    const [next] = this.moments[this.at + 1] ?? [];
    const realS = next === undefined ? 0 : (next - at) / 1000;
    const shownS = Math.min(Math.max(realS * SLOWER, LEAST_S), MOST_S);
    this.until = now + shownS;
    this.at += 1;
    const isLast = next === undefined;
    setText(
      this.clock,
      isLast ? `${at.toFixed(1)} ms: all of it` : `${at.toFixed(1)} ms · 1 : ${Math.max(1, Math.round(shownS / realS))}`,
    );
    const shown = isLast ? 1 : share;
    this.image.style.clipPath = `inset(0 0 ${((1 - shown) * 100).toFixed(2)}% 0)`;
    this.scroller.scrollTop = Math.max(0, shown * this.image.height - this.scroller.clientHeight);
    this.halves.forEach(({ outcome, line }, i) => setText(line, isLast ? outcome : lines[i]));
  }
}
