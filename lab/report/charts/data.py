"""What charts are drawn from, beside the result: the samples and the readings of a kept run.

Of several runs it is what the valid ones sent, as in the tables; the lag is one run's, for curves
of several drawn over each other are nobody's. Where a file is missing or no longer readable, the
charts that need it aren't drawn, and `problems` says why.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TypeVar

from lab.experiment.lag import Reading, read_lag
from lab.load.plan import WARM_UP
from lab.load.samples import Sample, read_samples
from lab.results.result import AT_ONCE, ENDPOINTS, Result, Stage, Window

Span = TypeVar("Span", Stage, Window)

_MOST_BINS = 48
_IN_A_BIN = 4
"""Answers of one kind, of one variant: fewer make a line of single answers, and these are there as
points."""


@dataclass(frozen=True)
class Raw:
    """Samples without those of the warm-up, and readings of consumers; either may be empty."""

    samples: tuple[Sample, ...] = ()
    readings: tuple[Reading, ...] = ()
    problems: tuple[str, ...] = ()

    @classmethod
    def of(cls, result: Result, folder: Path) -> "Raw":
        """What is kept in a run's folder. Raises nothing: what can't be read isn't there."""
        samples: list[Sample] = []
        readings: list[Reading] = []
        problems: list[str] = []
        folders = list(_folders(result, folder))
        for one in folders:
            try:
                found = read_samples(one / "samples.csv")
                samples += [sample for sample in found if sample.phase != WARM_UP]
            except (OSError, ValueError) as error:
                problems.append(f"There are no charts over time of {one.name}: {error}")
        try:
            readings += read_lag(folders[0] / "lag.csv") if folders else []
        except (OSError, ValueError) as error:
            problems.append(f"There is no chart of consumer lag: {error}")
        return cls(tuple(samples), tuple(readings), tuple(problems))


def _folders(result: Result, folder: Path) -> Iterator[Path]:
    """Where the counted runs are: the folder itself, or those of the valid ones in it."""
    if result.repeats == 1:
        yield folder
        return
    counted = [one for one in result.runs if one.valid] or result.runs
    for one in counted:
        # The name comes from a file that anybody may have written.
        if one.folder == Path(one.folder).name and (folder / one.folder).is_dir():
            yield folder / one.folder


@dataclass(frozen=True)
class Clock:
    """The time of a chart: stages, windows, and bins that no stage's edge cuts through.

    All in seconds from the beginning of the first stage, which is 0.
    """

    stages: tuple[Stage, ...]
    windows: tuple[Window, ...]
    edges: tuple[float, ...]
    zero_s: float

    @property
    def end_s(self) -> float:
        return self.edges[-1]

    def of(self, sample: Sample) -> float:
        """When it was due."""
        return sample.intended_s - self.zero_s

    def binned(self, samples: list[Sample]) -> list[list[Sample]]:
        """The samples by the bin in which they were due; those beyond the end are in the last."""
        bins: list[list[Sample]] = [[] for _ in self.edges[1:]]
        at = 0
        for sample in sorted(samples, key=lambda one: one.intended_s):
            while at < len(bins) - 1 and self.of(sample) >= self.edges[at + 1]:
                at += 1
            bins[at].append(sample)
        return bins

    def middle(self, number: int) -> float:
        """The middle of a bin."""
        return (self.edges[number] + self.edges[number + 1]) / 2


def clock(result: Result, raw: Raw) -> Clock | None:
    """The time of a run; None where no sample tells of any. A document from before timelines were
    kept has one stage without a name."""
    if not raw.samples:
        return None
    last_s = max(sample.intended_s for sample in raw.samples)
    stages = result.timeline.stages or [Stage(name="", from_s=0.0, until_s=max(last_s, 0.1))]
    zero_s, whole_s = stages[0].from_s, stages[-1].until_s - stages[0].from_s
    series = len({(sample.variant, sample.endpoint) for sample in raw.samples})
    wide_s = max(whole_s / _MOST_BINS, _IN_A_BIN * whole_s * series / len(raw.samples))
    edges = [0.0]
    for stage in stages:
        length_s = stage.until_s - stage.from_s
        count = max(1, ceil(length_s / wide_s - 0.5))
        begins_s = stage.from_s - zero_s
        edges += [begins_s + length_s * (number + 1) / count for number in range(count)]
    return Clock(
        tuple(_moved(stage, zero_s) for stage in stages),
        tuple(_moved(window, zero_s) for window in result.timeline.windows),
        tuple(edges),
        zero_s,
    )


def _moved(span: Span, zero_s: float) -> Span:
    moved = {"from_s": span.from_s - zero_s, "until_s": span.until_s - zero_s}
    return span.model_copy(update=moved)


def endpoints(result: Result) -> tuple[str, ...]:
    """The kinds of request that were made, in the order of the tables."""
    sent = {
        name
        for one in result.variants
        for of in one.phases.values()
        for name, figures in of.endpoints.items()
        if figures.sent
    }
    return tuple(name for name in (*ENDPOINTS, *AT_ONCE) if name in sent)


def said(window: Window) -> str:
    """What a window is: `comments latency (ms 300)`."""
    settings = ", ".join(f"{name} {_short(value)}" for name, value in window.settings.items())
    return f"{window.target} {window.kind}" + (f" ({settings})" if settings else "")


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
