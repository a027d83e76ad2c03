"""The outcome of a storm: the kills, the writes, and what the services hold and show."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lab.cluster.supervisor import Exit
from lab.load.metrics import percentile
from lab.load.samples import Sample
from lab.results.result import CheckerCounts


@dataclass(frozen=True)
class Kill:
    """`target` was killed at `killed_s` and was healthy again at `ready_s` (both perf_counter); or
    suspended, and resumed."""

    target: str
    killed_s: float
    ready_s: float


@dataclass
class StormOutcome:
    """The outcome of a storm. The generator and this process use the same clock."""

    data: CheckerCounts
    samples: list[Sample]
    started_at_s: float
    load: Mapping[str, Any]
    wrong_verdicts: int
    unexpected_exits: tuple[Exit, ...]
    kills: list[Kill] = field(default_factory=list)
    drained_s: float | None = None

    def violations(self) -> dict[str, int]:
        """Every count that must be 0 and is not, by name."""
        counted = {
            "lost": self.data.lost,
            "duplicated": self.data.duplicated,
            "diverged": self.data.diverged,
            "unsettled": self.data.unsettled,
            "undecided": self.data.undecided,
            "out of order": self.data.out_of_order,
            "resurrected": self.data.resurrected,
            "refused, and kept": self.data.refused_kept,
            "judged wrongly": self.wrong_verdicts,
            "never seen by a reader": sum(
                sample.ok and sample.visible_ms is None for sample in self.samples
            ),
            "answered 500": sum(sample.status == 500 for sample in self.samples),
            "not sent at all": self.load["dropped"],
            "died by themselves": len(self.unexpected_exits),
        }
        return {name: count for name, count in counted.items() if count}

    @property
    def kills_under_load(self) -> int:
        """The number of kills before the last write: a storm may outlast the load."""
        over_s = self.started_at_s + max(sample.intended_s for sample in self.samples)
        return sum(kill.killed_s < over_s for kill in self.kills)

    def accepted(self, phase: str) -> tuple[int, int]:
        """(acknowledged writes, all writes) of a phase."""
        sent = [sample for sample in self.samples if sample.phase == phase]
        return sum(sample.ok for sample in sent), len(sent)

    def answered_ms(self, phase: str, percent: float = 99) -> float:
        """A percentile, in ms, of the time from the intended send time of a write to its 201."""
        times = [
            sample.latency_ms for sample in self.samples if sample.ok and sample.phase == phase
        ]
        found = percentile([time for time in times if time is not None], percent)
        assert found is not None, f"nothing was acknowledged in the phase {phase}"
        return found

    def visible_again_s(self) -> list[float]:
        """Per kill: seconds from the process being healthy again until a reader has seen (and
        decided) the last write acknowledged before; 0 if all had been seen by then."""
        writes = [
            (intended_s + sample.latency_ms / 1000, intended_s + sample.visible_ms / 1000)
            for sample in self.samples
            if sample.ok and sample.latency_ms is not None and sample.visible_ms is not None
            for intended_s in (self.started_at_s + sample.intended_s,)
        ]
        return [
            max([0.0, *(seen_s - kill.ready_s for at_s, seen_s in writes if at_s <= kill.ready_s)])
            for kill in self.kills
        ]
