// What an outage cost: the card after a heal, and the score of each half that only grows.

import { button, byId, el, setText, updateAttribute } from "./dom.js";
import { clock, faultName } from "./format.js";

const SHOWN_S = 25;
const MOST_CARDS = 2;
const MOST_FAILED = 10_000;
const MOST_STALE_S = 1_000;

const seconds = (s) => (s < 9.95 ? `${s.toFixed(1)} s` : `${Math.round(s)} s`);
const share = ({ ok, all }) => (all ? `${ok} of ${all}` : "none sent");

function oldest({ oldest_s: s, had_feed: hadFeed }) {
  if (s < 1) return hadFeed ? "up to date" : "no feed";
  return hadFeed ? seconds(s) : `${seconds(s)}, or no feed`;
}

function back(half, card) {
  if (half.back_s === null || half.back_s === undefined) return card.not_back || "…";
  return half.back_s < 0.05 ? "at once" : seconds(half.back_s);
}

/** The columns of a card. */
const COLUMNS = [
  ["reads that succeeded", (half) => share(half.reads)],
  ["posts", (half) => share(half.posts)],
  ["comments", (half) => share(half.comments)],
  ["oldest write not visible", oldest],
  ["missing", (half) => String(half.missing)],
  ["back to normal after", back],
];

/** The faults of a card and their time, such as `comments DOWN · 9.3 s`. */
function cardTitle(card) {
  const names = card.faults.map((fault) => `${fault.target} ${faultName(fault)}`);
  return `${[...new Set(names)].join(", ")} · ${seconds(card.down_s)}`;
}

/** A card as a table: a row for each half. */
export function cardTable(card) {
  const heading = (scope, text) => el("th", { scope }, text);
  return el(
    "table",
    { class: "card" },
    el(
      "thead",
      {},
      el("tr", {}, heading("col", cardTitle(card)), ...COLUMNS.map(([name]) => heading("col", name))),
    ),
    el(
      "tbody",
      {},
      ...Object.entries(card.halves).map(([name, half]) =>
        el(
          "tr",
          {},
          heading("row", name),
          ...COLUMNS.map(([, value]) => el("td", {}, value(half, card))),
        ),
      ),
    ),
  );
}

/** Shows the newest cards for a while after their heal, until they are closed or a fault begins; a
 * step of a lecture may keep the last one on the screen. */
export class CardView {
  constructor() {
    this.shown = [];
    this.closed = new Set();
  }

  /** @param {import("./model.js").Model} model @param {number} t the moment on the screen */
  show(model, t) {
    const { steps, at } = model.script ?? {};
    const isKept = at > 0 && steps[at - 1].card;
    const due = model
      .cardsAt(t)
      .filter((card, i, all) => {
        const isRecent = t - card.healed_t < SHOWN_S && !model.hasBegunFault(card.healed_t, t);
        return (isRecent || (isKept && i === all.length - 1)) && !this.closed.has(card.n);
      })
      .slice(-MOST_CARDS);
    byId("card").hidden = !due.length;
    if (due.length === this.shown.length && due.every((card, i) => card === this.shown[i])) return;
    this.shown = due;
    byId("card").replaceChildren(
      ...due.map(cardTable),
      button("Close", "Esc", {}, () => this.close()),
    );
  }

  close() {
    for (const { n } of this.shown) this.closed.add(n);
  }
}

/** The score of one half: failed requests, and seconds of a feed that lacked writes. */
export class Score {
  constructor() {
    this.failed = scoreLine();
    this.stale = scoreLine();
    this.root = el("p", { class: "score" }, "in all", this.failed.root, this.stale.root);
  }

  /** @param {any} score as in a tick */
  show(score) {
    if (!score) return;
    const { failed, stale_s: staleS } = score;
    this.failed.show(`✕ ${failed.toLocaleString("en")} failed`, failed, MOST_FAILED);
    this.stale.show(`▲ feed stale for ${clock(staleS)}`, staleS, MOST_STALE_S);
  }
}

function scoreLine() {
  const text = el("span", {});
  const bar = el("meter", { min: 0, max: 1, "aria-hidden": "true" });
  return {
    root: el("span", { class: "score-line" }, text, bar),
    /** The bar is logarithmic: both one and a thousand must be visible. */
    show(says, value, most) {
      setText(text, says);
      updateAttribute(bar, "value", (Math.log10(1 + value) / Math.log10(1 + most)).toFixed(3));
    },
  };
}
