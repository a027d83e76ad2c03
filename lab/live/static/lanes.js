// Places times that overlap beside each other: the faults in the chart.

/** The intervals, each with its `lane` and the number of `lanes` among those that it overlaps. */
export function inLanes(intervals) {
  const placed = [...intervals].sort((a, b) => a.since - b.since).map((one) => ({ ...one, lane: 0, lanes: 1 }));
  let group = [];
  let until = -Infinity;
  for (const one of placed) {
    if (one.since >= until) group = [];
    until = Math.max(until, one.until);
    const taken = new Set(group.filter((other) => other.until > one.since).map(({ lane }) => lane));
    while (taken.has(one.lane)) one.lane += 1;
    group.push(one);
    const lanes = Math.max(...group.map(({ lane }) => lane)) + 1;
    for (const other of group) other.lanes = lanes;
  }
  return placed;
}
