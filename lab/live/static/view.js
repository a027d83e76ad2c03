// Which moment is on the screen: now, one that is held fast, or one that passes by once more.

const BACK_S = 60;

export class View {
  /** @param {import("./model.js").Model} model */
  constructor(model) {
    this.model = model;
    /** @type {"live" | "paused" | "replay"} */ this.mode = "live";
    this.t = 0;
    this.jumps = 0; // counted, so that what moves on the screen can be cleared after a jump
    this._epoch = 0;
  }

  /** Goes on by `seconds` of real time. */
  pass(seconds) {
    const { model } = this;
    if (this._epoch !== model.epoch) {
      this._epoch = model.epoch;
      this.live();
    }
    if (this.mode === "replay") {
      this.t = Math.max(this.t + seconds, model.oldest);
      if (this.t >= model.newest) this.live();
    }
    if (this.mode === "live") this.t = model.newest;
  }

  live() {
    if (this.mode !== "live") this.jumps += 1;
    this.mode = "live";
    this.t = this.model.newest;
  }

  /** Holds the screen; the lab runs on and everything is still collected. */
  pause() {
    if (this.mode === "paused") this.live();
    else this.mode = "paused";
  }

  /** The last minute once more, at the pace at which it was. */
  replay() {
    if (this.mode === "replay") return this.live();
    this.mode = "replay";
    this.jumps += 1;
    this.t = Math.max(this.model.oldest, this.model.newest - BACK_S);
  }

  /** A step back or on while the screen is held or replays. */
  step(seconds) {
    if (this.mode === "live") this.mode = "paused";
    this.jumps += 1;
    this.t = Math.min(Math.max(this.t + seconds, this.model.oldest), this.model.newest);
  }
}
