// A prepared demonstration: a strip with the next step, and, for a step of text alone, a sheet that
// the class can read. The lab takes the steps; this module only shows the current one.

import { byId, el, setText } from "./dom.js";

export class ScriptStrip {
  constructor() {
    this.shown = null;
  }

  /** @param {import("./model.js").Model} model @param {boolean} isPresenter may this screen take steps? */
  show(model, isPresenter) {
    const { script } = model;
    if (script === this.shown) return;
    this.shown = script;
    const steps = script?.steps;
    byId("script").hidden = !steps;
    if (!steps) return this.hideSheet();
    const { at, title } = script;
    const next = steps[at];
    const comes = next ? `next: ${next.does || shortened(next.says)}` : "that was the last step";
    const wait = script.waits ? "waits, then " : "";
    setText(byId("script-says"), `${title} · step ${at} of ${steps.length} · ${wait}${comes}`);
    byId("script-next").hidden = !isPresenter || !next;
    byId("script-back").hidden = byId("script-again").hidden = !isPresenter || !at;
    const taken = at > 0 ? steps[at - 1] : null;
    if (taken && !taken.does) this._open(title, taken.says);
    else this.hideSheet();
  }

  _open(title, says) {
    const paragraphs = says.trim().split(/\n\s*\n/);
    byId("sheet").replaceChildren(
      el("h2", {}, title),
      ...paragraphs.map((paragraph) => el("p", {}, paragraph.replace(/\s+/g, " "))),
      el("p", { class: "note" }, "PageDown shows the rest, Esc closes this."),
    );
    byId("sheet").hidden = false;
  }

  /** Scrolls the open sheet by most of its height; false if there is nothing more that way. */
  scroll(direction) {
    const sheet = byId("sheet");
    const before = sheet.scrollTop;
    if (!sheet.hidden) sheet.scrollTop += direction * 0.85 * sheet.clientHeight;
    return sheet.scrollTop !== before;
  }

  hideSheet() {
    byId("sheet").hidden = true;
  }
}

function shortened(says) {
  const words = says.replace(/\s+/g, " ").trim();
  return words.length > 60 ? `“${words.slice(0, 60)}…”` : `“${words}”`;
}
