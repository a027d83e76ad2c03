// The model: the ticks of the last 60 s, the faults with their times, the sentences. Everything on
// the screen is drawn from the model at a moment `t`, so a pause or a replay only changes `t`.
// Older data is deleted, so the memory of the page stays bounded.

const KEPT_LINES = 50;
const SAID_FOR_S = 15;

/** @typedef {{t: number, halves: Object<string, any>}} Tick as the lab sends it */
/** @typedef {{key: string, deed: any, since: number, until: number}} Spell a fault with its time */

export class Model {
  constructor() {
    /** @type {Tick[]} */ this.ticks = [];
    /** @type {Spell[]} */ this.spells = [];
    this.hello = null;
    this.load = null;
    this.lines = [];
    this.said = [];
    this.script = null;
    this.missed = 0; // ticks dropped because this screen was too slow; missedAt: the last time
    this.missedAt = -Infinity;
    this.arrived = 0;
    this.epoch = 0;
  }

  /** Applies one event of the stream. */
  take(kind, data) {
    this[`_${kind}`](data);
  }

  get window() {
    return this.hello?.window_s ?? 60;
  }

  /** The time of the newest tick, in seconds since the start. */
  get newest() {
    return this.ticks.at(-1)?.t ?? 0;
  }

  /** Whether ticks were dropped recently. */
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

  /** Takes the list of active faults; a known fault that is not in it has ended now. */
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

  /** The newest tick at the moment `t`. */
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

  /** The faults that were active in a pane at `t`. */
  faultsAt(half, t) {
    return this.spells
      .filter((one) => one.deed.half === half && one.since <= t && t < one.until)
      .map((one) => one.deed);
  }

  /** The newest sentence at the moment `t`. */
  saidAt(t) {
    return this.said.findLast((one) => one.t <= t) ?? this.said[0] ?? null;
  }
}

const keyOf = (deed) => JSON.stringify([deed.half, deed.target, deed.kind, deed.options]);
