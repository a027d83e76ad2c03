"""A run under a load generator that keeps its schedule, and the same run under one that does not.

Nothing is started. A load generator is one thread: it handles what is due and what has arrived, one
after another. Here it can be frozen, slow, or late with everything. The services and the schedule
are the same in both runs, so the first says what is true of the second.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from heapq import heapify, heappop, heappush
from random import Random

from lab.experiment.lateness import bounded_samples
from lab.experiment.recovery import recoveries, slowest, usual_figures
from lab.experiment.request_phases import reassign_requests
from lab.experiment.uncertainty import variant_bounds
from lab.faults.kinds import parse_fault
from lab.load.generator import HEARTBEAT_S
from lab.load.metrics import BEHIND_MS, lag_figures, phase_figures, visibility_spread
from lab.load.plan import WARM_UP
from lab.load.samples import WRITES, Sample
from lab.results.result import (
    CheckerCounts,
    FaultEvidence,
    LoadSummary,
    PhaseResult,
    RunResult,
    VariantResult,
    VisibilityLatency,
)
from lab.results.timeline import FaultWindow, ScenarioPhase, Timeline

VARIANTS = ("sync-chain", "async-bus")
TIMEOUT_S = 1.0
FROM_S, UNTIL_S, END_S = 2.0, 4.5, 6.0
FAULTS = {"latency": {"ms": 300}, "down": {}, "hang": {}}
ENDPOINTS = ("read_feed", "create_post", "create_comment")


@dataclass
class Generator:
    """A generator with a defect. `freezes`: (from, until) in seconds; `cost_s`: the time that each
    event takes; `delay_s`: by how much it handles everything late."""

    freezes: Sequence[tuple[float, float]] = ()
    cost_s: float = 0.0
    delay_s: Callable[[], float] = field(default=lambda: 0.0)
    stalls: list[tuple[float, float]] = field(default_factory=list)
    """What its heartbeat notes."""
    _free_at_s: float = 0.0
    _beat_at_s: float = 0.0

    def handle(self, ready_s: float) -> float:
        """When an event that is ready at this time is handled."""
        at_s = max(ready_s + self.delay_s(), self._free_at_s)
        for from_s, until_s in self.freezes:
            if from_s <= at_s < until_s:
                at_s = until_s
        self._free_at_s = at_s + self.cost_s
        return at_s

    def beat_until(self, now_s: float) -> None:
        """Take the heartbeats that are due before this time; they cost nothing."""
        while (due_s := self._beat_at_s + HEARTBEAT_S) <= now_s:
            at_s = max(due_s + self.delay_s(), self._free_at_s)
            for from_s, until_s in self.freezes:
                if from_s <= at_s < until_s:
                    at_s = until_s
            if at_s - due_s > BEHIND_MS / 1_000:
                self.stalls.append((self._beat_at_s, at_s))
            self._beat_at_s = at_s


def frozen(random: Random) -> Generator:
    """Frozen once or twice while requests are due, for 0.1 to 2 s."""
    freezes = []
    for _ in range(random.randint(1, 2)):
        seconds = random.uniform(0.1, 2.0)
        from_s = random.uniform(0.3, END_S - 0.5 - seconds)
        freezes.append((from_s, from_s + seconds))
    return Generator(freezes=sorted(freezes))


def late(random: Random) -> Generator:
    """Late with everything, by 11 to 60 ms."""
    delay_s = random.uniform(0.011, 0.06)
    return Generator(delay_s=lambda: delay_s)


def slow(random: Random) -> Generator:
    """Four times as slow as one that has enough time: its backlog comes and goes."""
    return Generator(cost_s=4 * random.uniform(0.0006, 0.0009))


@dataclass(frozen=True)
class World:
    """The schedule, the services and their fault, from one seed."""

    seed: int
    fault: str
    rate: float = 50.0

    @cached_property
    def timeline(self) -> Timeline:
        fault = parse_fault(self.fault, "comments", dict(FAULTS[self.fault]))
        window = FaultWindow(fault, FROM_S, UNTIL_S - FROM_S, VARIANTS)
        return Timeline(
            (
                ScenarioPhase("before", 0.5, FROM_S - 0.5),
                ScenarioPhase("during", FROM_S, UNTIL_S - FROM_S, (window,)),
                ScenarioPhase("after", UNTIL_S, END_S - UNTIL_S),
            )
        )

    def measure(self, generator: Generator) -> list[Sample]:
        """The samples of both variants, by the time when they were due."""
        samples = self._schedule()
        events = [(one.intended_s, place, "send") for place, one in enumerate(samples)]
        heapify(events)
        while events:
            ready_s, place, kind = heappop(events)
            sample = samples[place]
            if kind == "deadline" and sample.latency_ms is not None:
                continue
            generator.beat_until(ready_s)
            now_s = generator.handle(ready_s)
            since_due_ms = 1_000 * (now_s - sample.intended_s)
            if kind == "send":
                sample.lag_ms = since_due_ms
                answered_s, sample.error = self._answer(sample, place, now_s)
                heappush(events, (answered_s, place, "answer"))
                heappush(events, (sample.intended_s + TIMEOUT_S, place, "deadline"))
            elif kind == "seen":
                # Read too late, it is an old feed: the next one shows the write.
                again_s = self._draw(place, "feed", 1, 2) if now_s > ready_s + 0.005 else 0.0
                sample.visible_ms = since_due_ms + 1_000 * again_s
            elif sample.latency_ms is None:
                sample.latency_ms = since_due_ms
                sample.error = "timeout" if kind == "deadline" else sample.error
                sample.ok = not sample.error
                if sample.ok and sample.endpoint in WRITES:
                    shown_s = ready_s + self._propagation_s(sample, place, ready_s)
                    heappush(events, (shown_s, place, "seen"))
        generator.beat_until(END_S)
        reassign_requests(samples, self.timeline)
        return samples

    def _schedule(self) -> list[Sample]:
        random, at_s = Random(self.seed), 0.0
        samples = []
        while (at_s := at_s + random.expovariate(self.rate)) < END_S - 0.1:
            endpoint = random.choices(ENDPOINTS, (5, 2, 3))[0]
            for number, variant in enumerate(VARIANTS):
                due_s = at_s + number * 0.5 / self.rate
                phase = next(
                    (one.name for one in self.timeline.phases[::-1] if due_s >= one.from_s), WARM_UP
                )
                samples.append(Sample(variant, phase, endpoint, due_s, 0.0))
        return sorted(samples, key=lambda one: one.intended_s)

    def _draw(self, place: int, what: str, low_ms: float, high_ms: float) -> float:
        """Seconds, always the same for this request."""
        return Random(f"{self.seed} {place} {what}").uniform(low_ms, high_ms) / 1_000

    def _answer(self, sample: Sample, place: int, sent_s: float) -> tuple[float, str]:
        """When the answer to a request arrives, and its error."""
        takes_s = self._draw(place, "answer", 2, 6)
        needs_comments = sample.endpoint == "create_comment" or (
            sample.endpoint == "read_feed" and sample.variant == "sync-chain"
        )
        if not needs_comments or sent_s >= UNTIL_S or sent_s + takes_s <= FROM_S:
            return sent_s + takes_s, ""
        if self.fault == "latency":
            return sent_s + takes_s + (0.3 if sent_s >= FROM_S else 0.0), ""
        if self.fault == "hang":
            return UNTIL_S + takes_s, ""
        return (FROM_S, "reset") if sent_s < FROM_S else (sent_s + 0.001, "refused")

    def _propagation_s(self, sample: Sample, place: int, answered_s: float) -> float:
        """How long it takes until readers can see a write that has been answered."""
        if sample.variant == "sync-chain":
            return self._draw(place, "seen", 5, 20)
        held_up = FROM_S <= answered_s < UNTIL_S and sample.endpoint == "create_comment"
        return self._draw(place, "seen", 20, 60) + (0.5 if held_up else 0.0)

    def result(self, generator: Generator) -> RunResult:
        """The result of a run under this generator, with the ends of its figures."""
        samples, timeline = self.measure(generator), self.timeline
        bounded = bounded_samples(samples, timeline, 1_000 * TIMEOUT_S, noted=generator.stalls)
        variants = []
        for name in VARIANTS:
            own = [one for one in samples if one.variant == name]
            phases = phase_figures(own, {one.name: one.seconds for one in timeline.phases})
            before = [one for one in own if one.phase == "before"]
            found = recoveries(own, UNTIL_S, usual_figures(before, FROM_S))
            acknowledged = sum(one.ok for one in own if one.endpoint in WRITES)
            variant = VariantResult(
                name=name,
                arrangement=name,
                phases={of: PhaseResult.model_validate(found) for of, found in phases.items()},
                recovery_seconds=slowest(found),
                recovery=found,
                faults=[FaultEvidence(kind=self.fault, target="comments", acted=True)],
                data=CheckerCounts(
                    acknowledged=acknowledged,
                    visible=acknowledged,
                    **{"lost": 0, "duplicated": 0, "unsettled": 0, "missing": 0},
                    visible_ms=VisibilityLatency(
                        **visibility_spread(one for one in own if one.ok and one.endpoint in WRITES)
                    ),
                ),
            )
            variant.bounds = variant_bounds(
                variant, [one for one in bounded if one.sample.variant == name], timeline
            )
            variants.append(variant)
        load = LoadSummary.model_validate(
            {key: of for key, of in lag_figures(samples).items() if key != "sent"}
        )
        return RunResult(
            scenario="busy",
            seed=self.seed,
            started="2026-01-01",
            load=load,
            variants=variants,
            timeline=timeline.to_result(VARIANTS),
        )
