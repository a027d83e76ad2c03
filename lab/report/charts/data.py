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

from lab.experiment.lag import LagReading, read_lag
from lab.load.plan import WARM_UP
from lab.load.samples import Sample, read_samples
from lab.results.result import ENDPOINTS, FOLLOW_UPS, RunResult, TimelinePhase, TimelineWindow

IntervalT = TypeVar("IntervalT", TimelinePhase, TimelineWindow)

_MAX_BINS = 48
_MIN_SAMPLES_PER_BIN = 4
"""Samples of one endpoint and one variant that a bin should hold on average, at least.

With fewer, the line would follow single answers, which the chart already shows as points.
"""


@dataclass(frozen=True)
class ChartData:
    """Samples without the warm-up, and lag readings of consumers; either may be empty."""

    samples: tuple[Sample, ...] = ()
    readings: tuple[LagReading, ...] = ()
    problems: tuple[str, ...] = ()

    @classmethod
    def read(cls, result: RunResult, folder: Path) -> "ChartData":
        """Read the files of a run folder. An unreadable file is named in `problems`."""
        samples: list[Sample] = []
        readings: list[LagReading] = []
        problems: list[str] = []
        folders = list(_run_folders(result, folder))
        for run_folder in folders:
            try:
                found = read_samples(run_folder / "samples.csv")
                samples += [sample for sample in found if sample.phase != WARM_UP]
            except (OSError, ValueError) as error:
                problems.append(f"There are no charts over time of {run_folder.name}: {error}")
        try:
            readings += read_lag(folders[0] / "lag.csv") if folders else []
        except (OSError, ValueError) as error:
            problems.append(f"There is no chart of consumer lag: {error}")
        return cls(tuple(samples), tuple(readings), tuple(problems))


def _run_folders(result: RunResult, folder: Path) -> Iterator[Path]:
    """The folders of the counted runs: `folder` itself, or the subfolders of the valid runs."""
    if result.repeats == 1:
        yield folder
        return
    counted = [run for run in result.runs if run.valid] or result.runs
    for run in counted:
        # The name comes from an untrusted file: it must not lead out of the folder.
        if run.folder == Path(run.folder).name and (folder / run.folder).is_dir():
            yield folder / run.folder


@dataclass(frozen=True)
class TimeAxis:
    """The time axis of a chart: stages, fault windows, and bins that never span two stages.

    All times are seconds from the start of the first stage; `origin_s` is that start, in seconds
    from the start of the run.
    """

    stages: tuple[TimelinePhase, ...]
    windows: tuple[TimelineWindow, ...]
    edges: tuple[float, ...]
    origin_s: float

    @property
    def end_s(self) -> float:
        return self.edges[-1]

    def position(self, sample: Sample) -> float:
        """The intended send time of a sample, on this axis."""
        return sample.intended_s - self.origin_s

    def bin_samples(self, samples: list[Sample]) -> list[list[Sample]]:
        """The samples of each bin, by intended send time; later samples go into the last bin."""
        bins: list[list[Sample]] = [[] for _ in self.edges[1:]]
        at = 0
        for sample in sorted(samples, key=lambda sample: sample.intended_s):
            while at < len(bins) - 1 and self.position(sample) >= self.edges[at + 1]:
                at += 1
            bins[at].append(sample)
        return bins

    def bin_middle(self, number: int) -> float:
        """The middle of bin `number`, in seconds."""
        return (self.edges[number] + self.edges[number + 1]) / 2


def time_axis(result: RunResult, data: ChartData) -> TimeAxis | None:
    """The time axis of a run; None if there are no samples.

    An old result without a timeline gets one stage without a name.
    """
    if not data.samples:
        return None
    last_s = max(sample.intended_s for sample in data.samples)
    stages = result.timeline.stages or [
        TimelinePhase(name="", from_s=0.0, until_s=max(last_s, 0.1))
    ]
    origin_s, length_s = stages[0].from_s, stages[-1].until_s - stages[0].from_s
    series = len({(sample.variant, sample.endpoint) for sample in data.samples})
    bin_width_s = max(
        length_s / _MAX_BINS, _MIN_SAMPLES_PER_BIN * length_s * series / len(data.samples)
    )
    edges = [0.0]
    for stage in stages:
        stage_length_s = stage.until_s - stage.from_s
        count = max(1, ceil(stage_length_s / bin_width_s - 0.5))
        stage_start_s = stage.from_s - origin_s
        edges += [stage_start_s + stage_length_s * (number + 1) / count for number in range(count)]
    return TimeAxis(
        tuple(_shift(stage, origin_s) for stage in stages),
        tuple(_shift(window, origin_s) for window in result.timeline.windows),
        tuple(edges),
        origin_s,
    )


def _shift(interval: IntervalT, origin_s: float) -> IntervalT:
    shifted = {"from_s": interval.from_s - origin_s, "until_s": interval.until_s - origin_s}
    return interval.model_copy(update=shifted)


def endpoints(result: RunResult) -> tuple[str, ...]:
    """The endpoints that received requests, in the order of the tables."""
    sent = {
        name
        for variant in result.variants
        for phase in variant.phases.values()
        for name, figures in phase.endpoints.items()
        if figures.sent
    }
    return tuple(name for name in (*ENDPOINTS, *FOLLOW_UPS) if name in sent)
