// Animates requests and events as dots on a canvas over the picture.
//
// A hop of 2 ms would be invisible. So each dot moves for at least a third of a second. The dot of
// a longer hop takes as long as the hop did, up to 4 s, and a request's dot waits at the callee.
// Every dot is a real hop; if there are many, a sample is drawn.

import { BUS, HEIGHT, WIDTH, along, wayOf } from "./layout.js";

const AT_LEAST_S = 0.34;
const AT_MOST_S = 4;
const LATE_S = 0.35; // spans arrive a moment after their end, with varying delay
const MOST = 160;
const TURN = Math.PI * 2;

export class Hops {
  /** @param {HTMLCanvasElement} canvas @param {boolean} hasBus */
  constructor(canvas, hasBus) {
    this.canvas = canvas;
    this.pen = canvas.getContext("2d");
    this.hasBus = hasBus;
    this.alive = [];
    this.spare = [];
    this.ways = new Map();
    this.point = { x: 0, y: 0 };
    this.empty = true;
    this.colours = { dot: "#000", bad: "#000", ground: "#fff" };
    this.observer = new ResizeObserver(() => this._resize());
    this.observer.observe(canvas);
  }

  close() {
    this.observer.disconnect();
  }

  _resize() {
    const { width, height } = this.canvas.getBoundingClientRect();
    // A finer resolution is invisible from the back row, and costs much more drawing time.
    const scale = Math.min(window.devicePixelRatio || 1, 1.5);
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    this.dress();
  }

  /** Reads the colours of the current theme from the style sheet. */
  dress() {
    const style = getComputedStyle(this.canvas);
    this.colours = {
      dot: style.getPropertyValue("--half").trim(),
      bad: style.getPropertyValue("--ink").trim(),
      ground: style.getPropertyValue("--ground").trim(),
    };
  }

  clear() {
    this.spare.push(...this.alive.splice(0));
  }

  /** Starts a dot for each hop of a tick; `now` in seconds. */
  send(hops, now) {
    for (const [from, to, kind, , atMs, tookMs, ok] of hops ?? []) {
      if (this.alive.length >= MOST) return;
      const way = this._way(from, to);
      if (!way) continue;
      const dot = this.spare.pop() ?? {};
      dot.way = way;
      dot.tells = kind === "tell";
      dot.ok = ok !== false;
      dot.begins = Math.max(now, now + LATE_S + atMs / 1000);
      // The event must reach the bus first: its dot to the bus takes this long.
      if (dot.tells && from === BUS) dot.begins += AT_LEAST_S;
      dot.lasts = Math.min(Math.max(tookMs / 1000, AT_LEAST_S), AT_MOST_S);
      if (dot.tells) dot.lasts *= way.length > 4 ? 1.8 : 1;
      this.alive.push(dot);
    }
  }

  _way(from, to) {
    const key = `${from}>${to}`;
    if (!this.ways.has(key)) this.ways.set(key, wayOf(from, to, this.hasBus));
    return this.ways.get(key);
  }

  /** Draws the dots that move at `now`, in seconds. */
  draw(now) {
    const { pen, canvas, alive } = this;
    if (this.empty && !alive.length) return;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    const scale = Math.min(canvas.width / WIDTH, canvas.height / HEIGHT);
    pen.setTransform(
      scale,
      0,
      0,
      scale,
      (canvas.width - WIDTH * scale) / 2,
      (canvas.height - HEIGHT * scale) / 2,
    );
    pen.lineWidth = 2.5;
    for (let i = alive.length - 1; i >= 0; i -= 1) {
      const dot = alive[i];
      const age = now - dot.begins;
      if (age >= dot.lasts) {
        this.spare.push(dot);
        alive[i] = alive[alive.length - 1];
        alive.pop();
      } else if (age >= 0) this._dot(dot, age);
    }
    this.empty = !alive.length;
  }

  _dot(dot, age) {
    const { pen, point, colours } = this;
    const leg = (AT_LEAST_S / 2) * 0.95;
    if (dot.tells) {
      along(dot.way, age / dot.lasts, point);
      pen.fillStyle = dot.ok ? colours.dot : colours.bad;
      pen.fillRect(point.x - 4.5, point.y - 4.5, 9, 9);
      return;
    }
    const left = dot.lasts - age;
    const back = dot.ok && left < leg;
    along(dot.way, back ? left / leg : Math.min(age / leg, 1), point);
    if (!dot.ok && age > leg) return this._cross(point);
    pen.beginPath();
    pen.arc(point.x, point.y, 4.5, 0, TURN);
    pen.fillStyle = back ? colours.ground : colours.dot;
    pen.fill();
    pen.strokeStyle = colours.dot;
    pen.stroke();
  }

  _cross({ x, y }) {
    const { pen } = this;
    pen.strokeStyle = this.colours.bad;
    pen.beginPath();
    pen.moveTo(x - 5, y - 5);
    pen.lineTo(x + 5, y + 5);
    pen.moveTo(x + 5, y - 5);
    pen.lineTo(x - 5, y + 5);
    pen.stroke();
  }
}
