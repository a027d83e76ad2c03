// What is known: the last 60 s of ticks, what was broken when, what was said. Everything on the
// screen is drawn from here, at a moment `t`; so pausing and looking back are only another `t`.
// Whatever comes in is kept for 60 s and not longer, however long the lecture is.

const KEPT_LINES = 50;
const SAID_FOR_S = 15;

/** @typedef {{t: number, halves: Object<string, any>}} Tick as the lab sends it */
/** @typedef {{key: string, deed: any, since: number, until: number}} Spell a fault, on for a while */

export class Model {
  constructor() {
    /** @type {Tick[]} */ this.ticks = [];
    /** @type {Spell[]} */ this.spells = [];
    this.hello = null;
    this.load = null;
    this.lines = [];
    this.said = [];
    this.script = null;
    this.missed = 0; // ticks that this screen's network was too slow for, and when that was last so
    this.missedAt = -Infinity;
    this.arrived = 0;
    this.epoch = 0;
  }

  /** Takes one event of the stream. */
  take(kind, data) {
    this[`_${kind}`](data);
  }

  get window() {
    return this.hello?.window_s ?? 60;
  }

  /** The newest moment known. */
  get newest() {
    return this.ticks.at(-1)?.t ?? 0;
  }

  /** Whether ticks were missed lately. */
  get misses() {
    return this.newest - this.missedAt < SAID_FOR_S;
  }

  get oldest() {
    return this.ticks[0]?.t ?? 0;
  }

  _hello(hello) {
    this.hello = hello;
    this.missedAt = -Infinity;
    this.epoch += 1;
    this.load = hello.load;
    this.script = hello.script ?? null;
    this.lines = [...(hello.done ?? [])].slice(-KEPT_LINES);
    this.said = hello.seen ? [{ ...hello.seen, t: 0 }] : [];
    this.spells = [];
    this.ticks = [];
    this._faults(hello.faults ?? []);
    for (const tick of hello.history ?? []) this._tick(tick);
  }

  _tick(tick) {
    if (tick.t <= this.newest && this.ticks.length) return;
    this.ticks.push(tick);
    this.arrived = performance.now();
    if (tick.load) this.load = tick.load;
    if (tick.dropped && tick.dropped !== this.missed) {
      this.missed = tick.dropped;
      this.missedAt = tick.t;
    }
    const old = tick.t - this.window - 1;
    while (this.ticks[0].t < old) this.ticks.shift();
    if (this.spells.some((one) => one.until < old))
      this.spells = this.spells.filter((one) => one.until >= old);
    if (this.said.length > 1 && this.said[1].t < old) this.said.shift();
  }

  _done(line) {
    this.lines.push(line);
    if (this.lines.length > KEPT_LINES) this.lines.shift();
  }

  _script(script) {
    this.script = script;
  }

  _seen(seen) {
    if (seen) this.said.push({ ...seen, t: this.newest });
  }

  /** What is on now; what is no longer named has ended now. */
  _faults(deeds) {
    const list = Array.isArray(deeds) ? deeds : (deeds.faults ?? []);
    const on = new Map(list.map((deed) => [keyOf(deed), deed]));
    for (const spell of this.spells) {
      if (spell.until === Infinity && !on.delete(spell.key)) spell.until = this.newest;
    }
    for (const [key, deed] of on) {
      this.spells.push({ key, deed, since: deed.since_t ?? this.newest, until: Infinity });
    }
  }

  /** The tick that was the newest at `t`. */
  tickAt(t) {
    const { ticks } = this;
    if (!ticks.length || t >= this.newest) return ticks.at(-1) ?? null;
    return ticks[this._indexAt(t)] ?? ticks[0];
  }

  /** The ticks in (from, to]. */
  between(from, to) {
    return this.ticks.slice(this._indexAt(from) + 1, this._indexAt(to) + 1);
  }

  _indexAt(t) {
    let low = 0;
    let high = this.ticks.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.ticks[middle].t <= t) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** The faults that were on in a half at `t`. */
  faultsAt(half, t) {
    return this.spells
      .filter((one) => one.deed.half === half && one.since <= t && t < one.until)
      .map((one) => one.deed);
  }

  /** What was said last at `t`. */
  saidAt(t) {
    return this.said.findLast((one) => one.t <= t) ?? this.said[0] ?? null;
  }
}

const keyOf = (deed) => JSON.stringify([deed.half, deed.target, deed.kind, deed.options]);
