// Four large figures, readable from the back row: successful reads, posts and comments, and the lag
// of the feed. Each shows with words and a shape whether its value is good.

import { el, updateAttribute, setText } from "./dom.js";
import { duration, errorName, percent } from "./format.js";

export const FIGURES_WINDOW_S = 3;
/** After a fault was added or removed, only newer responses count, once there is one. */
export const SETTLED_AFTER_S = 1;
const HEALTHY_SHARE = 0.99;
const FRESH_MS = 1_000;
const SLOW_MS = 250; // a card takes a half as normal below it, too

/** Sums the responses of these ticks; `what` is `reads`, `posts` or `comments`. */
function sumResponses(ticks, what) {
  const sum = { ok: 0, failed: 0, errors: {} };
  for (const tick of ticks) {
    const part = tick[what];
    if (!part) continue;
    sum.ok += part.ok;
    sum.failed += part.failed;
    for (const [name, n] of Object.entries(part.errors ?? {})) {
      sum.errors[name] = (sum.errors[name] ?? 0) + n;
    }
  }
  return sum;
}

/** The median of the medians of these ticks, in ms; undefined without any. */
function medianReadMs(ticks) {
  const medians = ticks.flatMap((tick) => tick.read_ms?.p50 ?? []).sort((a, b) => a - b);
  return medians[(medians.length - 1) >> 1];
}

class Figure {
  constructor(label) {
    this.value = el("p", { class: "figure-value" }, "–");
    this.word = el("p", { class: "figure-word" });
    this.root = el(
      "div",
      { class: "figure", "data-well": "yes" },
      el("h3", {}, label),
      this.value,
      this.word,
    );
  }

  show(value, word, well) {
    setText(this.value, value);
    updateAttribute(this.value, "data-long", value.length > 5);
    setText(this.word, word);
    updateAttribute(this.word, "title", word);
    updateAttribute(this.root, "data-well", well ? "yes" : "no");
  }
}

export class Figures {
  constructor() {
    this.shares = {
      reads: new Figure("reads"),
      posts: new Figure("posts"),
      comments: new Figure("comments"),
    };
    this.lag = new Figure("feed lag");
    const all = [...Object.values(this.shares), this.lag];
    this.root = el("div", { class: "figures" }, ...all.map((figure) => figure.root));
  }

  /**
   * @param {any} now this pane's part of a tick
   * @param {any[]} ticks those of the last seconds
   * @param {any[]} newer of them, those since a fault was added or removed
   * @param {boolean} settled whether that was more than SETTLED_AFTER_S ago
   */
  show(now, ticks, newer, settled) {
    for (const [what, figure] of Object.entries(this.shares)) {
      const sum = sumResponses(newer, what);
      const useOlder = !sum.ok && !sum.failed && (!settled || !now?.waiting);
      const counted = useOlder ? ticks : newer;
      const readMs = what === "reads" ? medianReadMs(counted) : undefined;
      this._share(figure, useOlder ? sumResponses(ticks, what) : sum, now, readMs);
    }
    this._lag(now);
  }

  _share(figure, { ok, failed, errors }, now, readMs = 0) {
    const total = ok + failed;
    if (!total) {
      const waiting = now?.waiting ?? 0;
      return figure.show(
        "–",
        waiting ? `▼ no response · ${waiting} waiting` : "none was sent",
        !waiting,
      );
    }
    const most = Object.entries(errors).sort((a, b) => b[1] - a[1])[0];
    const well = ok / total >= HEALTHY_SHARE;
    if (well && readMs >= SLOW_MS) {
      return figure.show(duration(readMs), `▲ slow, ${percent(ok, total)} succeed`, false);
    }
    figure.show(
      percent(ok, total),
      well ? "● succeed" : `▼ ${most ? errorName(most[0]) : "fail"}`,
      well,
    );
  }

  _lag(now) {
    if (!now) return;
    const { feed_age_ms: age, unseen, missing, feed_ok: ok } = now;
    if (missing) return this.lag.show(String(missing), "✕ missing: nothing is on its way", false);
    if (ok === false)
      return this.lag.show("no feed", unseen ? `▼ ${unseen} not visible` : "▼ reads fail", false);
    const fresh = age < FRESH_MS;
    this.lag.show(
      age < 1 ? "0 s" : duration(age),
      fresh ? "● up to date" : `▲ ${unseen} not visible yet`,
      fresh,
    );
  }
}
