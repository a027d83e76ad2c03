// Requests to the lab. The token from the URL is exchanged for a cookie; requests that change
// something are JSON, with the header of this page, which the lab requires.

/**
 * @typedef {{status: number, body: any, says: string}} ApiResponse
 * `says`: the error, as a sentence
 */

/**
 * Sends a request. Never throws: status 0 if there is no response.
 * @returns {Promise<ApiResponse>}
 */
export async function post(path, body) {
  return send(() =>
    fetch(relative(path), {
      method: "POST",
      headers: { "Content-Type": "application/json", "Lab-Page": "1" },
      body: JSON.stringify(body),
    }),
  );
}

/** @returns {Promise<ApiResponse>} */
export async function get(path) {
  return send(() => fetch(relative(path), { cache: "no-store" }));
}

/** Behind a proxy the page may have a prefix, which only its own address tells. */
const relative = (path) => path.replace(/^\//, "./");

async function send(request) {
  try {
    const response = await request();
    const text = await response.text();
    const body = text ? JSON.parse(text) : null;
    const says = response.ok ? "" : (body?.detail ?? body?.title ?? `HTTP ${response.status}`);
    return { status: response.status, body, says };
  } catch (error) {
    return { status: 0, body: null, says: `The lab can't be reached (${error.name}).` };
  }
}

/** Exchanges the token for a cookie, and removes it from the address bar and the history. */
export async function exchangeToken() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) return;
  history.replaceState(null, "", location.pathname);
  await post("/api/enter", { token });
}

/** The status of a new request for the stream, which is then aborted: EventSource hides it. */
export async function streamStatus() {
  const controller = new AbortController();
  try {
    const response = await fetch("./api/stream", { signal: controller.signal, cache: "no-store" });
    return response.status;
  } catch {
    return 0;
  } finally {
    controller.abort();
  }
}
