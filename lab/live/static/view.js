// The moment on the screen: now (live), a fixed one (paused), or a moving past one (replay).

const BACK_S = 60;

export class View {
  /** @param {import("./model.js").Model} model */
  constructor(model) {
    this.model = model;
    /** @type {"live" | "paused" | "replay"} */ this.mode = "live";
    this.t = 0;
    this.jumps = 0; // a counter; the panes clear their moving dots when it changes
    this._epoch = 0;
  }

  /** Advances by `seconds` of real time. */
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

  /** Pauses the screen, or goes back to live. The lab and the collection of data continue. */
  pause() {
    if (this.mode === "paused") this.live();
    else this.mode = "paused";
  }

  /** Replays the last minute at its original speed, or goes back to live. */
  replay() {
    if (this.mode === "replay") return this.live();
    this.mode = "replay";
    this.jumps += 1;
    this.t = Math.max(this.model.oldest, this.model.newest - BACK_S);
  }

  /** Moves by `seconds`, negative for back; pauses a live screen. */
  step(seconds) {
    if (this.mode === "live") this.mode = "paused";
    this.jumps += 1;
    this.t = Math.min(Math.max(this.t + seconds, this.model.oldest), this.model.newest);
  }
}
