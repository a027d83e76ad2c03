// Bets: a question to the room, the number of answers while it is open, then the bars and, from the
// next fault on, the measured answer beside them. One key leads through: ask, close, finish.

import { get, post } from "./api.js";
import { showNotice } from "./announcements.js";
import { button, byId, el, svg } from "./dom.js";
import { duration } from "./format.js";

const QUIET_ZONE = 4; // modules around a QR code (ISO/IEC 18004)
const MOST_ANSWERS = 4;
const LETTERS = ["A", "B", "C", "D"];
const NOT_SHARED =
  "No phone can answer: the lab was started without --share. Ask for a show of hands, or start lab live --share.";

async function send(path, body) {
  const { says } = await post(path, body);
  if (says) showNotice(says);
}

export class Bets {
  constructor() {
    this.shown = this.phones = undefined;
    this.room = { shared: false, addresses: [], ready: [] };
    this.isInviting = false;
    this.root = el("section", { id: "bet", class: "bet", "aria-label": "A bet", hidden: true });
    this.invitation = el("section", { id: "invitation", class: "invitation", "aria-label": "The address for phones", hidden: true });
    this.dialog = el("dialog", { id: "ask", "aria-labelledby": "ask-title" });
    byId("controls").before(this.root);
    document.body.append(this.invitation, this.dialog);
    this.dialog.addEventListener("keydown", (event) => {
      const ready = this.room.ready[Number(event.key) - 1];
      if (!ready || event.target.matches("input")) return;
      event.stopPropagation(); // the same key chooses a target on the page
      event.preventDefault();
      this._ask(ready);
    });
  }

  /** The key for bets: asks the room, or closes the open bet, or finishes the closed one. */
  async next(model) {
    if (!model.bet) return this._openDialog(model);
    await send("/api/bet", { do: model.bet.state === "open" ? "close" : "finish" });
  }

  /** Shows the address for phones as a QR code, or hides it. */
  async toggleInvitation() {
    this.isInviting = !this.isInviting;
    if (this.isInviting) await this._loadRoom();
    this.shown = undefined;
  }

  close() {
    if (this.isInviting) this.toggleInvitation();
  }

  /** @param {import("./model.js").Model} model @param {boolean} isPresenter */
  show(model, isPresenter) {
    const { bet, phones } = model;
    if (bet === this.shown && phones === this.phones) return;
    this.shown = bet;
    this.phones = phones;
    document.body.dataset.bet = bet?.state ?? "none";
    this.root.hidden = !bet;
    if (bet?.state === "open" && isPresenter && bet.n !== this.loadedFor) {
      this.loadedFor = bet.n;
      this._loadRoom().then(() => (this.shown = undefined)); // draws it again, with the address
    }
    if (bet) this._showBet(bet, phones, isPresenter);
    this.invitation.hidden = bet?.state === "open" || !this.isInviting;
    if (!this.invitation.hidden) {
      const counts = phones ? `${phones.left} left, ${phones.right} right` : "none yet";
      const title = el("h2", {}, "Be a reader of one of these blogs");
      this.invitation.replaceChildren(title, this._address(), el("p", {}, `Phones: ${counts}`));
    }
  }

  async _loadRoom() {
    const { body } = await get("/api/room");
    if (body) this.room = body;
  }

  _showBet(bet, phones, isPresenter) {
    const isOpen = bet.state === "open";
    const key = JSON.stringify([bet.n, bet.state, bet.counts, bet.holds, this.room.addresses[0]?.url]);
    if (key === this.key) {
      // Figures that change leave the buttons as they are: a new button would miss a click.
      const side = isOpen ? [...this.side.children].slice(0, -1) : [];
      this.side.replaceChildren(...side, ...(isOpen ? [count(bet, phones)] : measured(bet)));
      return;
    }
    this.key = key;
    this.side = el("div", { class: "bet-side" });
    if (isOpen) this.side.append(this._where(isPresenter), count(bet, phones));
    else this.side.append(...measured(bet));
    const answers = bet.answers.map((text, index) => answerRow(bet, text, index, isPresenter));
    const parts = [
      el("h2", { dir: "auto" }, bet.question),
      el("ol", { class: "bet-answers" }, ...answers),
      this.side,
    ];
    if (isPresenter) {
      const text = isOpen ? "Close the bet" : "Finish";
      parts.push(button(text, "a", { class: "main" }, () => send("/api/bet", { do: isOpen ? "close" : "finish" })));
    }
    this.root.replaceChildren(...parts);
  }

  /** Where to answer: spectators who look at this page do not know the other addresses. */
  _where(isPresenter) {
    if (isPresenter) return this._address();
    return el("p", {}, "Answer: ", el("a", { href: "./phone", target: "_blank" }, "become a reader"));
  }

