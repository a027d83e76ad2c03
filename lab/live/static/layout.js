// The layout of the picture of one pane, in units of the picture. A service is at the same place in
// both panes; only the lines between the services differ.

export const WIDTH = 440;
export const HEIGHT = 246;
export const BOX = { width: 120, height: 64 };
export const BUS = "event-bus";
export const BAR = { x: 2, y: 206, width: 436, height: 36 };

/** The centre of each box. */
export const POSITIONS = {
  query: { x: 220, y: 40 },
  posts: { x: 62, y: 130 },
  comments: { x: 220, y: 130 },
  moderation: { x: 378, y: 130 },
};

// The paths of requests from people to a box.
const CLIENT_PATHS = {
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
const CALL_PATHS = {
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
const BUS_PATHS = {
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
export function pathBetween(from, to, hasBus) {
  if (from === to) return null;
  if (hasBus) {
    if (to === BUS) return BUS_PATHS[from] ?? null;
    if (from === BUS) return BUS_PATHS[to] ? [...BUS_PATHS[to]].reverse() : null;
    if (BUS_PATHS[from] && BUS_PATHS[to]) return [...BUS_PATHS[from], ...[...BUS_PATHS[to]].reverse()];
  }
  if (!(from in POSITIONS)) return CLIENT_PATHS[to] ?? null;
  const there = CALL_PATHS[`${from}>${to}`];
  if (there) return there;
  const back = CALL_PATHS[`${to}>${from}`];
  return back ? [...back].reverse() : null;
}

/** The point at `share` (0 to 1) of the length of a path, written into `out`. */
export function pointAlong(path, share, out) {
  let total = 0;
  for (let i = 1; i < path.length; i += 1) total += distance(path[i - 1], path[i]);
  let left = Math.min(Math.max(share, 0), 1) * total;
  for (let i = 1; i < path.length; i += 1) {
    const length = distance(path[i - 1], path[i]);
    if (left <= length || i === path.length - 1) {
      const part = length ? left / length : 0;
      out.x = path[i - 1][0] + (path[i][0] - path[i - 1][0]) * part;
      out.y = path[i - 1][1] + (path[i][1] - path[i - 1][1]) * part;
      return out;
    }
    left -= length;
  }
  return out;
}

const distance = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);

/** The `d` attribute of an SVG path through the points. */
export const svgPath = (path) => path.map(([x, y], i) => `${i ? "L" : "M"}${x} ${y}`).join("");
