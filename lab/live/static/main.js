// The page: connects the modules, receives the messages of the lab, and draws once a frame.

import { Bets } from "./bets.js";
import { Controls } from "./controls.js";
import { createActions } from "./actions.js";
import { byId, updateAttribute, setText } from "./dom.js";
import { exchangeToken } from "./api.js";
import { FaultControls } from "./faults.js";
import { Pane } from "./pane.js";
import { handleKeys } from "./keys.js";
import { ScenarioList } from "./scenarios.js";
import { SlowMotion } from "./slow_motion.js";
import { Theme } from "./theme.js";
import { Model } from "./model.js";
import { ScriptStrip } from "./script.js";
import { subscribe } from "./stream.js";
import { Playback } from "./playback.js";
import { Announcements } from "./announcements.js";
import { CardView } from "./cards.js";
import { Player, findRecording } from "./player.js";
import { Timeline } from "./timeline.js";

const CHARTS_EVERY_S = 0.5;
const BLOGS_EVERY_S = { presenter: 0.5, watcher: 2 };
const SILENT_AFTER_S = 3;
const FIRST_SHOWN_S = 5; // of a recording: both blogs have started by then
const SAYS = {
  open: "● live",
  lost: "▲ Connection lost. Trying again …",
  refused: "▲ Not let in. Open the address that `lab live` printed, the one with #token=…",
  full: "▲ Full: too many screens watch already. This page tries again …",
};

const model = new Model();
const recording = findRecording();
const player = recording && new Player(recording, model, onMessage);
const page = {
  model,
  view: player ?? new Playback(model),
  theme: new Theme(),
  faults: new FaultControls(model),
  halves: [],
  role: null,
};
const actions = createActions(page);
page.script = new ScriptStrip();
page.controls = new Controls(page.faults, actions);
page.bets = new Bets();
page.card = new CardView();
page.slowMotion = new SlowMotion();
page.scenarios = new ScenarioList();
const timeline = player && new Timeline(player);
const announcements = new Announcements(page.controls.log);
const lastDrawn = { epoch: -1, t: -1, intervals: "", charts: -1, blogs: -1, second: 0 };
/** The number of frames drawn, written once a second, for measurements of the page. */
document.body.dataset.frames = "0";
let frames = 0;
let before = performance.now() / 1000;

let connection = "lost";

function setConnection(state) {
  connection = state;
  if (state !== "open") document.body.dataset.state = state;
}

function onMessage(kind, data) {
  model.apply(kind, data);
  if (kind === "faults") lastDrawn.blogs = -1; // readers are asked at once
  if (kind === "tick" && document.body.dataset.state === "starting")
    document.body.dataset.state = "open";
  if (kind !== "hello") return;
  if (page.role === null && data.role === "watcher") page.controls.hidePresenterControls();
  page.role = data.role;
  document.body.dataset.state = model.ticks.length ? "open" : "starting";
  setConnection("open");
}

/** Shows the state of the connection. An open connection without messages counts as lost. */
function showConnection(nowMs) {
  if (player) return setText(byId("connection"), "▶ recorded");
  const silentS = Math.floor((nowMs - model.lastMessageMs) / 1000);
  const silent = document.body.dataset.state === "open" && silentS >= SILENT_AFTER_S;
  const watching = page.role === "watcher" ? " · watching" : "";
  const open = silent ? `▲ No message for ${silentS} s` : SAYS.open + watching;
  setText(
    byId("connection"),
    !model.hello && connection === "lost"
      ? "Connecting …"
      : connection === "open"
        ? open
        : SAYS[connection],
  );
  updateAttribute(byId("connection"), "data-state", silent ? "lost" : connection);
}

/** Builds the panes again after a start or reset, perhaps with other arrangements. */
function buildPanes() {
  lastDrawn.epoch = model.epoch;
  lastDrawn.t = lastDrawn.charts = lastDrawn.blogs = -1;
  page.halves.forEach((half) => half.close());
  page.halves = model.hello.halves.map((half, number) => new Pane(half, number));
  byId("halves").replaceChildren(...page.halves.map((half) => half.root));
}

function frame(nowMs) {
  requestAnimationFrame(frame);
  const now = nowMs / 1000;
  const passed = Math.min(now - before, 0.5);
  before = now;
  frames += 1;
  if (now - lastDrawn.second > 1) {
    document.body.dataset.frames = String(frames);
    lastDrawn.second = now;
  }
  if (model.hello && lastDrawn.epoch !== model.epoch) buildPanes();
  const { view, halves, theme } = page;
  const mode = view.mode;
  view.advance(passed);
  for (const half of halves) {
    if (mode !== "paused" || half.discontinuities !== view.discontinuities)
      half.animate(model, view, now, theme.reducedMotion);
  }
  showConnection(nowMs);
  announcements.show(model, view, nowMs);
  page.card.show(model, view.t);
  page.slowMotion.show(now, theme.reducedMotion);
  timeline?.show();
  page.controls.show(model, view);
  page.script.show(model, page.role === "presenter");
  page.bets.show(model, page.role === "presenter");
  // Everything that is not animated is drawn only when its data has changed.
  const on =
    view.mode === "live" ? model.faultIntervals.map(({ key, until }) => key + until).join() : "";
  if (lastDrawn.t !== view.t || lastDrawn.intervals !== on) {
    lastDrawn.t = view.t;
    lastDrawn.intervals = on;
    halves.forEach((half) => half.show(model, view));
  }
  const chartStep = Math.floor(view.t / CHARTS_EVERY_S);
  if (lastDrawn.charts !== chartStep + on) {
    lastDrawn.charts = chartStep + on;
    halves.forEach((half) => half.chart.show(model, half.name, view.t));
  }
  refreshBlogs(now);
}

function refreshBlogs(now) {
  const { view, halves, role } = page;
  if (player) return halves.forEach((half) => half.blog.showRecorded(player.feeds.get(half.name)));
  if (
    role &&
    now - lastDrawn.blogs > BLOGS_EVERY_S[role] &&
    !document.hidden &&
    document.body.dataset.state === "open"
  ) {
    lastDrawn.blogs = now;
    halves.forEach((half) => half.blog.refresh(model));
  }
  halves.forEach((half) => half.blog.show(view.mode === "live" ? Infinity : view.t));
}

page.theme.onChange = () => page.halves.forEach((half) => half.traffic.readColours());
for (const [id, action] of [
  ["script-next", actions.nextStep],
  ["script-back", actions.previousStep],
  ["script-again", actions.repeatStep],
]) {
  byId(id).addEventListener("click", (event) => {
    if (event.detail > 0) event.currentTarget.blur();
    action();
  });
}
handleKeys(actions.keys, () => page.role !== "presenter", () => page.theme.settings.singleKeys);
if (player) {
  await player.seek(player.from + FIRST_SHOWN_S);
} else {
  await exchangeToken();
  subscribe(onMessage, setConnection);
}
requestAnimationFrame(frame);
