// Plays a recorded session: feeds the model with the recorded messages, at the pace of the session
// or faster. `r` is seconds since the recording began; a piece begins with a complete `hello`.

const WINDOW_S = 60;
export const SPEEDS = [1, 2, 4, 8];

/** The recorded session in this page; null in the page of a running lab. */
export function findRecording() {
  const summary = document.getElementById("session");
  return summary && new Recording(JSON.parse(summary.textContent));
}

class Recording {
  constructor(summary) {
    this.summary = summary;
    this.chunks = document.getElementById("session-chunks").textContent.trim().split("\n");
    this.loaded = new Map(); // the pieces in use, as promises of their lines
  }

  /** The number of the piece at `r`. */
  chunkAt(r) {
    return Math.max(0, this.summary.chunks.findLastIndex((from) => from <= r));
  }

  /** @returns {Promise<[number, string, any][]>} the lines of a piece */
  lines(number) {
    if (!this.loaded.has(number)) this.loaded.set(number, unpack(this.chunks[number]));
    return this.loaded.get(number);
  }

  /** Forgets the pieces that are not near this one, so that a long session fits into memory. */
  keepNear(number) {
    for (const known of this.loaded.keys()) {
      if (known < number - 8 || known > number + 1) this.loaded.delete(known);
    }
  }
}

async function unpack(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const text = await new Response(stream).text();
  return text.trimEnd().split("\n").map((line) => JSON.parse(line));
}

/** Takes the place of `Playback`: what it moves is the moment in the recording. */
export class Player {
  /**
   * @param {Recording} recording @param {import("./model.js").Model} model
   * @param {(kind: string, data: any) => void} onMessage
   */
  constructor(recording, model, onMessage) {
    this.recording = recording;
    this.model = model;
    this.onMessage = onMessage;
    this.r = this.from;
    this.speed = 1;
    this.isPaused = true;
    this.discontinuities = 0;
    this.lines = []; // of the piece that is played
    this.next = 0;
    this.chunk = -1;
    this.epoch = null;
    this.seeking = null;
    this.feeds = new Map(); // what readers of a half saw at the moment on the screen
  }

  get from() {
    return this.recording.summary.from;
  }

  get until() {
    return this.recording.summary.until;
  }

  get mode() {
    return this.isPaused ? "paused" : "live";
  }

  get t() {
    return this.model.newest;
  }

  /** Moves on by `seconds` of real time. */
  advance(seconds) {
    if (this.isPaused || this.seeking !== null) return;
    this.r = Math.min(this.r + seconds * this.speed, this.until);
    this._applyUntil(this.r);
    if (this.r >= this.until) this.isPaused = true;
    else if (this.next === this.lines.length) this._loadNext();
  }

  /** Shows the moment `r`, with the minute before it. */
  async seek(r) {
    const wanted = Math.min(Math.max(r, this.from), this.until);
    const isBusy = this.seeking !== null;
    this.seeking = wanted;
    if (isBusy) return; // the seek in progress goes on to this moment
    while (this.r !== this.seeking || this.chunk < 0) {
      const target = this.seeking;
      await this._load(target);
      this.r = target;
    }
    this.seeking = null;
  }

  async _load(r) {
    const last = this.recording.chunkAt(r);
    const first = this.recording.chunkAt(r - WINDOW_S);
    const pieces = [];
    for (let number = first; number <= last; number += 1) pieces.push(this.recording.lines(number));
    this.epoch = null;
    this.feeds.clear();
    for (const lines of await Promise.all(pieces)) {
      this.lines = lines;
      this.next = 0;
      this._applyUntil(r);
    }
    this.chunk = last;
    this.discontinuities += 1;
    this.recording.keepNear(last);
  }

  async _loadNext() {
    const number = this.chunk + 1;
    if (number >= this.recording.chunks.length || this.loadingNext) return;
    this.loadingNext = true;
    const lines = await this.recording.lines(number);
    this.loadingNext = false;
    if (this.chunk !== number - 1) return; // a seek came first
    this.chunk = number;
    this.lines = lines;
    this.next = 0;
    this.recording.keepNear(number);
  }

  _applyUntil(r) {
    while (this.next < this.lines.length && this.lines[this.next][0] <= r) {
      const [, kind, data] = this.lines[this.next];
      this.next += 1;
      if (kind === "blog") this.feeds.set(data.half, { t: this.t, answer: data.answer });
      else if (kind !== "hello") this.onMessage(kind, data);
      else if (data.epoch !== this.epoch) {
        // Only the first one, and that after a reset: the others repeat what is known here.
        this.epoch = data.epoch;
        this.feeds.clear();
        this.onMessage(kind, data);
      }
    }
  }

  goLive() {
    this.isPaused = false;
  }

  togglePause() {
    if (this.isPaused && this.r >= this.until) this.seek(this.from);
    this.isPaused = !this.isPaused;
  }

  toggleReplay() {
    this.seek(this.r - WINDOW_S);
  }

  step(seconds) {
    this.seek((this.seeking ?? this.r) + seconds);
  }

  nextSpeed() {
    this.speed = SPEEDS[(SPEEDS.indexOf(this.speed) + 1) % SPEEDS.length];
  }
}
