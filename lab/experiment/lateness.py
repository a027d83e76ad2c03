"""How certain each request is when the load generator was late (its figures: `uncertainty.py`).

A busy machine keeps the generator from sending a request when it is due, from reading an answer
when it arrives, and perhaps the services from working. So a latency then has two ends: from the
time when the request was due, which is what the figures contain, and from the time when it was
sent, without the time in which the generator was behind. All figures are computed at both ends. A
verdict that is the same at both is sound, however busy the machine was.

A *stall* is a time in which the generator was behind. The generator notes each time in which its
loop did not run (`lab.load.generator.Heartbeat`). A run without such notes has wider stalls: from
the last request before it that was sent in time until the next one, and a freeze after the last
request is not seen.

Of some requests not even the outcome is known: those that were due in one phase and sent in
another, those that timed out in a stall, and those that were never sent. They may have succeeded
after no time, or failed, or belong to the other phase; the ends of a figure allow for each of
these.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import inf
from types import MappingProxyType
from typing import NamedTuple

from lab.load.generator import HEARTBEAT_S
from lab.load.metrics import BEHIND_MS, LATE_AFTER_MS
from lab.load.plan import WARM_UP
from lab.load.samples import WRITES, Sample
from lab.results.result import FOLLOW_UPS, FaultEvidence, RunResult
from lab.results.timeline import Timeline
from lab.scenarios.scenario import Scenario

# ── Stalls


class Stall(NamedTuple):
    """Seconds from the start of the run; `until_s` is infinite if the load ended late."""

    from_s: float
    until_s: float


FEEDS_TO_SEE = 3
PROBED_AGAIN_S = 0.25
"""The slowest of so many feeds after a stall, against the quickest of as many before it, says how
much later the probe has seen what became visible in it; if none was sent within this time, the end
of the first that was."""

TIME_TAKEN = 0.05
"""A request that lost more than this share of its time limit to the generator might have been
answered, had that kept up."""


def _is_behind(sample: Sample) -> bool:
    return sample.lag_ms > BEHIND_MS


def stalls_of(
    samples: Sequence[Sample], noted: Sequence[tuple[float, float]] | None = None
) -> list[Stall]:
    """The stalls of one generator, in order; none if it was never late (over LATE_AFTER_MS).

    `samples`: all its requests, of all variants; `noted`: when its loop did not run, None if it
    has not noted that.
    """
    latest_ms = max((one.lag_ms for one in samples), default=0.0)
    longest_ms = max((1_000 * (until_s - from_s) for from_s, until_s in noted or ()), default=0.0)
    if max(latest_ms, longest_ms - 1_000 * HEARTBEAT_S) <= LATE_AFTER_MS:
        return []
    if noted is None:
        return _stalls_between_sends(samples)
    late = [Stall(one.intended_s, _sent_s(one)) for one in samples if _is_behind(one)]
    return _merged(sorted([*(Stall(*one) for one in noted), *late]))


def _merged(stalls: Iterable[Stall]) -> list[Stall]:
    """The same time without overlaps; `stalls` is ordered by `from_s`."""
    merged: list[Stall] = []
    for one in stalls:
        if merged and one.from_s <= merged[-1].until_s:
            last = merged.pop()
            one = Stall(last.from_s, max(last.until_s, one.until_s))
        merged.append(one)
    return merged


def _stalls_between_sends(every: Sequence[Sample]) -> list[Stall]:
    # A follow-up is due whenever its post is answered, so it is never late and proves nothing.
    scheduled = sorted(
        (one for one in every if one.endpoint not in FOLLOW_UPS), key=lambda one: one.intended_s
    )
    in_time_s = sorted(_sent_s(one) for one in scheduled if not _is_behind(one))
    stalls: list[Stall] = []
    place = 0
    while place < len(scheduled):
        if not _is_behind(scheduled[place]):
            place += 1
            continue
        first_due_s = scheduled[place].intended_s
        while place < len(scheduled) and _is_behind(scheduled[place]):
            place += 1
        until_s = _sent_s(scheduled[place]) if place < len(scheduled) else inf
        before = bisect_left(in_time_s, first_due_s)
        stalls.append(Stall(in_time_s[before - 1] if before else -inf, until_s))
    return _merged(stalls)


def _sent_s(sample: Sample) -> float:
    return sample.intended_s + sample.lag_ms / 1_000


def _ms(sample: Sample) -> float:
    return sample.latency_ms or 0.0


def _end_s(sample: Sample) -> float:
    return sample.intended_s + _ms(sample) / 1_000


def _takes_s(sample: Sample) -> float:
    return _end_s(sample) - _sent_s(sample)


def _last_before(by_end: Sequence[Sample], stall: Stall) -> Sequence[Sample]:
    place = bisect_right(by_end, stall.from_s, key=_end_s)
    return by_end[max(0, place - FEEDS_TO_SEE) : place]


def _first_after(by_sent: Sequence[Sample], stall: Stall) -> Sequence[Sample]:
    place = bisect_left(by_sent, stall.until_s, key=_sent_s)
    return by_sent[place : place + FEEDS_TO_SEE]


def _overlap_s(from_s: float, until_s: float, stalls: Sequence[Stall]) -> float:
    """For how much of a time the generator was behind."""
    total_s = 0.0
    for place in range(bisect_right(stalls, from_s, key=lambda one: one.until_s), len(stalls)):
        if stalls[place].from_s >= until_s:
            break
        total_s += min(until_s, stalls[place].until_s) - max(from_s, stalls[place].from_s)
    return total_s


# ── Requests


@dataclass(frozen=True, slots=True)
class BoundedSample:
    """A request, and the shortest latencies that it may have had (ms; the sample has the longest).

    `known`: whether its outcome is known, and that it counts in the phase `sample.phase`. If not,
    it may count in any of `phases`.
    """

    sample: Sample
    low_ms: float | None
    visible_low_ms: float | None
    known: bool
    phases: tuple[str, ...]
    in_stall: bool

    @property
    def exact(self) -> bool:
        """Whether every figure of the request has one value only."""
        return self.known and not self.in_stall and self.visible_low_ms == self.sample.visible_ms

    def at_low_end(self) -> Sample:
        """The request at its best: with its shortest latencies, and a success unless it surely
        failed."""
        if not self.known:
            shown = _NO_TIME_MS if self.sample.endpoint in WRITES else None
            return replace(self.sample, ok=True, latency_ms=_NO_TIME_MS, visible_ms=shown)
        return replace(self.sample, latency_ms=self.low_ms, visible_ms=self.visible_low_ms)


_NO_TIME_MS = 0.001
"""In place of 0, of which there is no logarithm."""


Faults = Mapping[str, Sequence[FaultEvidence]]
"""The evidence of the faults of each variant."""


def bounded_samples(
    samples: Sequence[Sample],
    timeline: Timeline,
    timeout_ms: float,
    faults: Faults = MappingProxyType({}),
    noted: Sequence[tuple[float, float]] | None = None,
) -> list[BoundedSample]:
    """The requests of one generator, of all variants that it served, in the same order. `noted`:
    when its loop did not run."""
    stalls = stalls_of(samples, noted)
    if not stalls:
        return [in_time(sample) for sample in samples]
    bounding = _Bounding(stalls, timeline, timeout_ms, samples, faults)
    return [bounding.bound(sample) for sample in samples]


def in_time(sample: Sample) -> BoundedSample:
    """A request that was sent, and whose answer was read, without a delay."""
    known = not sample.dropped
    return BoundedSample(
        sample, sample.latency_ms, sample.visible_ms, known, (sample.phase,), in_stall=False
    )


def bounded_run(
    samples: Sequence[Sample], scenario: Scenario, result: RunResult
) -> list[BoundedSample]:
    """The requests of one run. Isolated variants have a load generator each."""
    timeline, timeout_ms = scenario.timeline(), scenario.load.timeout_ms
    faults = {variant.name: variant.faults for variant in result.variants}
    noted = result.load.stalls
    if not scenario.isolate:
        return bounded_samples(
            samples, timeline, timeout_ms, faults, next(iter(noted.values()), None)
        )
    return [
        one
        for variant in scenario.variants
        for one in bounded_samples(
            [sample for sample in samples if sample.variant == variant],
            timeline,
            timeout_ms,
            {variant: faults.get(variant, [])},
            noted.get(variant),
        )
    ]


class _Bounding:
    """Bounds the samples of one generator that has stalled."""

    def __init__(
        self,
        stalls: Sequence[Stall],
        timeline: Timeline,
        timeout_ms: float,
        samples: Sequence[Sample],
        faults: Faults,
    ) -> None:
        self._stalls, self._timeline, self._timeout_ms = stalls, timeline, timeout_ms
        edges = {phase.from_s for phase in timeline.phases} | {timeline.until_s}
        edges |= {edge for one in timeline.faults for edge in (one.from_s, one.until_s)}
        edges |= {
            edge
            for own in faults.values()
            for one in own
            for edge in (one.from_s, one.gone_s)
            if edge is not None
        }
        self._faults = faults
        self._faulty_from_s = {one.name: one.from_s for one in timeline.phases if one.faults}
        self._edges_s = sorted(edges)
        feeds: dict[str, list[Sample]] = {}
        for sample in samples:
            if sample.endpoint == "read_feed" and not sample.dropped:
                feeds.setdefault(sample.variant, []).append(sample)
        self._seen = {variant: self._until_seen(own) for variant, own in feeds.items()}
        self._latest_seen_s = {
            variant: list(accumulate((one.until_s for one in seen), max))
            for variant, seen in self._seen.items()
        }

    def _until_seen(self, feeds: Sequence[Sample]) -> list[Stall]:
        """Each stall, longer by the time until a feed could show what had become visible in it.

        The probe asks for one feed after another, so a stall delays what it sees by the stall
        itself; by more only where a feed takes longer after the stall than before. Where all feeds
        around the stall fail, one in the stall would have shown nothing either.
        """
        tried_end = sorted(feeds, key=_end_s)
        tried_sent = sorted(feeds, key=_sent_s)
        by_end = [one for one in tried_end if one.ok]
        by_sent = [one for one in tried_sent if one.ok]
        seen: list[Stall] = []
        for stall in self._stalls:
            around = [*_last_before(tried_end, stall), *_first_after(tried_sent, stall)]
            if len(around) == 2 * FEEDS_TO_SEE and not any(one.ok for one in around):
                seen.append(stall)
                continue
            later, earlier = _first_after(by_sent, stall), _last_before(by_end, stall)
            seen_s = _end_s(later[0]) if later else inf
            if later and _sent_s(later[0]) <= stall.until_s + PROBED_AGAIN_S:
                quickest_s = min(map(_takes_s, earlier), default=0.0)
                slower_s = max(0.0, max(map(_takes_s, later)) - quickest_s)
                seen_s = stall.until_s + slower_s
            seen.append(Stall(stall.from_s, seen_s))
        return seen

    def _unseen_s(self, variant: str, from_s: float, shown_s: float) -> float:
        """For how much of the time before a write was seen the generator kept it from being seen:
        all stalls, and after the last of them the time until a feed could show it. After an earlier
        one, a feed has not shown it."""
        seen = self._seen.get(variant, self._stalls)
        latest_s = self._latest_seen_s.get(variant, [one.until_s for one in seen])
        last = bisect_left(latest_s, shown_s - PROBED_AGAIN_S)
        if last == len(seen):
            return _overlap_s(from_s, shown_s, self._stalls)
        split_s = min(max(from_s, seen[last].from_s), shown_s)
        late = seen[last : bisect_left(seen, shown_s, key=lambda one: one.from_s)]
        return _overlap_s(from_s, split_s, self._stalls) + _overlap_s(
            split_s, shown_s, _merged(late)
        )

    def bound(self, sample: Sample) -> BoundedSample:
        """Find the shortest latencies of a request, and whether its outcome and phase are known."""
        sent_s, late = _sent_s(sample), _is_behind(sample)
        starts_s = sent_s if late else sample.intended_s
        low_ms, visible_low_ms = sample.latency_ms, sample.visible_ms
        stalled_s = 0.0
        if low_ms is not None:
            stalled_s = _overlap_s(starts_s, _end_s(sample), self._stalls)
            low_ms = max(_NO_TIME_MS, low_ms - 1_000 * (starts_s - sample.intended_s + stalled_s))
        if visible_low_ms is not None:
            shown_s = sample.intended_s + visible_low_ms / 1_000
            unseen_s = self._unseen_s(sample.variant, starts_s, shown_s)
            unseen_s += starts_s - sample.intended_s
            visible_low_ms = max(_NO_TIME_MS, visible_low_ms - 1_000 * unseen_s)
        phases = dict.fromkeys([sample.phase])
        known = not sample.dropped
        if late and self._segment(sent_s) != self._segment(sample.intended_s):
            known = False
            phases |= dict.fromkeys([self._phase_at(sample.intended_s), self._phase_at(sent_s)])
        due_phase = self._phase_at(sample.intended_s)
        if self._faulty_from_s.get(sample.phase, -inf) > sample.intended_s:
            # It was under way when a fault began. Would it have been, if all had been in time?
            earliest_s = sample.intended_s + ((low_ms or 0.0) - LATE_AFTER_MS) / 1_000
            if late or self._segment(earliest_s) == self._segment(sample.intended_s):
                known = False
                phases |= {due_phase: None}
        for fault in self._faults.get(sample.variant, ()):
            until_s, gone_s = fault.until_s or inf, fault.gone_s or -inf
            low_end_s = sample.intended_s + (low_ms or 0.0) / 1_000
            # It was answered when the fault was gone. In time, might it have been answered before?
            is_between = until_s <= sample.intended_s < gone_s <= _end_s(sample)
            if sample.ok and is_between and low_end_s < gone_s:
                known = False
                phases |= {fault.phase or due_phase: None}
        if sample.error == "timeout":
            lost_ms = sample.lag_ms + 1_000 * stalled_s
            known = known and lost_ms <= TIME_TAKEN * self._timeout_ms
        elif sample.error == "interrupted":
            known = known and not late and self._stalls[-1].until_s < inf
        elif stalled_s and sample.ok:
            known = known and _ms(sample) < self._timeout_ms
        return BoundedSample(
            sample, low_ms, visible_low_ms, known, tuple(phases), late or stalled_s > 0
        )

    def _segment(self, at_s: float) -> int:
        """The number of the time between two edges of phases or faults."""
        return bisect_right(self._edges_s, at_s)

    def _phase_at(self, at_s: float) -> str:
        phases = self._timeline.phases
        if at_s < phases[0].from_s:
            return WARM_UP
        return next((phase.name for phase in phases if at_s < phase.until_s), phases[-1].name)


# ── Comparisons


def at_both_ends(runs: Sequence[Sequence[BoundedSample]], first: str) -> list[list[list[Sample]]]:
    """The runs in which the variant `first` is as fast as possible and all others as slow, and the
    other way round; empty if every latency is certain."""
    if all(one.exact for run in runs for one in run):
        return []
    return [
        [[_end(one, low=(one.sample.variant == first) is first_low) for one in run] for run in runs]
        for first_low in (True, False)
    ]


_NEVER_MS = 1e9


def _end(one: BoundedSample, *, low: bool) -> Sample:
    if low:
        return one.at_low_end()
    if one.known:
        return one.sample
    shown = _NEVER_MS if one.sample.endpoint in WRITES else None
    return replace(one.sample, ok=True, latency_ms=_NEVER_MS, visible_ms=shown)
