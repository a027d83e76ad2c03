// What the lab sends (Server-Sent Events), and what becomes of it when the connection is lost.
// Nothing is drawn here: events go into the model, and the model is drawn once a frame.

import { whyNot } from "./door.js";

const AGAIN_MS = 1_000;
const EVENTS = ["hello", "tick", "done", "seen", "faults", "script"];

/**
 * Listens for ever.
 * @param {(kind: string, data: any) => void} take
 * @param {(state: "open" | "lost" | "refused") => void} tell
 */
export function listen(take, tell) {
  const source = new EventSource("/api/stream");
  source.addEventListener("open", () => tell("open"));
  for (const kind of EVENTS) {
    source.addEventListener(kind, (event) => take(kind, JSON.parse(event.data)));
  }
  source.addEventListener("error", async () => {
    if (source.readyState === EventSource.CONNECTING) return tell("lost");
    source.close();
    // The browser gives up after a refusal; who has no cookie is told so, others try again.
    const status = await whyNot();
    tell(status === 401 || status === 403 ? "refused" : "lost");
    setTimeout(() => listen(take, tell), AGAIN_MS);
  });
}
