// The way to the lab: the token from the address becomes a cookie, and wishes go out as JSON with
// the page's own header, without which the lab takes nothing.

/** @typedef {{status: number, body: any, says: string}} Answer `says`: why not, in a sentence */

/** Sends a wish. Never throws: a lab that is gone is status 0. @returns {Promise<Answer>} */
export async function post(path, wish) {
  return answered(() =>
    fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json", "Lab-Page": "1" },
      body: JSON.stringify(wish),
    }),
  );
}

/** @returns {Promise<Answer>} */
export async function get(path) {
  return answered(() => fetch(path, { cache: "no-store" }));
}

async function answered(ask) {
  try {
    const response = await ask();
    const text = await response.text();
    const body = text ? JSON.parse(text) : null;
    const says = response.ok ? "" : (body?.detail ?? body?.title ?? `HTTP ${response.status}`);
    return { status: response.status, body, says };
  } catch (error) {
    return { status: 0, body: null, says: `The lab can't be reached (${error.name}).` };
  }
}

/** Takes the token out of the address, so that it is on no projector and in no history. */
export async function enter() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) return;
  history.replaceState(null, "", location.pathname);
  await post("/api/enter", { token });
}

/** Why the stream did not open: asked once more, and the answer is dropped. */
export async function whyNot() {
  const leave = new AbortController();
  try {
    const response = await fetch("/api/stream", { signal: leave.signal, cache: "no-store" });
    return response.status;
  } catch {
    return 0;
  } finally {
    leave.abort();
  }
}
