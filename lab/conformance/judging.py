"""Judges what was seen in an outage: one function for each criterion."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from lab.cluster.errors import how_it_ended
from lab.cluster.program import Exit
from lab.conformance.outages import SLOW_MS
from lab.experiment.readback import Holdings
from lab.load.samples import WRITES, Sample
from lab.results.result import Data
from lab.support.text import plain

ENOUGH = 0.75
"""The share of successful requests that counts as all of them. On a busy machine one may be late; a
request that depends on the broken service fails every time."""

_LONGEST_LINE = 160
_TELLS_WHY = re.compile(
    r"^\s*(?:[\w.]+\.)?(?:[A-Z]\w*)?(?:Error|Exception)(?: \[\w+\])?: |^panic: "
)

Judgement = tuple[bool | None, str]


@dataclass(frozen=True)
class Seen:
    """What was seen in an outage of `part`.

    `broken`: the endpoints that the broken process itself serves. `before`: the median latency of a
    feed before the outage, ms. `data`: what happened to the writes; None if the feed could not be
    read afterwards, and `unread` says why. `back`: what did not work again; "" if all did.
    """

    part: str
    broken: tuple[str, ...]
    before: float
    during: Sequence[Sample]
    written: Sequence[Sample]
    data: Data | None
    held: Holdings | None
    unread: str
    ended: Sequence[Exit]
    back: str

    def of(self, endpoint: str) -> list[Sample]:
        return [one for one in self.during if one.endpoint == endpoint]


def _answered(endpoint: str, whom: str) -> Callable[[Seen], Judgement]:
    def judge(seen: Seen) -> Judgement:
        if endpoint in seen.broken:
            return None, f"it is {seen.part} itself that answers them"
        asked = seen.of(endpoint)
        good = [one for one in asked if one.ok]
        told = f"{len(good)} of {len(asked)} {whom}"
        failed = sorted({one.error for one in asked if not one.ok})
        if len(good) < ENOUGH * len(asked):
            return False, f"{told} ({', '.join(failed)})"
        return True, f"{told}, half within {_median_ms(good):.0f} ms"

    return judge


def _fast(seen: Seen) -> Judgement:
    held, told = _answered("read_feed", "were answered")(seen)
    if not held:
        return held, told
    took = _median_ms([one for one in seen.of("read_feed") if one.ok])
    waited = took > seen.before + SLOW_MS / 2
    return not waited, f"half within {took:.0f} ms, before that {seen.before:.0f} ms"


def _kept(seen: Seen) -> Judgement:
    if seen.data is None:
        return None, seen.unread
    some = f"{seen.data.lost} of {seen.data.acknowledged} are missing"
    if not seen.data.lost:
        return True, f"all {seen.data.acknowledged} are there"
    return False, some


def _decided(seen: Seen) -> Judgement:
    if seen.data is None:
        return None, seen.unread
    waiting, there = seen.data.unsettled, seen.data.acknowledged - seen.data.lost
    return not waiting, f"{waiting} still wait" if waiting else f"all {there} have"


def _once(seen: Seen) -> Judgement:
    if seen.data is None:
        return None, seen.unread
    return not seen.data.duplicated, f"{seen.data.duplicated} are"


def _honest(seen: Seen) -> Judgement:
    if seen.held is None:
        return None, seen.unread
    failed = [one for one in seen.written if one.error.startswith("http_")]
    there = [one for one in failed if seen.held.shown[one.token]]
    if not failed:
        return None, "nobody was answered with an error"
    return not there, f"{len(there)} of {len(failed)} are there"


def _others(seen: Seen) -> Judgement:
    if not seen.ended:
        return True, "nobody did"
    first = seen.ended[0]
    lines = [line for line in reversed(first.last_lines) if line.strip()]
    why = next((line for line in lines if _TELLS_WHY.search(line)), lines[0] if lines else "")
    who, said = first.name.partition(".")[2], plain(why, _LONGEST_LINE)
    return False, f"{who} {how_it_ended(first.status)}{f': {said}' if said else ''}"


def _back(seen: Seen) -> Judgement:
    return not seen.back, seen.back or "it does"


def _median_ms(samples: Sequence[Sample]) -> float:
    return median(one.latency_ms or 0.0 for one in samples) if samples else 0.0


JUDGES: dict[str, Callable[[Seen], Judgement]] = {
    "reads": _answered("read_feed", "were"),
    "posts": _answered("create_post", "were"),
    "comments": _answered("create_comment", "were"),
    "fast": _fast,
    "kept": _kept,
    "decided": _decided,
    "once": _once,
    "honest": _honest,
    "others": _others,
    "back": _back,
}


def median_ms(samples: Sequence[Sample]) -> float:
    """The median latency of the successful feed requests, ms; 0 for none."""
    return _median_ms([one for one in samples if one.ok and one.endpoint == "read_feed"])


def writes(samples: Sequence[Sample]) -> list[Sample]:
    """The samples that are writes."""
    return [one for one in samples if one.endpoint in WRITES]
