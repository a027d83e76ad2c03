"""The simulation of a scenario: its services, switches and faults, at any size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lab.scenarios.scenario import Scenario
from lab.simulation.fleet.parameters import Parameters

if TYPE_CHECKING:
    from lab.load.samples import Sample


class NotCovered(ValueError):
    """The model does not cover this scenario; the message says which part of it."""


@dataclass(frozen=True)
class FleetSpec:
    """The size and the shape of a fleet. The default is the blog itself, at the size of a real run.

    `kind`: blog, shards, chain, tree or graph; `services`: how many services it has in all;
    `width`: shards or callees that one feed needs; `broken`: on how many shards a fault acts.
    """

    kind: str = "blog"
    services: int = 4
    width: int = 1
    broken: int = 1


@dataclass
class SimulatedVariant:
    """One simulated variant, one entry for each request in order of its intended time.

    Arrays of numpy with one length: `intended_s` (float64, seconds), `action` (int8: index into
    `ACTIONS`), `latency_ms` (float64, nan: no answer), `error` (int8: index into `ERRORS`, 0: ok),
    `visible_ms` (float64, nan: never, or not a write), `degraded` (bool).
    `lag`: events before each consumer, as pairs (seconds, events); `counts`: calls by outcome.
    """

    name: str
    intended_s: Any
    action: Any
    latency_ms: Any
    error: Any
    visible_ms: Any
    degraded: Any
    lag: Mapping[str, list[tuple[float, int]]] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    hops: int = 0
    engine_s: float = 0.0

    def samples(self, scenario: Scenario) -> list[Sample]:
        """The requests as samples of a real run, for code that reads those."""
        raise NotImplementedError


@dataclass
class SimulatedRun:
    """A scenario, simulated: its variants by name."""

    scenario: Scenario
    fleet: FleetSpec
    parameters: Parameters
    seed: int
    variants: dict[str, SimulatedVariant]


def why_not_covered(scenario: Scenario) -> str | None:
    """What the model does not cover in a scenario, in a sentence; None if it covers all."""
    raise NotImplementedError


def simulate(
    scenario: Scenario,
    parameters: Parameters,
    seed: int = 7,
    fleet: FleetSpec = FleetSpec(),
) -> SimulatedRun:
    """Simulate every variant of a scenario under one schedule.

    The same seed and version give the same run, bit for bit. Raises NotCovered before it begins.
    """
    raise NotImplementedError
