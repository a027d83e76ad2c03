// A prepared demonstration: a strip with the next step, and, for a step of text alone, a sheet that
// the class can read. The lab takes the steps; this module only shows the current one.

import { byId, el, say } from "./dom.js";

export class ScriptStrip {
  constructor() {
    this.shown = null;
  }

  /** @param {import("./model.js").Model} model @param {boolean} leads may this screen take steps? */
  show(model, leads) {
    const { script } = model;
    if (script === this.shown) return;
    this.shown = script;
    const steps = script?.steps;
    byId("script").hidden = !steps;
    if (!steps) return this.putAway();
    const { at, title } = script;
    const next = steps[at];
    const comes = next ? `next: ${next.does || shortened(next.says)}` : "that was the last step";
    say(byId("script-says"), `${title} · step ${at} of ${steps.length} · ${comes}`);
    byId("script-next").hidden = !leads || !next;
    const taken = at > 0 ? steps[at - 1] : null;
    if (taken && !taken.does) this._open(title, taken.says);
    else this.putAway();
  }

  _open(title, says) {
    const paragraphs = says.trim().split(/\n\s*\n/);
    byId("sheet").replaceChildren(
      el("h2", {}, title),
      ...paragraphs.map((one) => el("p", {}, one.replace(/\s+/g, " "))),
      el("p", { class: "note" }, "Esc puts this away."),
    );
    byId("sheet").hidden = false;
  }

  putAway() {
    byId("sheet").hidden = true;
  }
}

function shortened(says) {
  const words = says.replace(/\s+/g, " ").trim();
  return words.length > 60 ? `“${words.slice(0, 60)}…”` : `“${words}”`;
}
