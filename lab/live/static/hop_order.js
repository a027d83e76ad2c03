// The order in which the hops of one request are shown: a call begins when its caller has been
// reached, a response when all calls for it have ended, and an event when its cause is over.

import { BUS } from "./layout.js";

/** A dot moves this long to the callee, and this long back. */
export const LEG_S = 0.17;
const MAX_S = 4;
const SLACK_MS = 2;

/**
 * @param {{from: string, to: string, what: string, isEvent: boolean, at: number, tookMs: number}[]} hops
 *   of one request; `at` in ms
 * @returns {{hop: any, startS: number, durationS: number}[]} when each dot moves, from 0 on
 */
export function inOrder(hops) {
  const byTime = [...hops].sort((a, b) => a.at - b.at || (a.to === BUS ? -1 : 1));
  const calls = byTime.filter((hop) => !hop.isEvent);
  const shown = [];
  const leftAt = new Map(); // when a service was done with what it was asked or told
  const begun = new Set();

  const play = (call, startS) => {
    begun.add(call);
    const calleeS = startS + LEG_S;
    let doneS = Math.max(calleeS, startS + lastsS(call) - LEG_S);
    let before = null;
    for (const child of calls) {
      if (begun.has(child) || !isCalledFor(child, call)) continue;
      const together = before && child.at < before.at + before.tookMs - SLACK_MS;
      const childS = together ? before.shownS : Math.max(calleeS, before?.endS ?? 0);
      const endS = play(child, childS);
      before = { ...child, shownS: childS, endS };
      doneS = Math.max(doneS, endS);
    }
    leftAt.set(call.to, doneS);
    shown.push({ hop: call, startS, durationS: doneS + LEG_S - startS });
    return doneS + LEG_S;
  };
  for (const call of calls) {
    const isFirst = !calls.some((other) => other !== call && isCalledFor(call, other));
    if (isFirst && !begun.has(call)) play(call, 0);
  }

  const onBusAt = new Map();
  for (const hop of byTime.filter(({ isEvent }) => isEvent)) {
    const toBus = hop.to === BUS;
    const startS = (toBus ? leftAt.get(hop.from) : onBusAt.get(hop.what)) ?? 0;
    const durationS = 2 * LEG_S + Math.max(0, lastsS(hop) - 2 * LEG_S);
    shown.push({ hop, startS, durationS });
    (toBus ? onBusAt : leftAt).set(toBus ? hop.what : hop.to, startS + durationS);
  }
  return shown;
}

const lastsS = ({ tookMs }) => Math.min(Math.max(tookMs / 1000, 2 * LEG_S), MAX_S);

/** Whether `call` was made for `other`, while that was in progress. */
const isCalledFor = (call, other) =>
  other.to === call.from &&
  other.at <= call.at + SLACK_MS &&
  call.at <= other.at + other.tookMs + SLACK_MS;
