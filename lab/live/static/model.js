// The model: the ticks of the last 60 s, the faults with their times, the sentences. Everything on
// the screen is drawn from the model at a moment `t`, so a pause or a replay only changes `t`.
// Older data is deleted, so the memory of the page stays bounded.

const MAX_LINES = 50;
const MISSED_SHOWN_S = 15;

/** @typedef {{t: number, halves: Object<string, any>}} Tick as the lab sends it */
/** @typedef {{key: string, fault: any, since: number, until: number}} FaultInterval a fault with its time */

export class Model {
  constructor() {
    /** @type {Tick[]} */ this.ticks = [];
    /** @type {FaultInterval[]} */ this.faultIntervals = [];
    this.hello = null;
    this.load = null;
    this.log = [];
    this.comments = [];
    this.script = null;
    this.bet = null;
    this.phones = null;
    /** @type {any[]} */ this.cards = [];
    this.missed = 0; // ticks dropped because this screen was too slow; missedAt: the last time
    this.missedAt = -Infinity;
    this.lastMessageMs = 0;
    this.epoch = 0;
  }

  /** Applies one event of the stream. */
  apply(kind, data) {
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
  get missedRecently() {
    return this.newest - this.missedAt < MISSED_SHOWN_S;
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
    this.bet = hello.bet ?? null;
    this.phones = hello.phones ?? null;
    this.cards = hello.cards ?? [];
    this.log = [...(hello.done ?? [])].slice(-MAX_LINES);
    this.comments = hello.seen ? [{ ...hello.seen, t: 0 }] : [];
    this.faultIntervals = [];
    this.ticks = [];
    for (const fault of hello.past_faults ?? [])
      this.faultIntervals.push({
        key: keyOf(fault),
        fault,
        since: fault.since_t,
        until: fault.until_t,
      });
    this._faults(hello.faults ?? []);
    for (const tick of hello.history ?? []) this._tick(tick);
  }

  _tick(tick) {
    if (tick.t <= this.newest && this.ticks.length) return;
    this.ticks.push(tick);
    this.lastMessageMs = performance.now();
    if (tick.load) this.load = tick.load;
    if (tick.dropped && tick.dropped !== this.missed) {
      this.missed = tick.dropped;
      this.missedAt = tick.t;
    }
    const old = tick.t - this.window - 1;
    while (this.ticks[0].t < old) this.ticks.shift();
    if (this.faultIntervals.some((entry) => entry.until < old))
      this.faultIntervals = this.faultIntervals.filter((entry) => entry.until >= old);
    if (this.comments.length > 1 && this.comments[1].t < old) this.comments.shift();
  }

  _done(line) {
    this.log.push(line);
    if (this.log.length > MAX_LINES) this.log.shift();
  }

  /** A card comes again, under its number, when more of it is known. */
  _card(card) {
    this.cards = [...this.cards.filter(({ n }) => n !== card.n), card];
  }

  _bet(bet) {
    this.bet = bet;
  }

  _phones(phones) {
    this.phones = phones;
  }

  _script(script) {
    this.script = script;
  }

  _seen(seen) {
    if (seen) this.comments.push({ ...seen, t: this.newest });
  }

  /** Takes the list of active faults; a known fault that is not in it has ended now. */
  _faults(message) {
    const list = Array.isArray(message) ? message : (message.faults ?? []);
    const on = new Map(list.map((fault) => [keyOf(fault), fault]));
    for (const interval of this.faultIntervals) {
      if (interval.until === Infinity && !on.delete(interval.key)) interval.until = this.newest;
    }
    for (const [key, fault] of on) {
      this.faultIntervals.push({ key, fault, since: fault.since_t ?? this.newest, until: Infinity });
    }
  }

  /** The newest tick at the moment `t`. */
  tickAt(t) {
    const { ticks } = this;
    if (!ticks.length || t >= this.newest) return ticks.at(-1) ?? null;
    return ticks[this._indexAt(t)] ?? ticks[0];
  }

  /** The ticks in (from, to]. */
  ticksBetween(from, to) {
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
    return this.faultIntervals
      .filter((entry) => entry.fault.half === half && entry.since <= t && t < entry.until)
      .map((entry) => entry.fault);
  }

  /** Whether a fault began in (from, t]. */
  hasBegunFault(from, t) {
    return this.faultIntervals.some(({ since }) => from < since && since <= t);
  }

  /** The cards of the outages that had ended at `t`, the newest last. */
  cardsAt(t) {
    return this.cards.filter((card) => card.healed_t <= t).sort((a, b) => a.healed_t - b.healed_t);
  }

  /** When a fault was last added to a pane or removed from it, up to `t`; -Infinity for never. */
  lastChange(half, t) {
    const times = this.faultIntervals
      .filter(({ fault }) => fault.half === half)
      .flatMap(({ since, until }) => [since, until]);
    return Math.max(-Infinity, ...times.filter((at) => at <= t));
  }

  /** The newest sentence at the moment `t`. */
  commentAt(t) {
    return this.comments.findLast((entry) => entry.t <= t) ?? this.comments[0] ?? null;
  }
}

const keyOf = (fault) => JSON.stringify([fault.half, fault.target, fault.kind, fault.options]);
