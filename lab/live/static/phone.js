// A phone of the audience: it is a reader of one of the two blogs, and answers bets. It gets one
// message a second, and draws it at once. A larger screen goes on to the whole page.

import { get, post } from "./api.js";
import { byId, el, setText } from "./dom.js";
import { clock, duration, faultName, percent } from "./format.js";
import { subscribeToNats } from "./nats.js";
import { STATUS_TEXTS, ERROR_TEXTS, readable } from "./readers.js";

const KEY = "lab-phone";
const RETRY_MS = 2_000;
const RETRY_FULL_MS = 10_000;
const SILENT_AFTER_MS = 5_000;
const FRESH_MS = 1_000;
const LOST = "▲ No connection to the lab. Trying again …";
const FULL = "No more phones fit. Watch the projector; this page tries again by itself.";
const SHAPES = ["■", "●"];
const SIDES = ["left", "right"];

const state = { side: 0, phone: "", now: null, bet: null, heardMs: 0, receivedMs: 0 };

function stored() {
  try {
    return localStorage.getItem(KEY) ?? "";
  } catch {
    return ""; // without storage, a phone that reconnects is a new one
  }
}

function store(phone) {
  try {
    localStorage.setItem(KEY, phone);
  } catch {
    // see stored()
  }
}

let isNatsClosed = false; // this network lets nothing through to nats-server

/** Connects to nats-server, if the lab offers it, or else to the lab. */
async function connect() {
  const query = `phone=${encodeURIComponent(state.phone || stored())}`;
  const { status, body, says } = await get(`/api/phone/hello?${query}`);
  if (status === 409) return retry("full", says);
  if (status !== 200 || !body.nats || isNatsClosed) return connectToLab();
  onHello(body);
  const subjects = ["phones.all", `phones.${SIDES[state.side]}`];
  const url = `ws://${location.hostname}:${body.nats}/`;
  subscribeToNats(url, state.phone, subjects, onNatsMessage, (wasOpen, error) => {
    if (error.includes("connections exceeded")) return retry("full", FULL);
    if (wasOpen) return retry("lost", LOST);
    isNatsClosed = true;
    connectToLab();
  });
}

const TAKES = { now: onNow, bet: onBet };

/** A message is the name of an event, a space, and its JSON. */
function onNatsMessage(text) {
  const space = text.indexOf(" ");
  state.heardMs = performance.now();
  TAKES[text.slice(0, space)]?.(JSON.parse(text.slice(space + 1)));
}

function retry(kind, text) {
  showNotice(kind, text);
  setTimeout(connect, kind === "full" ? RETRY_FULL_MS : RETRY_MS);
}

function connectToLab() {
  const address = `./api/phone?phone=${encodeURIComponent(state.phone || stored())}`;
  const source = new EventSource(address);
  const on = (name, take) =>
    source.addEventListener(name, (event) => {
      state.heardMs = performance.now();
      take(JSON.parse(event.data));
    });
  on("hello", onHello);
  on("now", onNow);
  on("bet", onBet);
  source.addEventListener("error", async () => {
    // A browser does not tell a page why a stream was refused: a second request does.
    source.close();
    const reason = await whyRefused(address);
    retry(reason ? "full" : "lost", reason || LOST);
  });
}

async function whyRefused(address) {
  const controller = new AbortController();
  try {
    const response = await fetch(address, { signal: controller.signal, cache: "no-store" });
    return response.status === 409 ? (await response.json()).detail : "";
  } catch {
    return "";
  } finally {
    controller.abort();
  }
}

function onHello({ phone, side, bet }) {
  state.phone = phone;
  state.side = side;
  store(phone);
  document.body.dataset.side = SIDES[side];
  onBet(bet);
}

