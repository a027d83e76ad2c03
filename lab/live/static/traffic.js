// Animates requests and events as dots on a canvas over the picture.
//
// A hop of 2 ms would be invisible. So each dot moves for at least a third of a second. The dot of
// a longer hop takes as long as the hop did, up to 4 s, and a request's dot waits at the callee.
// Every dot is a real hop; if there are many, a sample is drawn.

import { BUS, HEIGHT, WIDTH, pointAlong, pathBetween } from "./layout.js";

const MIN_S = 0.34;
const MAX_S = 4;
const SPAN_DELAY_S = 0.35; // spans arrive a moment after their end, with varying delay
const MAX_DOTS = 160;
const TURN = Math.PI * 2;

export class Traffic {
  /** @param {HTMLCanvasElement} canvas @param {boolean} hasBus */
  constructor(canvas, hasBus) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.hasBus = hasBus;
    this.dots = [];
    this.unused = [];
    this.paths = new Map();
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
    this.readColours();
  }

  /** Reads the colours of the current theme from the style sheet. */
  readColours() {
    const style = getComputedStyle(this.canvas);
    this.colours = {
      dot: style.getPropertyValue("--half").trim(),
      bad: style.getPropertyValue("--ink").trim(),
      ground: style.getPropertyValue("--ground").trim(),
    };
  }

  clear() {
    this.unused.push(...this.dots.splice(0));
  }

  /** Starts a dot for each hop of a tick; `now` in seconds. */
  addHops(hops, now) {
    for (const [from, to, kind, , atMs, tookMs, ok] of hops ?? []) {
      if (this.dots.length >= MAX_DOTS) return;
      const path = this._path(from, to);
      if (!path) continue;
      const dot = this.unused.pop() ?? {};
      dot.path = path;
      dot.isEvent = kind === "tell";
      dot.ok = ok !== false;
      dot.startS = Math.max(now, now + SPAN_DELAY_S + atMs / 1000);
      // The event must reach the bus first: its dot to the bus takes this long.
      if (dot.isEvent && from === BUS) dot.startS += MIN_S;
      dot.durationS = Math.min(Math.max(tookMs / 1000, MIN_S), MAX_S);
      if (dot.isEvent) dot.durationS *= path.length > 4 ? 1.8 : 1;
      this.dots.push(dot);
    }
  }

  _path(from, to) {
    const key = `${from}>${to}`;
    if (!this.paths.has(key)) this.paths.set(key, pathBetween(from, to, this.hasBus));
    return this.paths.get(key);
  }

  /** Draws the dots that move at `now`, in seconds. */
  draw(now) {
    const { context, canvas, dots } = this;
    if (this.empty && !dots.length) return;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    const scale = Math.min(canvas.width / WIDTH, canvas.height / HEIGHT);
    context.setTransform(
      scale,
      0,
      0,
      scale,
      (canvas.width - WIDTH * scale) / 2,
      (canvas.height - HEIGHT * scale) / 2,
    );
    context.lineWidth = 2.5;
    for (let i = dots.length - 1; i >= 0; i -= 1) {
      const dot = dots[i];
      const age = now - dot.startS;
      if (age >= dot.durationS) {
        this.unused.push(dot);
        dots[i] = dots[dots.length - 1];
        dots.pop();
      } else if (age >= 0) this._dot(dot, age);
    }
    this.empty = !dots.length;
  }

  _dot(dot, age) {
    const { context, point, colours } = this;
    const leg = (MIN_S / 2) * 0.95;
    if (dot.isEvent) {
      pointAlong(dot.path, age / dot.durationS, point);
      context.fillStyle = dot.ok ? colours.dot : colours.bad;
      context.fillRect(point.x - 4.5, point.y - 4.5, 9, 9);
      return;
    }
    const left = dot.durationS - age;
    const back = dot.ok && left < leg;
    pointAlong(dot.path, back ? left / leg : Math.min(age / leg, 1), point);
    if (!dot.ok && age > leg) return this._cross(point);
    context.beginPath();
    context.arc(point.x, point.y, 4.5, 0, TURN);
    context.fillStyle = back ? colours.ground : colours.dot;
    context.fill();
    context.strokeStyle = colours.dot;
    context.stroke();
  }

  _cross({ x, y }) {
    const { context } = this;
    context.strokeStyle = this.colours.bad;
    context.beginPath();
    context.moveTo(x - 5, y - 5);
    context.lineTo(x + 5, y + 5);
    context.moveTo(x + 5, y - 5);
    context.lineTo(x - 5, y + 5);
    context.stroke();
  }
}
