"""Judges what was seen in an outage: one function for each criterion.

Every outage has a control: a stretch of the same load on the same processes, before the fault. A
criterion of requests does not hold only if fewer of them succeeded than in the control, by Fisher's
exact test at LEVEL. A criterion of writes does not hold if writes are missing, undecided or doubled
and none was in any control; otherwise the same test decides.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from lab.conformance.endings import Ending
from lab.conformance.light_load import CheckSample
from lab.conformance.outages import SLOW_MS
from lab.conformance.outcome import Outcome
from lab.experiment.shares import fisher_decrease
from lab.load.metrics import LATE_AFTER_MS

LEVEL = 0.01
"""The level of the test: how often chance alone may make a criterion fail."""

ENOUGH_SHARE = 0.75
"""The share of successful requests that counts as all: on a busy machine one may be late."""

LATE_SHARE = 0.05
"""If more requests were sent late than this share, a timeout says nothing about the system."""

WAITED_SHARE = 0.8
"""If services waited for a processor for more of their time than this, four times as long as they
ran, what is late or still missing says nothing about the system."""

_ENDPOINTS = ("read_feed", "create_post", "create_comment")

_COUNTED = (
    *("acknowledged", "missing", "comments", "waiting", "doubled", "present"),
    *("refused", "refused_kept", "unanswered", "unanswered_kept"),
)

_MAY_BE_LATE = ("missing", "waiting", "unanswered_kept")
"""What a busy machine may have caused."""

OutageVerdict = tuple[bool | None, str]


@dataclass(frozen=True)
class WriteControl:
    """How many writes there were before any fault, and what was wrong with them then. The fields
    are those of Outcome."""

    acknowledged: int = 0
    missing: int = 0
    comments: int = 0
    waiting: int = 0
    doubled: int = 0
    present: int = 0
    refused: int = 0
    refused_kept: int = 0
    unanswered: int = 0
    unanswered_kept: int = 0

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> "WriteControl":
        return cls(*(sum(len(getattr(outcome, name)) for outcome in outcomes) for name in _COUNTED))


@dataclass(frozen=True)
class OutageObservation:
    """What was seen in an outage of `process`.

    `own_endpoints`: those that the broken process itself serves. `before`, `during`, `after`: the
    requests of the control, of the outage, and of the time when the fault is removed. `outcome`:
    what became of all writes; None if the feed could not be read, and `unreadable_reason` says why.
    `moderated`: comments get a verdict. `endings`: services that ended while the fault was active;
    `control_endings`: those that ended without any fault, before any of the outages.
    `recovery_failure`: why the broken service did not start again; "" if it did.
    """

    process: str
    own_endpoints: tuple[str, ...]
    before: Sequence[CheckSample]
    during: Sequence[CheckSample]
    after: Sequence[CheckSample]
    outcome: Outcome | None
    control: WriteControl = WriteControl()
    unreadable_reason: str = ""
    moderated: bool = True
    endings: Sequence[Ending] = ()
    control_endings: Sequence[Ending] = ()
    recovery_failure: str = ""

    @property
    def lateness(self) -> str:
        """Why the machine was too busy to judge times; "" if it was not."""
        return lateness_of([*self.before, *self.during, *self.after])


def lateness_of(samples: Sequence[CheckSample]) -> str:
    """Why the machine was too busy while these were sent; "" if it was not."""
    without_socket = sum(sample.error == "no_socket" for sample in samples)
    if without_socket:
        return (
            f"this machine was too busy (it had no socket left for {without_socket} of "
            f"{len(samples)} requests)"
        )
    late = sum(sample.lag_ms > LATE_AFTER_MS for sample in samples)
    waited = max((sample.waited_share for sample in samples), default=0.0)
    if late <= LATE_SHARE * len(samples):
        if waited <= WAITED_SHARE:
            return ""
        return (
            f"this machine was too busy (the services waited for a processor {waited:.0%} of "
            "the time in which they had work)"
        )
    return (
        f"this machine was too busy ({late} of {len(samples)} requests were sent more than "
        f"{LATE_AFTER_MS:g} ms late)"
    )


def _judge_answered(endpoint: str) -> Callable[[OutageObservation], OutageVerdict | None]:
    def judge(observation: OutageObservation) -> OutageVerdict | None:
        if endpoint in observation.own_endpoints:
            return None, f"it is {observation.process} itself that answers them"
        samples, before = _of(endpoint, observation.during), _of(endpoint, observation.before)
        if not samples:
            return None
        good, good_before = _successful(samples), _successful(before)
        seen = f"{len(good)} of {len(samples)} were"
        if len(good) == len(samples):
            return True, f"{seen}, half within {median_latency_ms(good):.0f} ms"
        seen += f" ({_errors(samples)}), without the fault {len(good_before)} of {len(before)}"
        if fisher_decrease(len(good_before), len(before), len(good), len(samples)) < LEVEL:
            if observation.lateness and _may_be_the_machine(samples):
                return None, f"{observation.lateness}; {seen}"
            return False, seen
        if len(good_before) < ENOUGH_SHARE * len(before):
            return None, f"it is no better without the fault: {seen}"
        if len(good) >= ENOUGH_SHARE * len(samples):
            return True, seen
        return None, f"too few to tell: {seen}"

    return judge


def _judge_fast(observation: OutageObservation) -> OutageVerdict | None:
    verdict = _judge_answered("read_feed")(observation)
    if verdict is None or verdict[0] is not True:
        return verdict
    took_ms = median_latency_ms(_successful(_of("read_feed", observation.during)))
    baseline_ms = median_latency_ms(_successful(_of("read_feed", observation.before)))
    seen = f"half within {took_ms:.0f} ms, before that {baseline_ms:.0f} ms"
    waited = took_ms > baseline_ms + SLOW_MS / 2
    if waited and observation.lateness:
        return None, f"{observation.lateness}; {seen}"
    return not waited, seen


def _judge_kept(observation: OutageObservation) -> OutageVerdict | None:
    def describe(outcome: Outcome) -> str:
        writes = [sample for sample in observation.during if sample.endpoint != "read_feed"]
        taken = len(_successful(writes))
        during = f"of {len(writes)} writes during the outage, {taken} were acknowledged"
        if outcome.missing:
            return (
                f"{len(outcome.missing)} of {len(outcome.acknowledged)} are missing "
                f"{outcome.after_s:.1f} s after the last request ({during})"
            )
        return f"all {len(outcome.acknowledged)} are there ({during})"

    return _judge_writes("missing", describe)(observation)


def _judge_decided(observation: OutageObservation) -> OutageVerdict | None:
    if not observation.moderated:
        return None
    return _judge_writes(
        "waiting",
        lambda outcome: (
            f"{len(outcome.waiting)} of {len(outcome.comments)} still wait "
            f"{outcome.after_s:.1f} s after the last request"
            if outcome.waiting
            else f"all {len(outcome.comments)} that the feed shows have"
        ),
        of="comments",
    )(observation)


def _judge_writes(
    wrong: str, describe: Callable[[Outcome], str], of: str = "acknowledged"
) -> Callable[[OutageObservation], OutageVerdict | None]:
    """`wrong` and `of`: the fields of Outcome and of WriteControl with the writes that break the
    criterion, and with all that are looked at. `describe`: says what was seen."""

    def judge(observation: OutageObservation) -> OutageVerdict | None:
        outcome, control = observation.outcome, observation.control
        if outcome is None:
            return None, observation.unreadable_reason
        asked, bad = len(getattr(outcome, of)), len(getattr(outcome, wrong))
        if not asked:
            return None
        bad_before, all_before = getattr(control, wrong), getattr(control, of)
        before = (all_before - bad_before, all_before)
        if bad and bad_before and fisher_decrease(*before, asked - bad, asked) >= LEVEL:
            return None, (
                f"it is no better without the fault ({bad_before} of {all_before}): "
                f"{describe(outcome)}"
            )
        if bad and observation.lateness and wrong in _MAY_BE_LATE:
            return None, f"{observation.lateness}; {describe(outcome)}"
        return not bad, describe(outcome)

    return judge


def _judge_kept_nevertheless(
    of: str,
) -> Callable[[OutageObservation], OutageVerdict | None]:
    """`of`: the field of Outcome with the writes that should not have been carried out."""

    def describe(outcome: Outcome) -> str:
        where = "in the feed or at its owner" if outcome.owners_read else "in the feed"
        unread = "" if outcome.owners_read else "; its owner shows no list of its own"
        kept, asked = getattr(outcome, f"{of}_kept"), getattr(outcome, of)
        return f"{len(kept)} of {len(asked)} are {where}{unread}"

    return _judge_writes(f"{of}_kept", describe, of)


_judge_once = _judge_writes(
    "doubled",
    lambda outcome: f"{len(outcome.doubled)} of {len(outcome.present)} are",
    of="present",
)


def _judge_others(observation: OutageObservation) -> OutageVerdict | None:
    if not observation.endings:
        return True, "none did"
    usual = {ending.kind for ending in observation.control_endings}
    by_fault = [ending for ending in observation.endings if ending.kind not in usual]
    seen = "; ".join(f"{ending.process} {ending.how}" for ending in by_fault or observation.endings)
    return (False, seen) if by_fault else (None, f"{seen}: without a fault, too")


def _judge_recovery(observation: OutageObservation) -> OutageVerdict | None:
    """Names the first kind of request of which fewer succeed than before, and why it failed."""
    if observation.recovery_failure:
        return False, observation.recovery_failure
    worse = []
    for endpoint in _ENDPOINTS:
        after, before = _of(endpoint, observation.after), _of(endpoint, observation.before)
        good, good_before = _successful(after), _successful(before)
        if len(good) == len(after):
            continue
        failure = next(sample.failure or sample.error for sample in after if not sample.ok)
        seen = f"{endpoint}: {len(good)} of {len(after)} succeeded ({failure})"
        if fisher_decrease(len(good_before), len(before), len(good), len(after)) < LEVEL:
            if observation.lateness and _may_be_the_machine(after):
                return None, f"{observation.lateness}; {seen}"
            return False, seen
        if not after[-1].ok:  # otherwise it needed a moment, and works
            worse.append(f"{seen}, before the fault {len(good_before)} of {len(before)}")
    if not observation.after:
        return None
    return (None, f"too few to tell: {worse[0]}") if worse else (True, "it does")


def _of(endpoint: str, samples: Sequence[CheckSample]) -> list[CheckSample]:
    return [sample for sample in samples if sample.endpoint == endpoint]


def _successful(samples: Sequence[CheckSample]) -> list[CheckSample]:
    return [sample for sample in samples if sample.ok]


def _errors(samples: Sequence[CheckSample]) -> str:
    return ", ".join(sorted({sample.error for sample in samples if not sample.ok}))


def _may_be_the_machine(samples: Sequence[CheckSample]) -> bool:
    """Whether all failed for want of time, or of a socket for the request."""
    return all(sample.ok or sample.error in ("timeout", "no_socket") for sample in samples)


def median_latency_ms(samples: Sequence[CheckSample]) -> float:
    """The median latency, ms; 0 for no sample."""
    return median(sample.latency_ms or 0.0 for sample in samples) if samples else 0.0


JUDGES: dict[str, Callable[[OutageObservation], OutageVerdict | None]] = {
    "reads": _judge_answered("read_feed"),
    "posts": _judge_answered("create_post"),
    "comments": _judge_answered("create_comment"),
    "fast": _judge_fast,
    "kept": _judge_kept,
    "decided": _judge_decided,
    "once": _judge_once,
    "honest": _judge_kept_nevertheless("refused"),
    "unanswered": _judge_kept_nevertheless("unanswered"),
    "others": _judge_others,
    "back": _judge_recovery,
}
"""By the key of a criterion. None: nothing was asked of which it speaks, so it is left out."""