function onNow(now) {
  state.now = now;
  state.receivedMs = performance.now();
  document.title = `Reader of ${now.name}`;
  setText(byId("reader"), `${SHAPES[state.side]} You read ${now.name}, ${SIDES[state.side]}`);
  if (now.status === null) return showNotice("starting", "The blog is just starting …");
  const fine = now.status === 200;
  document.body.dataset.state = fine ? "fine" : "failing";
  byId("notice").hidden = true;
  byId("feed").hidden = !fine;
  byId("error").hidden = fine;
  if (fine) byId("feed").replaceChildren(...now.posts.map(postItem));
  else {
    setText(byId("code"), now.status ? String(now.status) : "✕");
    const text = STATUS_TEXTS[now.status] ?? "Error";
    setText(byId("why"), `${text}. ${ERROR_TEXTS[now.why] ?? now.why}`);
  }
  showFigures(now);
  showOutage();
}

function postItem([title, comment, status]) {
  const lines = [el("p", { class: "title", dir: "auto" }, readable(title))];
  if (comment !== undefined) {
    const note = status === "approved" ? "" : ` (${status})`;
    lines.push(el("p", { class: "comment", dir: "auto" }, readable(comment) + note));
  }
  return el("li", {}, ...lines);
}

function showFigures({ reads: [ok, failed], waiting, lag_ms: lag, missing }) {
  const total = ok + failed;
  setText(byId("reads"), total ? percent(ok, total) : waiting ? "waiting" : "–");
  const late = lag !== null && lag >= FRESH_MS;
  const text = missing ? `✕ ${missing} lost` : lag === null ? "no feed" : lag < 1 ? "0 s" : duration(lag);
  setText(byId("lag"), late && !missing ? `▲ ${text}` : text);
}

/** Counts on between two messages. */
function showOutage() {
  const { now, receivedMs } = state;
  const fault = now?.fault;
  const t = now ? now.t + (performance.now() - receivedMs) / 1000 : 0;
  setText(
    byId("outage"),
    fault ? `${fault.target} ${faultName(fault)} · ${clock(t - fault.since_t)}` : "",
  );
}

function showNotice(kind, text) {
  document.body.dataset.state = kind;
  byId("notice").hidden = false;
  byId("feed").hidden = byId("error").hidden = true;
  setText(byId("notice"), text);
  for (const id of ["reads", "lag"]) setText(byId(id), "–");
}

function onBet(bet) {
  const mine = bet && "mine" in bet ? bet.mine : bet?.n === state.bet?.n ? state.bet?.mine : null;
  state.bet = bet && { ...bet, mine: mine ?? null };
  byId("bet").hidden = !bet;
  document.body.dataset.bet = bet ? bet.state : "none";
  if (!bet) return;
  setText(byId("question"), bet.question);
  byId("answers").hidden = bet.state !== "open";
  byId("answers").replaceChildren(...bet.answers.map((text, index) => answerButton(text, index)));
  setText(byId("thanks"), thanks(state.bet));
}

function answerButton(text, index) {
  const pressed = String(state.bet.mine === index);
  const button = el("button", { type: "button", dir: "auto", "aria-pressed": pressed }, text);
  button.addEventListener("click", () => answer(index));
  return button;
}

async function answer(index) {
  const { n } = state.bet;
  const { says } = await post("/api/vote", { phone: state.phone, bet: n, answer: index });
  if (state.bet?.n !== n) return;
  if (says) return setText(byId("thanks"), says);
  onBet({ ...state.bet, mine: index });
}

function thanks({ mine, state: betState, answers, counts, holds }) {
  if (betState === "open")
    return mine === null ? "Choose one answer." : "Counted. You can change it until the bet is closed.";
  const said = mine === null ? "The bet is closed." : `You said: ${answers[mine]}.`;
  if (holds === null) return said;
  const share = `${counts[holds]} of ${counts.reduce((sum, count) => sum + count, 0)} said so`;
  if (mine === holds) return `You were right: ${answers[holds]} (${share}).`;
  return `${said} It is: ${answers[holds]} (${share}).`;
}

if (matchMedia("(min-width: 701px)").matches && !location.pathname.endsWith("/phone")) {
  location.replace("./screen");
} else {
  connect();
  setInterval(() => {
    showOutage();
    const silent = performance.now() - state.heardMs > SILENT_AFTER_MS;
    if (silent && ["fine", "failing"].includes(document.body.dataset.state))
      showNotice("lost", "▲ No message from the lab for some seconds.");
  }, 250);
}
