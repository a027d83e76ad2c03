// The page: connects the modules, receives the messages of the lab, and draws once a frame.

import { Controls } from "./controls.js";
import { desk } from "./actions.js";
import { byId, mark, say } from "./dom.js";
import { enter } from "./api.js";
import { Breaker } from "./faults.js";
import { Half } from "./pane.js";
import { obey } from "./keys.js";
import { Look } from "./theme.js";
import { Model } from "./model.js";
import { ScriptStrip } from "./script.js";
import { listen } from "./stream.js";
import { View } from "./view.js";
import { Words } from "./announcements.js";

const CHARTS_EVERY_S = 0.5;
const BLOGS_EVERY_S = { presenter: 0.5, watcher: 2 };
const SILENT_AFTER_S = 3;
const SAYS = {
  open: "● live",
  lost: "▲ Connection lost. Trying again …",
  refused: "▲ Not let in. Open the address that `lab live` printed, the one with #token=…",
};

const model = new Model();
const page = {
  model,
  view: new View(model),
  look: new Look(),
  breaker: new Breaker(model),
  halves: [],
  role: null,
};
const acts = desk(page);
page.script = new ScriptStrip();
page.controls = new Controls(page.breaker, acts);
const words = new Words(page.controls.log);
const drawn = { epoch: -1, t: -1, spells: "", charts: -1, blogs: -1, second: 0 };
/** The number of frames drawn, written once a second, for measurements of the page. */
document.body.dataset.frames = "0";
let frames = 0;
let before = performance.now() / 1000;

let connection = "lost";

function connected(state) {
  connection = state;
  if (state !== "open") document.body.dataset.state = state;
}

function take(kind, data) {
  model.take(kind, data);
  if (kind === "tick" && document.body.dataset.state === "starting")
    document.body.dataset.state = "open";
  if (kind !== "hello") return;
  if (page.role === null && data.role === "watcher") page.controls.watchOnly();
  page.role = data.role;
  document.body.dataset.state = model.ticks.length ? "open" : "starting";
  connected("open");
}

/** Shows the state of the connection. An open connection without messages counts as lost. */
function line(nowMs) {
  const silentS = Math.floor((nowMs - model.arrived) / 1000);
  const silent = document.body.dataset.state === "open" && silentS >= SILENT_AFTER_S;
  const watching = page.role === "watcher" ? " · watching" : "";
  const open = silent ? `▲ Nothing heard for ${silentS} s` : SAYS.open + watching;
  say(
    byId("connection"),
    !model.hello && connection === "lost"
      ? "Connecting …"
      : connection === "open"
        ? open
        : SAYS[connection],
  );
  mark(byId("connection"), "data-state", silent ? "lost" : connection);
}

/** Builds the panes again after a start or reset, perhaps with other arrangements. */
function build() {
  drawn.epoch = model.epoch;
  drawn.t = drawn.charts = drawn.blogs = -1;
  page.halves.forEach((half) => half.close());
  page.halves = model.hello.halves.map((half, number) => new Half(half, number));
  byId("halves").replaceChildren(...page.halves.map((half) => half.root));
}

function frame(nowMs) {
  requestAnimationFrame(frame);
  const now = nowMs / 1000;
  const passed = Math.min(now - before, 0.5);
  before = now;
  frames += 1;
  if (now - drawn.second > 1) {
    document.body.dataset.frames = String(frames);
    drawn.second = now;
  }
  const { view, halves, look } = page;
  if (model.hello && drawn.epoch !== model.epoch) build();
  const mode = view.mode;
  view.pass(passed);
  for (const half of halves) {
    if (mode !== "paused" || half.jumps !== view.jumps) half.move(model, view, now, look.still);
  }
  line(nowMs);
  words.show(model, view, nowMs);
  page.controls.show(model, view);
  page.script.show(model, page.role === "presenter");
  // Everything that is not animated is drawn only when its data has changed.
  const on = view.mode === "live" ? model.spells.map((one) => one.key + one.until).join() : "";
  if (drawn.t !== view.t || drawn.spells !== on) {
    drawn.t = view.t;
    drawn.spells = on;
    halves.forEach((half) => half.show(model, view));
  }
  const half = Math.floor(view.t / CHARTS_EVERY_S);
  if (drawn.charts !== half + on) {
    drawn.charts = half + on;
    halves.forEach((one) => one.chart.show(model, one.name, view.t));
  }
  blogs(now);
}

function blogs(now) {
  const { view, halves, role } = page;
  if (
    role &&
    now - drawn.blogs > BLOGS_EVERY_S[role] &&
    !document.hidden &&
    document.body.dataset.state === "open"
  ) {
    drawn.blogs = now;
    halves.forEach((half) => half.blog.ask(model));
  }
  halves.forEach((half) => half.blog.show(view.mode === "live" ? Infinity : view.t));
}

page.look.changed = () => page.halves.forEach((half) => half.hops.dress());
byId("script-next").addEventListener("click", (event) => {
  if (event.detail > 0) event.currentTarget.blur();
  acts.next();
});
obey(acts.keys, () => page.role !== "presenter");
await enter();
listen(take, connected);
requestAnimationFrame(frame);
