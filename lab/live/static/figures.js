// Three large figures, readable from the back row: reads that succeed, writes that succeed, the age
// of the feed. Each shows with words and a shape whether its value is good.

import { el, updateAttribute, setText } from "./dom.js";
import { duration, errorName, percent } from "./format.js";

export const FIGURES_WINDOW_S = 1;
const HEALTHY_SHARE = 0.99;
const FRESH_MS = 1_000;

/** Sums the responses of these ticks; `what` is `reads` or `writes`. */
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
    setText(this.word, word);
    updateAttribute(this.root, "data-well", well ? "yes" : "no");
  }
}

export class Figures {
  constructor() {
    this.reads = new Figure("reads that succeed");
    this.writes = new Figure("writes that succeed");
    this.age = new Figure("the feed is late by");
    this.root = el("div", { class: "figures" }, this.reads.root, this.writes.root, this.age.root);
  }

  /** @param {any} now this pane's part of a tick @param {any[]} ticks those of the last second */
  show(now, ticks) {
    this._share(this.reads, sumResponses(ticks, "reads"), now);
    this._share(this.writes, sumResponses(ticks, "writes"), now);
    this._age(now);
  }

  _share(figure, { ok, failed, errors }, now) {
    const total = ok + failed;
    if (!total) {
      const waiting = now?.waiting ?? 0;
      return figure.show(
        "–",
        waiting ? `▼ no answer · ${waiting} waiting` : "none was sent",
        !waiting,
      );
    }
    const most = Object.entries(errors).sort((a, b) => b[1] - a[1])[0];
    const well = ok / total >= HEALTHY_SHARE;
    figure.show(
      percent(ok, total),
      well ? "● as it should be" : `▼ ${most ? errorName(most[0]) : "fail"}`,
      well,
    );
  }

  _age(now) {
    if (!now) return;
    const { feed_age_ms: age, unseen, feed_ok: ok } = now;
    if (ok === false)
      return this.age.show(
        "no feed",
        unseen ? `▼ ${unseen} writes unseen` : "▼ nobody can read",
        false,
      );
    const fresh = age < FRESH_MS;
    this.age.show(
      age < 1 ? "0 s" : duration(age),
      fresh ? "● fresh" : `▲ late · ${unseen} to come`,
      fresh,
    );
  }
}
