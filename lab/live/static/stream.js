// Receives the lab's messages (Server-Sent Events), and reconnects after a lost connection.
// Nothing is drawn here: events go into the model, and the page draws the model once a frame.

import { streamStatus } from "./api.js";

const RETRY_MS = 1_000;
const RETRY_FULL_MS = 5_000;
const STATES = { 401: "refused", 403: "refused", 409: "full" };
const EVENTS = ["hello", "tick", "done", "seen", "faults", "script", "card", "bet", "phones"];

/**
 * Receives messages without end: `onMessage` gets each one, `onState` each change of the connection.
 * @param {(kind: string, data: any) => void} onMessage
 * @param {(state: "open" | "lost" | "refused" | "full") => void} onState
 */
export function subscribe(onMessage, onState) {
  const source = new EventSource("./api/stream");
  source.addEventListener("open", () => onState("open"));
  for (const kind of EVENTS) {
    source.addEventListener(kind, (event) => onMessage(kind, JSON.parse(event.data)));
  }
  source.addEventListener("error", async () => {
    if (source.readyState === EventSource.CONNECTING) return onState("lost");
    source.close();
    // EventSource stops after an error status. A missing cookie is reported; both cases try again.
    const status = await streamStatus();
    onState(STATES[status] ?? "lost");
    setTimeout(() => subscribe(onMessage, onState), status === 409 ? RETRY_FULL_MS : RETRY_MS);
  });
}
