// Slow motion: one request through both halves, drawn by the lab, uncovered on one clock for both.
//
// A step takes 50 times as long as it did, but at least a third of a second, and at most three: a
// hop of 1 ms can be seen, and a wait of 2 s does not stop the lecture. The factor is shown.

import { button, el, byId, setText } from "./dom.js";
import { post } from "./api.js";
import { showNotice } from "./announcements.js";

const SLOWER = 50;
const LEAST_S = 0.35;
const MOST_S = 3;
const KINDS = { comment: "A comment", post: "A post", read: "A read" };

export class SlowMotion {
  constructor() {
    this.box = byId("slow-motion");
    this.what = "comment";
    this.asked = false;
    this.panels = [];
    this.moments = [];
    this.at = 0;
    this.until = 0;
  }

  /** Follows a request of this kind, or of the kind that was followed before. */
  async follow(what = this.what) {
    if (this.asked) return;
    this.what = what;
    this.asked = true;
    this.box.hidden = false;
    this.moments = [];
    this.at = 0;
    this.box.replaceChildren(el("p", { class: "slow-clock", role: "status" }, `${KINDS[what]} is on its way …`));
    const answer = await post("/api/follow", { what });
    this.asked = false;
    if (answer.says) {
      this.close();
      return showNotice(answer.says);
    }
    this._start(answer.body);
  }

  close() {
    this.box.hidden = true;
    this.moments = [];
  }

  _start({ n, halves }) {
    this.panels = halves.map(({ name, says, steps }) => {
      const address = `./api/still.svg?half=${encodeURIComponent(name)}&n=${n}`;
      const image = el("img", { src: address, alt: `${name}: ${says}` });
      const line = el("p", { class: "slow-line" });
      const still = el("a", { href: address, download: `${name}-${this.what}.svg` }, "Save as SVG");
      const scroller = el("div", { class: "slow-scroller", tabindex: "0", role: "group", "aria-label": `The drawing of ${name}` }, image);
      const root = el("figure", { class: "slow-half" }, scroller, el("figcaption", {}, line, still));
      return { root, image, line, scroller, steps, says };
    });
    this.clock = el("p", { class: "slow-clock" });
    const kinds = Object.entries(KINDS).map(([kind, label]) =>
      button(label, kind === this.what ? "t" : "", { "aria-pressed": String(kind === this.what) }, () => this.follow(kind)),
    );
    const buttons = el("p", { class: "dialog-buttons" }, this.clock, ...kinds, button("Close", "Esc", {}, () => this.close()));
    this.box.replaceChildren(buttons, el("div", { class: "slow-halves" }, ...this.panels.map(({ root }) => root)));
    const times = this.panels.flatMap(({ steps }) => steps.map(([at]) => at));
    this.moments = [...new Set(times)].sort((a, b) => a - b);
    this.at = 0;
    this.until = 0;
  }

  /** Goes on to the next moment when its time has come; without motion, to the last one at once. */
  show(now, reducedMotion) {
    if (this.box.hidden || this.at >= this.moments.length || now < this.until) return;
    if (reducedMotion) this.at = this.moments.length - 1;
    const at = this.moments[this.at];
    const next = this.moments[this.at + 1];
    const realS = next === undefined ? 0 : (next - at) / 1000;
    const shownS = Math.min(Math.max(realS * SLOWER, LEAST_S), MOST_S);
    this.until = now + shownS;
    this.at += 1;
    const isLast = next === undefined;
    setText(this.clock, isLast ? `${at.toFixed(1)} ms: all of it` : `${at.toFixed(1)} ms · 1 : ${Math.max(1, Math.round(shownS / realS))}`);
    for (const { image, line, scroller, steps, says } of this.panels) {
      const reached = steps.filter(([ms]) => ms <= at).at(-1);
      const share = isLast ? 1 : (reached?.[1] ?? 0);
      image.style.clipPath = `inset(0 0 ${((1 - share) * 100).toFixed(2)}% 0)`;
      scroller.scrollTop = Math.max(0, share * image.height - scroller.clientHeight);
      setText(line, isLast ? says : (reached?.[2] ?? ""));
    }
  }
}
