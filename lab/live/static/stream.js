// Receives the lab's messages (Server-Sent Events), and reconnects after a lost connection.
// Nothing is drawn here: events go into the model, and the page draws the model once a frame.

import { whyNot } from "./api.js";

const AGAIN_MS = 1_000;
const EVENTS = ["hello", "tick", "done", "seen", "faults", "script"];

/**
 * Receives messages without end: `take` gets each one, `tell` gets changes of the connection.
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
    // EventSource stops after an error status. A missing cookie is reported; both cases try again.
    const status = await whyNot();
    tell(status === 401 || status === 403 ? "refused" : "lost");
    setTimeout(() => listen(take, tell), AGAIN_MS);
  });
}
