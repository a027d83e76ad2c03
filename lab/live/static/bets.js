// Bets: a question to the room, the number of answers while it is open, then the bars and, from the
// next fault on, the measured answer beside them. One key leads through: ask, close, finish.

import { get, post } from "./api.js";
import { showNotice } from "./announcements.js";
import { button, byId, el, setText, svg } from "./dom.js";
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
    const isSame = bet?.state === "open" && this.shown?.state === "open" && bet.n === this.shown.n;
    const opens = bet?.state === "open" && !isSame;
    this.shown = bet;
    this.phones = phones;
    document.body.dataset.bet = bet?.state ?? "none";
    this.root.hidden = !bet;
    if (opens && isPresenter) this._loadRoom().then(() => (this.shown = undefined));
    // A count that changes leaves the rest as it is: a button keeps the focus.
    if (isSame) return setText(this.count, countText(bet, phones));
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
    const answers = bet.answers.map((text, index) => answerRow(bet, text, index, isPresenter));
    const parts = [
      el("h2", { dir: "auto" }, bet.question),
      el("ol", { class: "bet-answers" }, ...answers),
      isOpen ? this._invite(bet, phones, isPresenter) : measured(bet),
    ];
    if (isPresenter) {
      const text = isOpen ? "Close the bet" : "Finish";
      parts.push(button(text, "a", { class: "main" }, () => send("/api/bet", { do: isOpen ? "close" : "finish" })));
    }
    this.root.replaceChildren(...parts);
  }

  _invite(bet, phones, isPresenter) {
    this.count = el("p", { class: "bet-count" }, countText(bet, phones));
    const where = isPresenter
      ? this._address()
      : el("p", {}, "Answer: ", el("a", { href: "./phone", target: "_blank" }, "become a reader"));
    return el("div", { class: "bet-side" }, where, this.count);
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

function countText({ answered }, phones) {
  const all = phones ? phones.left + phones.right : 0;
  // Many phones from few addresses: one program may be many of them.
  const from = phones && phones.addresses < all ? `, from ${counted(phones.addresses, "network address")}` : "";
  return `${answered} of ${all} phones have answered${from}`;
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
  if (isPresenter && bet.state === "closed" && !bet.measure) {
    const mark = () => send("/api/bet", { do: "decide", answer: index });
    row.append(button("This one", "", { "aria-label": `${text}: this one holds` }, mark));
  }
  return row;
}

/** What was measured in both halves since the fault; before it, what to do next. */
function measured(bet) {
  const { measured: found, measure } = bet;
  const box = el("div", { class: "bet-side" });
  if (!found) {
    box.append(el("p", { class: "bet-count" }, `${bet.answered} answers. Now the key …`));
    return box;
  }
  const kinds = ["reads", "posts", "comments"].includes(measure) ? [measure, "lag"] : ["reads", "lag"];
  const [target, kind] = found.fault.split(" ");
  const line = (name) => {
    const [left, right] = [0, 1].map((side) => cell(found, name, side));
    return el("p", {}, `${name === "lag" ? "largest lag" : name}: left `, el("b", {}, left), ", right ", el("b", {}, right));
  };
  box.append(el("p", {}, `Measured, ${target} ${kind}, ${found.seconds.toFixed(0)} s`), ...kinds.map(line));
  return box;
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
