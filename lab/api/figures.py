"""The figures of a result, by name: `result["sync-chain"].phase("during")["read_feed"].p99`.

Asked of the whole result, the same path gives every variant's figure side by side:
`result.phase("during")["read_feed"].p99` is `{"sync-chain": 312.4, "async-bus": 2.9}`.

Latencies are milliseconds from the moment a request was *due*, and of good answers only;
`success` is a share from 0 to 1. What was not measured is None, never 0.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lab.meant import did_you_mean
from lab.scenarios.result import Data, Endpoint, Variant, Visible


class NoSuchFigure(LookupError):
    """A name that leads nowhere in this result; the message says what was probably meant."""

    def __str__(self) -> str:
        return str(self.args[0])


def _figure(says: str, of: Callable[[Endpoint], Any]) -> property:
    def get(self: "Requests") -> Any:
        return self._each(of)

    return property(get, doc=says)


class Requests:
    """One kind of request in one phase: of one variant a figure each, of several one for each."""

    def __init__(self, endpoints: Mapping[str, Endpoint], one: bool) -> None:
        self._endpoints, self._one = endpoints, one

    sent = _figure("How many were sent.", lambda of: of.sent)
    ok = _figure("How many of them were answered well.", lambda of: of.ok)
    failed = _figure("How many of them were not.", lambda of: of.failed)
    late = _figure("How many left more than they may after they were due.", lambda of: of.late)
    dropped = _figure("How many could not be sent at all.", lambda of: of.dropped)
    success = _figure("ok / sent, from 0 to 1; None when none was sent.", lambda of: of.success)
    errors = _figure("By kind of failure, how many: `{'timeout': 3}`.", lambda of: of.errors)
    p50 = _figure("Median latency of the good answers, ms.", lambda of: of.latency_ms.p50)
    p90 = _figure("90th percentile (nearest rank) of it, ms.", lambda of: of.latency_ms.p90)
    p95 = _figure("95th percentile of it, ms.", lambda of: of.latency_ms.p95)
    p99 = _figure(
        "99th percentile of it, ms; of few it is the slowest.", lambda of: of.latency_ms.p99
    )
    max = _figure("The slowest good answer, ms.", lambda of: of.latency_ms.max)
    mean = _figure("Mean latency of the good answers, ms.", lambda of: of.latency_ms.mean)
    failed_after_p50 = _figure(
        "Median time from due to failure, ms.", lambda of: of.failed_after_ms.p50
    )
    visible_p50 = _figure(
        "Writes: median time until the feed showed it, ms.",
        lambda of: (of.visible_ms or Visible()).p50,
    )
    visible_p99 = _figure(
        "Writes: 99th percentile of that time, ms.", lambda of: (of.visible_ms or Visible()).p99
    )
    never_visible = _figure("Writes the feed never showed.", lambda of: of.never_visible)

    def _each(self, of: Callable[[Endpoint], Any]) -> Any:
        values = {name: of(endpoint) for name, endpoint in self._endpoints.items()}
        return next(iter(values.values())) if self._one else values

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)}" for name in ("success", "p50", "p99"))
        return f"<{shown}; latencies in ms>"


class PhaseOf(Mapping[str, Requests]):
    """One phase: its kinds of requests by name, `read_feed`, `create_post`, `create_comment`."""

    def __init__(self, name: str, variants: Mapping[str, Variant], one: bool) -> None:
        self.name, self._variants, self._one = name, variants, one

    @property
    def seconds(self) -> float:
        """How long it was."""
        return next(iter(self._variants.values())).phases[self.name].seconds

    def __getitem__(self, endpoint: str) -> Requests:
        found = {
            name: of.phases[self.name].endpoints[endpoint]
            for name, of in self._variants.items()
            if endpoint in of.phases[self.name].endpoints
        }
        if not found:
            raise NoSuchFigure(f"No {endpoint!r} was sent in it. {did_you_mean(endpoint, self)}")
        return Requests(found, self._one)

    def __iter__(self) -> Iterator[str]:
        every = (of.phases[self.name].endpoints for of in self._variants.values())
        return iter(dict.fromkeys(name for endpoints in every for name in endpoints))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __repr__(self) -> str:
        return f"<phase {self.name!r}: {', '.join(self)}>"


class Side:
    """One variant of a result. `recovery_seconds`: from the fault's end to good answers again."""

    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        self.name, self.arrangement = variant.name, variant.arrangement

    @property
    def data(self) -> Data | None:
        """What became of the writes, in numbers of writes; None when it could not be checked."""
        return self.variant.data

    @property
    def recovery_seconds(self) -> float | None:
        """Seconds; None when it was not hurt, or never recovered while it was watched."""
        return self.variant.recovery_seconds

    @property
    def phases(self) -> tuple[str, ...]:
        """The names of the phases, in order."""
        return tuple(self.variant.phases)

    def phase(self, name: str) -> PhaseOf:
        """One phase by its name. Raises NoSuchFigure."""
        return phase_of(name, {self.name: self.variant}, one=True)

    def __repr__(self) -> str:
        return f"<{self.name}: {', '.join(self.phases)}>"


def phase_of(name: str, variants: Mapping[str, Variant], one: bool = False) -> PhaseOf:
    """The phase of that name of those variants that had it. Raises NoSuchFigure."""
    found = {key: of for key, of in variants.items() if name in of.phases}
    if not found:
        known = dict.fromkeys(phase for of in variants.values() for phase in of.phases)
        raise NoSuchFigure(f"There was no phase {name!r}. {did_you_mean(name, known)}")
    return PhaseOf(name, found, one)
