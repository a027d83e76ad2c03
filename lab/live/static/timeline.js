// The bar of a recorded session: the reads of each half over its whole time, the faults, and where
// the player is; below the page, the list of what was done, with the cards.

import { button, byId, el, setText, svg, updateAttribute } from "./dom.js";
import { clock, faultName } from "./format.js";
import { cardTable } from "./cards.js";

const WIDTH = 1000;
const ROW = 16;
const GAP = 4;
const STEP_S = 5;

export class Timeline {
  /** @param {import("./player.js").Player} player */
  constructor(player) {
    this.player = player;
    const { summary } = player.recording;
    this.play = button("Play", "Space", { class: "main" }, () => player.togglePause());
    this.speed = button("1×", "", { "aria-label": "Speed" }, () => player.nextSpeed());
    this.at = el("output", { class: "player-at" });
    this.line = svg("path", { class: "player-line" });
    this.slider = el("input", {
      type: "range",
      min: player.from,
      max: player.until,
      step: 0.1,
      "aria-label": "Moment of the session",
    });
    this.slider.addEventListener("input", () => player.seek(Number(this.slider.value)));
    const height = (ROW + GAP) * summary.halves.length;
    const drawing = svg(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" },
      ...faultSpans(summary).map(({ from, until }) =>
        svg("rect", {
          class: "player-fault",
          x: this._x(from),
          width: Math.max(1.5, this._x(until) - this._x(from)),
          y: 0,
          height,
        }),
      ),
      ...summary.halves.flatMap((half, i) => this._reads(half, i)),
      this.line,
    );
    byId("player").append(
      this.play,
      this.speed,
      this.at,
      el("div", { class: "player-track" }, drawing, this.slider),
    );
    byId("player").hidden = false;
    byId("session-list").append(...this._list());
    byId("session-list").hidden = false;
  }

  _x(r) {
    const { from, until } = this.player;
    return Math.round((10 * WIDTH * (r - from)) / Math.max(until - from, 1)) / 10;
  }

  /** The band of a half: from below its reads that succeeded, from above those that failed. */
  _reads(half, row) {
    const { reads, from, until } = this.player.recording.summary;
    const step = Math.max(1, Math.ceil((until - from) / 300));
    const bins = new Map();
    for (const [second, ok, failed] of reads[half] ?? []) {
      const at = second - (second % step);
      const bin = bins.get(at) ?? [0, 0];
      bins.set(at, [bin[0] + ok, bin[1] + failed]);
    }
    const top = row * (ROW + GAP);
    const answered = [...bins].filter(([, [ok, failed]]) => ok + failed);
    const column = ([at, [ok, failed]], edge) => {
      const middle = top + (ROW * failed) / (ok + failed);
      return `M${this._x(at)} ${edge}V${middle}H${this._x(at + step)}V${edge}Z`;
    };
    return [
      svg("path", {
        class: `player-reads ${row ? "right" : "left"}`,
        d: answered.map((bin) => column(bin, top + ROW)).join(""),
      }),
      svg("path", { class: "player-reads", d: answered.map((bin) => column(bin, top)).join("") }),
    ];
  }

  _list() {
    const { summary } = this.player.recording;
    const deeds = summary.events
      .filter(([, kind]) => kind === "done")
      .map(([r, , line]) => ({ r, says: line.half ? `${line.half}: ${line.says}` : line.says }));
    const cards = new Map();
    for (const [r, kind, card] of summary.events) {
      // A card is sent again when more of it is known; a reset begins to count anew.
      if (kind === "card") cards.set(`${card.n} ${card.began_t}`, { r, card });
    }
    const jump = (r, text) =>
      button(text, "", { class: "jump" }, () => {
        this.player.seek(r - STEP_S);
        scrollTo({ top: 0 });
      });
    const ended = new Date(summary.ended).toLocaleString("en-GB", { dateStyle: "long", timeStyle: "short" });
    return [
      el("h2", {}, "The session"),
      el("p", {}, `${summary.halves.join(" and ")}, ${clock(summary.until - summary.from)} min, ended ${ended}`),
      el(
        "div",
        { class: "session-cards" },
        ...[...cards.values()].map(({ r, card }) =>
          el("div", {}, jump(r - card.down_s, `${clock(r - card.down_s - summary.from)} ▶`), cardTable(card)),
        ),
      ),
      ...this._bets(jump),
      el("h3", {}, "What was done"),
      el(
        "ol",
        { class: "session-deeds" },
        ...deeds.map(({ r, says }) => el("li", {}, jump(r, clock(r - summary.from)), " ", says)),
      ),
    ];
  }

  /** The bets: how many chose each answer, and which one was right. */
  _bets(jump) {
    const { bets, from } = this.player.recording.summary;
    if (!bets.length) return [];
    const answers = ({ answers, counts, holds }) =>
      answers.map((text, i) => `${text} ${counts[i]}${i === holds ? " ✓" : ""}`).join(" · ");
    return [
      el("h3", {}, "What the room bet"),
      el(
        "ol",
        { class: "session-deeds" },
        ...bets.map(([r, bet]) =>
          el("li", {}, jump(r, clock(r - from)), ` ${bet.question} `, el("b", {}, answers(bet))),
        ),
      ),
    ];
  }

  /** Shows where the player is. */
  show() {
    const { player } = this;
    setText(this.play.firstChild, player.isPaused ? "Play" : "Pause");
    setText(this.speed.firstChild, `${player.speed}×`);
    setText(this.at, `${clock(player.r - player.from)} / ${clock(player.until - player.from)}`);
    const x = this._x(player.r).toFixed(1);
    updateAttribute(this.line, "d", `M${x} 0V100`);
    if (document.activeElement !== this.slider) this.slider.value = String(player.r);
  }
}

/** When at least one fault was active, from the lists of active faults. */
function faultSpans({ events, until }) {
  const spans = [];
  let since = null;
  for (const [r, kind, faults] of events) {
    if (kind !== "faults") continue;
    if (faults.length && since === null) since = r;
    if (faults.length || since === null) continue;
    spans.push({ from: since, until: r });
    since = null;
  }
  if (since !== null) spans.push({ from: since, until });
  return spans;
}
