// The moment on the screen: now (live), a fixed one (paused), or a moving past one (replay).

const REPLAY_S = 60;

export class Playback {
  /** @param {import("./model.js").Model} model */
  constructor(model) {
    this.model = model;
    /** @type {"live" | "paused" | "replay"} */ this.mode = "live";
    this.t = 0;
    this.discontinuities = 0; // a counter; the panes clear their moving dots when it changes
    this._epoch = 0;
  }

  /** Advances by `seconds` of real time. */
  advance(seconds) {
    const { model } = this;
    if (this._epoch !== model.epoch) {
      this._epoch = model.epoch;
      this.goLive();
    }
    if (this.mode === "replay") {
      this.t = Math.max(this.t + seconds, model.oldest);
      if (this.t >= model.newest) this.goLive();
    }
    if (this.mode === "live") this.t = model.newest;
  }

  goLive() {
    if (this.mode !== "live") this.discontinuities += 1;
    this.mode = "live";
    this.t = this.model.newest;
  }

  /** Pauses the screen, or goes back to live. The lab and the collection of data continue. */
  togglePause() {
    if (this.mode === "paused") this.goLive();
    else this.mode = "paused";
  }

  /** Replays the last minute at its original speed, or goes back to live. */
  toggleReplay() {
    if (this.mode === "replay") return this.goLive();
    this.mode = "replay";
    this.discontinuities += 1;
    this.t = Math.max(this.model.oldest, this.model.newest - REPLAY_S);
  }

  /** Moves by `seconds`, negative for back; pauses a live screen. */
  step(seconds) {
    if (this.mode === "live") this.mode = "paused";
    this.discontinuities += 1;
    this.t = Math.min(Math.max(this.t + seconds, this.model.oldest), this.model.newest);
  }
}
