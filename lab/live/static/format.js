// Formats figures, errors and faults for people.

/** `340 ms`, `2.4 s`, `1 min 20 s`. */
export function duration(ms) {
  if (ms < 995) return `${Math.round(ms)} ms`;
  if (ms < 9_950) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 99_500) return `${Math.round(ms / 1000)} s`;
  return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
}

/** Rounds so that `100 %` means all and `0 %` means none: 99.7 becomes 99, 0.3 becomes 1. */
export function percent(part, whole) {
  const share = (100 * part) / whole;
  return `${share > 50 ? Math.floor(share) : Math.ceil(share)} %`;
}

/** Seconds since the start, as `4:07`. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

const ERRORS = {
  timeout: "no response in time",
  refused: "connection refused",
  reset: "connection reset",
};

/** `http_503` as `503 unavailable`. */
export function errorName(name) {
  const status = /^http_(\d+)$/.exec(name);
  if (!status) return ERRORS[name] ?? name.replaceAll("_", " ");
  const code = Number(status[1]);
  const known = {
    404: "404 post not known yet",
    502: "502 bad gateway",
    503: "503 unavailable",
    504: "504 no response in time",
  };
  return known[code] ?? `${code} error`;
}

const FAULTS = {
  down: () => "DOWN",
  hang: () => "HANGS",
  latency: (o) => `slow +${duration(o.ms ?? 0)}`,
  error: (o) => `fails ${Math.round(100 * (o.probability ?? 1))} %`,
  partition: () => "CUT OFF",
  timeout: () => "times out",
  reset_peer: () => "resets connections",
};

/** A fault in few words, for the label on its node. */
export function faultName({ kind, options }) {
  return FAULTS[kind]?.(options ?? {}) ?? kind.replaceAll("_", " ");
}
