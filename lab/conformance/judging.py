"""Judges what was seen in an outage: one function for each criterion."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from lab.cluster.errors import describe_exit
from lab.cluster.program import Exit
from lab.conformance.outages import SLOW_MS
from lab.experiment.readback import StoredState
from lab.load.samples import WRITES, Sample
from lab.results.result import CheckerCounts
from lab.support.text import plain

ENOUGH_SHARE = 0.75
"""The share of successful requests that counts as all of them. On a busy machine one may be late; a
request that depends on the broken service fails every time."""

_MAX_LINE = 160
_ERROR_LINE = re.compile(
    r"^\s*(?:[\w.]+\.)?(?:[A-Z]\w*)?(?:Error|Exception)(?: \[\w+\])?: |^panic: "
)

OutageVerdict = tuple[bool | None, str]


@dataclass(frozen=True)
class OutageObservation:
    """What was seen in an outage of `process`.

    `own_endpoints`: those that the broken process itself serves. `baseline_ms`: the median latency
    of a feed before the outage. `data`: what happened to the writes; None if the feed could not be
    read afterwards, and `unreadable_reason` says why. `recovery_failure`: what did not work again;
    "" if all did.
    """

    process: str
    own_endpoints: tuple[str, ...]
    baseline_ms: float
    during: Sequence[Sample]
    writes: Sequence[Sample]
    data: CheckerCounts | None
    stored_state: StoredState | None
    unreadable_reason: str
    exits: Sequence[Exit]
    recovery_failure: str

    def samples_of(self, endpoint: str) -> list[Sample]:
        return [sample for sample in self.during if sample.endpoint == endpoint]


def _judge_answered(endpoint: str, verb: str) -> Callable[[OutageObservation], OutageVerdict]:
    def judge(observation: OutageObservation) -> OutageVerdict:
        if endpoint in observation.own_endpoints:
            return None, f"it is {observation.process} itself that answers them"
        samples = observation.samples_of(endpoint)
        successful = [sample for sample in samples if sample.ok]
        summary = f"{len(successful)} of {len(samples)} {verb}"
        failed = sorted({sample.error for sample in samples if not sample.ok})
        if len(successful) < ENOUGH_SHARE * len(samples):
            return False, f"{summary} ({', '.join(failed)})"
        return True, f"{summary}, half within {_median_latency_ms(successful):.0f} ms"

    return judge


def _judge_fast(observation: OutageObservation) -> OutageVerdict:
    held, summary = _judge_answered("read_feed", "were answered")(observation)
    if not held:
        return held, summary
    took = _median_latency_ms(
        [sample for sample in observation.samples_of("read_feed") if sample.ok]
    )
    waited = took > observation.baseline_ms + SLOW_MS / 2
    return not waited, f"half within {took:.0f} ms, before that {observation.baseline_ms:.0f} ms"


def _judge_kept(observation: OutageObservation) -> OutageVerdict:
    if observation.data is None:
        return None, observation.unreadable_reason
    summary = f"{observation.data.lost} of {observation.data.acknowledged} are missing"
    if not observation.data.lost:
        return True, f"all {observation.data.acknowledged} are there"
    return False, summary


def _judge_decided(observation: OutageObservation) -> OutageVerdict:
    if observation.data is None:
        return None, observation.unreadable_reason
    waiting = observation.data.unsettled
    there = observation.data.acknowledged - observation.data.lost
    return not waiting, f"{waiting} still wait" if waiting else f"all {there} have"


def _judge_once(observation: OutageObservation) -> OutageVerdict:
    if observation.data is None:
        return None, observation.unreadable_reason
    return not observation.data.duplicated, f"{observation.data.duplicated} are"


def _judge_honest(observation: OutageObservation) -> OutageVerdict:
    if observation.stored_state is None:
        return None, observation.unreadable_reason
    failed = [sample for sample in observation.writes if sample.error.startswith("http_")]
    there = [sample for sample in failed if observation.stored_state.in_feed[sample.token]]
    if not failed:
        return None, "no request was answered with an error"
    return not there, f"{len(there)} of {len(failed)} are there"


def _judge_others(observation: OutageObservation) -> OutageVerdict:
    if not observation.exits:
        return True, "none did"
    first = observation.exits[0]
    lines = [line for line in reversed(first.last_lines) if line.strip()]
    why = next((line for line in lines if _ERROR_LINE.search(line)), lines[0] if lines else "")
    service, excerpt = first.name.partition(".")[2], plain(why, _MAX_LINE)
    return False, f"{service} {describe_exit(first.status)}{f': {excerpt}' if excerpt else ''}"


def _judge_recovery(observation: OutageObservation) -> OutageVerdict:
    return not observation.recovery_failure, observation.recovery_failure or "it does"


def _median_latency_ms(samples: Sequence[Sample]) -> float:
    return median(sample.latency_ms or 0.0 for sample in samples) if samples else 0.0


JUDGES: dict[str, Callable[[OutageObservation], OutageVerdict]] = {
    "reads": _judge_answered("read_feed", "were"),
    "posts": _judge_answered("create_post", "were"),
    "comments": _judge_answered("create_comment", "were"),
    "fast": _judge_fast,
    "kept": _judge_kept,
    "decided": _judge_decided,
    "once": _judge_once,
    "honest": _judge_honest,
    "others": _judge_others,
    "back": _judge_recovery,
}


def median_feed_ms(samples: Sequence[Sample]) -> float:
    """The median latency of the successful feed requests, ms; 0 for none."""
    return _median_latency_ms(
        [sample for sample in samples if sample.ok and sample.endpoint == "read_feed"]
    )


def write_samples(samples: Sequence[Sample]) -> list[Sample]:
    """The samples that are writes."""
    return [sample for sample in samples if sample.endpoint in WRITES]
