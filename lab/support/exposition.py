"""Counters of requests, and the text format 0.0.4 of Prometheus, at `GET /metrics`.

(prometheus.io/docs/instrumenting/exposition_formats)

A request costs a few additions; the page is made when somebody reads it. Routes are named by their
pattern, so that an id in a path makes no new series.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""The upper ends of a histogram's buckets, in seconds."""

Sample = tuple[str, Mapping[str, object], float]
"""Name with its suffix, labels, value."""


class Histogram:
    """Durations: a count for each bucket and for what is longer, and the sum in seconds."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.sum_s += seconds

    def samples(self, name: str, labels: Mapping[str, object]) -> Iterator[Sample]:
        total = 0
        for end, count in zip([*map(str, BUCKETS_S), "+Inf"], self.counts, strict=True):
            total += count
            yield f"{name}_bucket", {**labels, "le": end}, total
        yield f"{name}_sum", labels, self.sum_s
        yield f"{name}_count", labels, total


class RequestCounters:
    """Counts and durations of the requests of one process. Used in the event loop only.

    `answers`: requests by method, route and status, or the error in place of a status.
    `durations`: by method and route.
    """

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str, int | str], int] = {}
        self.durations: dict[tuple[str, str], Histogram] = {}

    def observe(self, method: str, route: str, status: int | str, seconds: float) -> None:
        """Count a request that is over."""
        answer = (method, route, status)
        self.answers[answer] = self.answers.get(answer, 0) + 1
        durations = self.durations.get((method, route))
        if durations is None:
            durations = self.durations[method, route] = Histogram()
        durations.observe(seconds)

    def totals(self, name: str, labels: Mapping[str, object]) -> Iterator[Sample]:
        """The samples of a counter of requests."""
        for (method, route, status), count in self.answers.items():
            yield name, {**labels, "method": method, "route": route, "status": status}, count

    def histograms(self, name: str, labels: Mapping[str, object]) -> Iterator[Sample]:
        """The samples of a histogram of their durations."""
        for (method, route), durations in self.durations.items():
            yield from durations.samples(name, {**labels, "method": method, "route": route})


def family(name: str, kind: str, text: str, samples: Iterable[Sample]) -> Iterator[str]:
    """The lines of a metric; none without samples."""
    lines = [f"{sample}{_labels(labels)} {_number(value)}" for sample, labels, value in samples]
    if lines:
        yield f"# HELP {name} {text}"
        yield f"# TYPE {name} {kind}"
        yield from lines


def _number(value: float) -> str:
    """A whole number with all its digits: `:g` would round an offset of a million."""
    return str(int(value)) if value == int(value) else repr(float(value))


def _labels(labels: Mapping[str, object]) -> str:
    if not labels:
        return ""
    escaped = (
        (name, str(value).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n"))
        for name, value in labels.items()
    )
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped) + "}"
