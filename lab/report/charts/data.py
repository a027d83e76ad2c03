"""The raw data of charts: the samples and the lag readings of a saved run.

A result of several runs has the samples of all valid runs, as in the tables, but the lag readings
of only the first one: overlaid lag curves of several runs would be unreadable. If a file is missing
or unreadable, its charts are not drawn, and `problems` says why.
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
"""Samples of one endpoint and one variant that a bin should hold on average, at least.

With fewer, the line would follow single answers, which the chart already shows as points.
"""


@dataclass(frozen=True)
class Raw:
    """Samples without the warm-up, and lag readings of consumers; either may be empty."""

    samples: tuple[Sample, ...] = ()
    readings: tuple[Reading, ...] = ()
    problems: tuple[str, ...] = ()

    @classmethod
    def of(cls, result: Result, folder: Path) -> "Raw":
        """Read the files of a run folder. An unreadable file is named in `problems`."""
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
    """The folders of the counted runs: `folder` itself, or the subfolders of the valid runs."""
    if result.repeats == 1:
        yield folder
        return
    counted = [one for one in result.runs if one.valid] or result.runs
    for one in counted:
        # The name comes from an untrusted file: it must not lead out of the folder.
        if one.folder == Path(one.folder).name and (folder / one.folder).is_dir():
            yield folder / one.folder


@dataclass(frozen=True)
class Clock:
    """The time axis of a chart: stages, fault windows, and bins that never span two stages.

    All times are seconds from the start of the first stage, except `zero_s`: that start, in seconds
    from the start of the run.
    """

    stages: tuple[Stage, ...]
    windows: tuple[Window, ...]
    edges: tuple[float, ...]
    zero_s: float

    @property
    def end_s(self) -> float:
        return self.edges[-1]

    def of(self, sample: Sample) -> float:
        """The intended send time of a sample, on this axis."""
        return sample.intended_s - self.zero_s

    def binned(self, samples: list[Sample]) -> list[list[Sample]]:
        """The samples of each bin, by intended send time; later samples go into the last bin."""
        bins: list[list[Sample]] = [[] for _ in self.edges[1:]]
        at = 0
        for sample in sorted(samples, key=lambda one: one.intended_s):
            while at < len(bins) - 1 and self.of(sample) >= self.edges[at + 1]:
                at += 1
            bins[at].append(sample)
        return bins

    def middle(self, number: int) -> float:
        """The middle of bin `number`, in seconds."""
        return (self.edges[number] + self.edges[number + 1]) / 2


def clock(result: Result, raw: Raw) -> Clock | None:
    """The time axis of a run; None if there are no samples.

    An old result without a timeline gets one stage without a name.
    """
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
    """The endpoints that received requests, in the order of the tables."""
    sent = {
        name
        for one in result.variants
        for of in one.phases.values()
        for name, figures in of.endpoints.items()
        if figures.sent
    }
    return tuple(name for name in (*ENDPOINTS, *AT_ONCE) if name in sent)


def said(window: Window) -> str:
    """A fault window in words: `comments latency (ms 300)`."""
    settings = ", ".join(f"{name} {_short(value)}" for name, value in window.settings.items())
    return f"{window.target} {window.kind}" + (f" ({settings})" if settings else "")


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
