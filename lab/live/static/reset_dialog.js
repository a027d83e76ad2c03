// The reset dialog: asks for confirmation, and offers other arrangements and another bus.

import { byId, button, el } from "./dom.js";

const ENGINES = { log: "log (on disk)", course: "course (in memory)", nats: "NATS JetStream" };

/** Opens the dialog, and calls `onConfirm` with the chosen arrangements and engine on confirmation. */
export function openResetDialog(hello, onConfirm) {
  const dialog = byId("again");
  const halves = hello.halves;
  const selectField = (label, values, chosen, names = {}) => {
    const select = el(
      "select",
      { "aria-label": label },
      ...values.map((value) =>
        el("option", { value, selected: value === chosen }, names[value] ?? value),
      ),
    );
    return { select, root: el("label", { class: "again-choice" }, el("span", {}, label), select) };
  };
  const left = selectField("Left", hello.arrangements, halves[0].arrangement);
  const right = selectField("Right", hello.arrangements, halves[1]?.arrangement);
  const engine = selectField(
    "Bus",
    hello.engines,
    halves.find((half) => half.engine)?.engine ?? "log",
    ENGINES,
  );
  const close = () => dialog.close();
  const start = button("Restart", "Enter", { class: "main", autofocus: true }, () => {
    close();
    onConfirm({ left: left.select.value, right: right.select.value, engine: engine.select.value });
  });
  dialog.replaceChildren(
    el("h2", { id: "again-title" }, "Restart both blogs with no data?"),
    el("p", {}, "All posts and comments are deleted, and all faults are removed."),
    left.root,
    right.root,
    engine.root,
    el("p", { class: "dialog-buttons" }, start, button("Cancel", "Esc", {}, close)),
  );
  dialog.showModal();
  start.focus();
}
