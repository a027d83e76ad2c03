// Subscribes to subjects of a nats-server over its WebSocket, and sends nothing else.
// The protocol is described under "NATS Protocol" in the reference of NATS.

const CONNECTED_WITHIN_MS = 3_000;
const NEWLINE = 10;

/**
 * @param {string} url @param {string} name of this connection @param {string[]} subjects
 * @param {(text: string) => void} onMessage
 * @param {(wasOpen: boolean, error: string) => void} onEnd called once, when the connection is over
 */
export function subscribeToNats(url, name, subjects, onMessage, onEnd) {
  const socket = new WebSocket(url);
  const encoder = new TextEncoder();
  const decoder = new TextDecoder();
  let unread = new Uint8Array();
  let isOpen = false;
  let error = "";
  socket.binaryType = "arraybuffer";
  const send = (...lines) => socket.send(encoder.encode(lines.map((line) => `${line}\r\n`).join("")));
  const timer = setTimeout(() => socket.close(), CONNECTED_WITHIN_MS);

  const take = (line) => {
    if (line.startsWith("INFO"))
      send(
        `CONNECT ${JSON.stringify({ verbose: false, pedantic: false, lang: "js", version: "1", name })}`,
        ...subjects.map((subject, i) => `SUB ${subject} ${i + 1}`),
        "PING",
      );
    else if (line === "PING") send("PONG");
    else if (line === "PONG") {
      isOpen = true;
      clearTimeout(timer);
    } else if (line.startsWith("-ERR")) error = line.slice(5).replaceAll("'", "");
  };

  /** Takes one line with its payload; returns how many bytes that was, 0 if it is not complete. */
  const takeOne = () => {
    const end = unread.indexOf(NEWLINE);
    if (end < 0) return 0;
    const line = decoder.decode(unread.subarray(0, end - 1));
    if (!line.startsWith("MSG ")) {
      take(line);
      return end + 1;
    }
    const size = Number(line.split(" ").at(-1));
    if (unread.length < end + 1 + size + 2) return 0;
    onMessage(decoder.decode(unread.subarray(end + 1, end + 1 + size)));
    return end + 1 + size + 2;
  };

  socket.addEventListener("message", ({ data }) => {
    const more = new Uint8Array(data);
    const all = new Uint8Array(unread.length + more.length);
    all.set(unread);
    all.set(more, unread.length);
    unread = all;
    for (let taken = takeOne(); taken; taken = takeOne()) unread = unread.slice(taken);
  });
  socket.addEventListener("close", () => {
    clearTimeout(timer);
    onEnd(isOpen, error);
  });
}