  /** The address as a QR code and as text; with several networks, a button for each other one. */
  _address() {
    const [first, ...others] = this.room.addresses;
    if (!first) return el("p", { class: "note" }, this.room.shared ? "No network." : NOT_SHARED);
    const choose = (address) => {
      this.room.addresses = [address, ...this.room.addresses.filter((one) => one !== address)];
      this.shown = undefined;
    };
    const buttons = others.map((one) => button(one.url, "", {}, () => choose(one)));
    return el("div", { class: "address" }, qrCode(first), el("p", { class: "url" }, first.url), ...buttons);
  }

  async _openDialog(model) {
    await this._loadRoom();
    const ready = this.room.ready.map((spec, index) =>
      button(spec.question, index < 9 ? String(index + 1) : "", {}, () => this._ask(spec)),
    );
    const input = (name, label) =>
      el("input", { type: "text", name, "aria-label": label, placeholder: label, dir: "auto", autocomplete: "off", maxlength: name === "question" ? 300 : 80 });
    const fields = LETTERS.slice(0, MOST_ANSWERS).map((letter) => input("answer", `Answer ${letter}`));
    const form = el("form", {}, input("question", "A question of your own"), ...fields, el("button", { type: "submit" }, "Ask it"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const data = new FormData(form);
      const answers = data.getAll("answer").map((text) => text.trim()).filter(Boolean);
      this._ask({ question: data.get("question").trim(), answers });
    });
    this.dialog.replaceChildren(
      el("h2", { id: "ask-title" }, "Ask the room, before the key"),
      this.room.shared ? "" : el("p", { class: "note" }, NOT_SHARED),
      el("div", { class: "ready" }, ...ready),
      form,
      el("p", { class: "dialog-buttons" }, button("Cancel", "Esc", {}, () => this.dialog.close())),
    );
    if (!model.bet) this.dialog.showModal();
  }

  _ask(spec) {
    this.dialog.close();
    return send("/api/ask", spec);
  }
}

const counted = (n, what) => `${n} ${what}${n === 1 ? "" : "es"}`;

function count({ answered }, phones) {
  const all = phones ? phones.left + phones.right : 0;
  // Many phones from few addresses: one program may be many of them.
  const from = phones && phones.addresses < all ? `, from ${counted(phones.addresses, "network address")}` : "";
  return el("p", { class: "bet-count" }, `${answered} of ${all} phones have answered${from}`);
}

function answerRow(bet, text, index, isPresenter) {
  const count = bet.counts?.[index];
  const bar = el("span", { class: "bar" });
  // The share of all answers; a style of an element is set by script only, as the policy wants it.
  bar.style.width = bet.counts ? `${(100 * count) / Math.max(bet.answered, 1)}%` : "0";
  const row = el(
    "li",
    { "data-holds": bet.holds === index },
    el("span", { class: "letter" }, LETTERS[index]),
    el("span", { class: "answer", dir: "auto" }, text),
    el("span", { class: "track" }, bar),
    el("span", { class: "count" }, bet.counts ? String(count) : ""),
    el("span", { class: "holds" }, bet.holds === index ? "✓" : ""),
  );
  if (isPresenter && bet.state === "closed" && !bet.measure && bet.holds !== index) {
    const mark = () => send("/api/bet", { do: "decide", answer: index });
    row.append(button("✓", "", { "aria-label": `${text}: this one is right` }, mark));
  }
  return row;
}

/** What was measured in both halves since the fault; before it, what to do next. */
function measured({ measured: found, measure, answered }) {
  if (!found) return [el("p", { class: "bet-count" }, `${answered} answers. Now the key …`)];
  const figures = [["reads", "posts", "comments"].includes(measure) ? measure : "reads", "lag"];
  const line = (name) => {
    const [left, right] = [0, 1].map((side) => cell(found, name, side));
    const label = name === "lag" ? "largest lag" : name;
    return el("p", {}, `${label}: left `, el("b", {}, left), ", right ", el("b", {}, right));
  };
  const title = el("p", {}, `Measured, ${found.fault}, ${found.seconds.toFixed(0)} s`);
  return [title, ...figures.map(line)];
}

function cell(found, name, side) {
  if (name === "lag") return found.lag_ms[side] === null ? "no feed" : duration(found.lag_ms[side]);
  const [ok, failed] = found[name][side];
  return `${ok} of ${ok + failed}`;
}

function qrCode({ url, size, path }) {
  const whole = size + 2 * QUIET_ZONE;
  return svg(
    "svg",
    { class: "qr", viewBox: `${-QUIET_ZONE} ${-QUIET_ZONE} ${whole} ${whole}`, role: "img", "aria-label": `QR code of ${url}` },
    svg("rect", { x: -QUIET_ZONE, y: -QUIET_ZONE, width: whole, height: whole, fill: "#fff" }),
    svg("path", { d: path, fill: "#000", "shape-rendering": "crispEdges" }),
  );
}
