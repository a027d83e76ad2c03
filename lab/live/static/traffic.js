// Animates requests and events as dots on a canvas over the picture.
//
// A hop of 2 ms would be invisible. So each dot moves for at least a third of a second. The dot of
// a longer hop takes as long as the hop did, up to 4 s, and a request's dot waits at the callee.
// Every dot is a real hop. The hops of one request follow one another, as they did (hop_order.js);
// if there are many requests, a sample is drawn.

import { BUS, HEIGHT, POSITIONS, WIDTH, pointAlong, pathBetween } from "./layout.js";
import { LEG_S, inOrder } from "./hop_order.js";

const COLLECT_S = 0.4; // spans arrive a moment after their end, with varying delay
const WAIT_S = 3; // for the hop of the client, which ends last
const FORGET_S = 10;
const MAX_DOTS = 240;
const TURN = Math.PI * 2;

export class Traffic {
  /** @param {HTMLCanvasElement} canvas @param {boolean} hasBus */
  constructor(canvas, hasBus) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.hasBus = hasBus;
    this.dots = [];
    this.unused = [];
    this.requests = new Map();
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
    this.requests.clear();
  }

  /** Takes the hops of the tick at `t`; `now` in seconds. Their dots start when the request is
   * complete, or when that has taken too long. */
  addHops(hops, t, now) {
    for (const [from, to, kind, what, atMs, tookMs, ok, number] of hops ?? []) {
      const hop = { from, to, what, isEvent: kind === "tell", at: 1000 * t + atMs, tookMs, ok: ok !== false };
      const request = number ? this.requests.get(number) : null;
      // An event may have waited, and comes later than its request. A late call is out of order.
      if (request?.begun && !hop.isEvent) continue;
      const isLate = request?.begun;
      const hops = request?.hops ?? [];
      hops.push(hop);
      const isComplete = !hop.isEvent && !(from in POSITIONS) && from !== BUS;
      let dueS = request?.dueS ?? now + (number ? WAIT_S : 0);
      if (isComplete || isLate) dueS = now + COLLECT_S;
      this.requests.set(number || Symbol("alone"), { hops, dueS, begun: false });
    }
  }

  /** Starts the dots of the requests that are due, and forgets those that are long over. */
  _startDue(now) {
    for (const [key, request] of this.requests) {
      if (now < request.dueS) continue;
      if (!request.begun) this._start(request.hops, now);
      request.begun = true;
      request.hops = [];
      if (typeof key === "symbol" || now > request.dueS + FORGET_S) this.requests.delete(key);
    }
  }

  _start(hops, now) {
    if (this.dots.length + hops.length > MAX_DOTS) return;
    for (const { hop, startS, durationS } of inOrder(hops)) {
      const path = this._path(hop.from, hop.to);
      if (!path) continue;
      const dot = this.unused.pop() ?? {};
      dot.path = path;
      dot.isEvent = hop.isEvent;
      dot.ok = hop.ok;
      dot.startS = now + startS;
      dot.durationS = durationS;
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
    this._startDue(now);
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
    const leg = LEG_S * 0.95;
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
