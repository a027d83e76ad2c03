// The list of prepared demonstrations: the built-in scenarios, each with its question.

import { get, post } from "./api.js";
import { showNotice } from "./announcements.js";
import { button, el, withBoldNames } from "./dom.js";

export class ScenarioList {
  constructor() {
    this.dialog = el("dialog", { id: "scenarios", "aria-labelledby": "scenarios-title" });
    document.body.append(this.dialog);
  }

  async open() {
    const { body, says } = await get("/api/scenarios");
    if (says) return showNotice(says);
    this.dialog.replaceChildren(
      el("h2", { id: "scenarios-title" }, "Demonstrations"),
      el("p", {}, "Both blogs restart with no data. Then the space bar takes one step after the other."),
      el("ul", { class: "scenario-list" }, ...body.map((one) => this._entry(one))),
      el("p", { class: "dialog-buttons" }, button("Close", "Esc", {}, () => this.dialog.close())),
    );
    this.dialog.showModal();
  }

  _entry({ name, title, question, steps, seconds, left_out: leftOut }) {
    const start = button(title, "", { "data-name": name }, () => this._start(name));
    const note = leftOut.length ? ` · not shown: ${leftOut.join(", ")}` : "";
    const length = `${steps} steps · ${seconds} s as a run${note}`;
    return el(
      "li",
      {},
      start,
      el("span", {}, ...withBoldNames(question)),
      el("span", { class: "note" }, length),
    );
  }

  async _start(name) {
    this.dialog.close();
    document.body.dataset.state = "resetting";
    const { says } = await post("/api/script", { name });
    if (!says) return;
    document.body.dataset.state = "open";
    showNotice(says);
  }
}
