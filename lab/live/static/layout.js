// The layout of the picture of one pane, in units of the picture. A service is at the same place in
// both panes; only the lines between the services differ.

export const WIDTH = 440;
export const HEIGHT = 246;
export const BOX = { width: 120, height: 64 };
export const BUS = "event-bus";
export const BAR = { x: 2, y: 206, width: 436, height: 36 };

/** The centre of each box. */
export const PLACES = {
  query: { x: 220, y: 40 },
  posts: { x: 62, y: 130 },
  comments: { x: 220, y: 130 },
  moderation: { x: 378, y: 130 },
};

// The paths of requests from people to a box.
const FROM_PEOPLE = {
  query: [
    [122, 30],
    [160, 30],
  ],
  posts: [
    [28, 66],
    [28, 98],
  ],
  comments: [
    [186, 76],
    [186, 98],
  ],
};

// The paths of requests between services, `caller>callee`.
const ASKS = {
  "query>posts": [
    [160, 56],
    [92, 98],
  ],
  "query>comments": [
    [236, 72],
    [236, 98],
  ],
  "query>moderation": [
    [280, 56],
    [350, 98],
  ],
  "comments>posts": [
    [160, 130],
    [122, 130],
  ],
  "comments>moderation": [
    [280, 130],
    [318, 130],
  ],
};

// The paths from a box to the bar of the bus; the last point is on the bar.
const TO_BUS = {
  query: [
    [280, 40],
    [299, 40],
    [299, 206],
    [299, 233],
  ],
  posts: [
    [62, 162],
    [62, 206],
    [62, 233],
  ],
  comments: [
    [220, 162],
    [220, 206],
    [220, 233],
  ],
  moderation: [
    [378, 162],
    [378, 206],
    [378, 233],
  ],
};

/** The points of the path between two nodes, or null if there is no path. */
export function wayOf(from, to, hasBus) {
  if (from === to) return null;
  if (hasBus) {
    if (to === BUS) return TO_BUS[from] ?? null;
    if (from === BUS) return TO_BUS[to] ? [...TO_BUS[to]].reverse() : null;
    if (TO_BUS[from] && TO_BUS[to]) return [...TO_BUS[from], ...[...TO_BUS[to]].reverse()];
  }
  if (!(from in PLACES)) return FROM_PEOPLE[to] ?? null;
  const there = ASKS[`${from}>${to}`];
  if (there) return there;
  const back = ASKS[`${to}>${from}`];
  return back ? [...back].reverse() : null;
}

/** The point at `share` (0 to 1) of the length of a path, written into `out`. */
export function along(way, share, out) {
  let whole = 0;
  for (let i = 1; i < way.length; i += 1) whole += span(way[i - 1], way[i]);
  let left = Math.min(Math.max(share, 0), 1) * whole;
  for (let i = 1; i < way.length; i += 1) {
    const length = span(way[i - 1], way[i]);
    if (left <= length || i === way.length - 1) {
      const part = length ? left / length : 0;
      out.x = way[i - 1][0] + (way[i][0] - way[i - 1][0]) * part;
      out.y = way[i - 1][1] + (way[i][1] - way[i - 1][1]) * part;
      return out;
    }
    left -= length;
  }
  return out;
}

const span = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);

/** The `d` attribute of an SVG path through the points. */
export const pathOf = (way) => way.map(([x, y], i) => `${i ? "L" : "M"}${x} ${y}`).join("");
