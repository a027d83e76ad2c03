"""What the model takes from measurements: times, sizes, and the run that they come from.

A simulation is as good as its parameters, so every one of them is measured in a real run of the
lab and carries the machine and the run that it comes from. Times are empirical distributions: the
model draws from what was seen, without assuming a shape.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

POINTS = 201
"""How many quantiles a distribution keeps: every half per cent."""

SHIPPED = Path(__file__).with_name("calibration.json")
"""The parameters that come with the lab."""


class BadParameters(ValueError):
    """A file that holds no parameters; the message says what was seen."""


@dataclass(frozen=True)
class Empirical:
    """An empirical distribution of times in ms: quantiles at equal steps of probability, from the
    smallest sample (probability 0) to the largest (1). `samples`: how many it was made from."""

    quantiles_ms: tuple[float, ...]
    samples: int = 0

    def __post_init__(self) -> None:
        values = self.quantiles_ms
        if not values or values[0] < 0 or any(a > b for a, b in pairwise(values)):
            raise BadParameters("a distribution needs quantiles in rising order, from 0 ms on.")

    @classmethod
    def of(cls, values_ms: Sequence[float], points: int = POINTS) -> Self:
        """The distribution of samples in ms. Raises BadParameters without samples."""
        ordered = sorted(max(0.0, value) for value in values_ms)
        if not ordered:
            raise BadParameters("a distribution needs at least one sample.")
        steps = min(points, len(ordered))
        places = [k * (len(ordered) - 1) / max(1, steps - 1) for k in range(steps)]
        return cls(tuple(round(_between(ordered, place), 4) for place in places), len(ordered))

    @classmethod
    def constant(cls, ms: float) -> Self:
        return cls((ms,))

    @property
    def mean_ms(self) -> float:
        """The mean of what the model draws: quantiles joined by straight lines."""
        values = self.quantiles_ms
        if len(values) == 1:
            return values[0]
        return (sum(values) - (values[0] + values[-1]) / 2) / (len(values) - 1)

    def quantile(self, probability: float) -> float:
        """The value in ms that a share `probability` (0 to 1) of all stays below."""
        return _between(self.quantiles_ms, probability * (len(self.quantiles_ms) - 1))

    def share_up_to(self, ms: float) -> float:
        """The share of the quantiles at or below `ms`."""
        return bisect_right(self.quantiles_ms, ms) / len(self.quantiles_ms)

    def scaled(self, factor: float) -> Empirical:
        scaled = tuple(round(value * factor, 4) for value in self.quantiles_ms)
        return Empirical(scaled, self.samples)


def _between(ordered: Sequence[float], place: float) -> float:
    low = min(int(place), len(ordered) - 1)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


HANDLERS = (
    "posts.create_post",
    "posts.get_post",
    "posts.list_posts",
    "comments.create_comment",
    "comments.list_comments",
    "moderation.judge",
    "query.read_feed",
    "hop.forward",
    "hop.part",
)
"""The handlers whose own time the model needs, as `service.operation`. `sync-chain` runs all of
them; `async-bus` the three that clients call."""


@dataclass(frozen=True)
class Parameters:
    """Everything that the model takes from measurements. Times in ms unless a name says otherwise.

    - `handler_ms`: own time of a handler, by `arrangement/service.operation`: without its wait for
      a worker, without injected delays, without its calls to others.
    - `network_ms`: what a request takes outside of the server's span, there and back together:
      from a `client`, from another `service`, and of a `question` and its reply as events.
    - `publish_ms`: from the commit of a row to the bus's acknowledgement of its event;
      `delivery_ms`: from there until the consumer begins to apply it.
    - `apply_ms`: to apply one event, by `consumer.Event`; `batch_ms`: what each delivery takes on
      top, by consumer (its commit).
    - `restart_ms`: from the start of a killed process until it answers again; `reconnect_ms`: from
      the moment that a bus or a consumer is back until events flow again.
    - `memory_mib`: of one process, by `arrangement` (the mean of its services) and `event-bus`.
    - `together`: the probability with which a time of a request has the rank of the whole request,
      on one machine, where a busy moment slows all its parts; a larger fleet has many machines.
    - `cores`: handlers of one process that compute at the same time (1: the interpreter's lock).
    """

    machine: str
    source: str
    measured: str
    handler_ms: Mapping[str, Empirical]
    network_ms: Mapping[str, Empirical]
    publish_ms: Empirical
    delivery_ms: Empirical
    apply_ms: Mapping[str, Empirical]
    batch_ms: Mapping[str, Empirical]
    restart_ms: Empirical
    reconnect_ms: Empirical
    memory_mib: Mapping[str, float] = field(default_factory=dict)
    workers: int = 8
    ask_timeout_ms: float = 5_000.0
    cores: int = 1
    together: float = 0.0

    def at_pace(self, pace: float) -> Parameters:
        """The parameters of a machine on which everything takes `pace` times as long."""

        def of_all(times: Mapping[str, Empirical]) -> dict[str, Empirical]:
            return {name: one.scaled(pace) for name, one in times.items()}

        return replace(
            self,
            handler_ms=of_all(self.handler_ms),
            network_ms=of_all(self.network_ms),
            apply_ms=of_all(self.apply_ms),
            batch_ms=of_all(self.batch_ms),
            publish_ms=self.publish_ms.scaled(pace),
            delivery_ms=self.delivery_ms.scaled(pace),
            restart_ms=self.restart_ms.scaled(pace),
            reconnect_ms=self.reconnect_ms.scaled(pace),
        )

    def handler(self, arrangement: str, name: str) -> Empirical:
        """The own time of a handler (`posts.get_post`) in an arrangement.

        Raises BadParameters where it was not measured.
        """
        found = self.handler_ms.get(f"{arrangement}/{name}")
        if found is None:
            raise BadParameters(
                f"{self.source}: the run did not call {name} in {arrangement}, so its time is not "
                "known. Take a run with reads, posts and comments, such as `calm`."
            )
        return found

    def to_json(self) -> str:
        """The parameters as JSON, with a newline at the end."""
        return json.dumps(asdict(self), separators=(",", ":")) + "\n"

    @classmethod
    def from_json(cls, text: str, named: str = "the parameters") -> Self:
        """Read what `to_json` wrote. Raises BadParameters."""
        try:
            raw: dict[str, Any] = json.loads(text)
            for key in ("handler_ms", "network_ms", "apply_ms", "batch_ms"):
                raw[key] = {name: _empirical(of) for name, of in raw[key].items()}
            for key in ("publish_ms", "delivery_ms", "restart_ms", "reconnect_ms"):
                raw[key] = _empirical(raw[key])
            return cls(**raw)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BadParameters(
                f"{named}: expected parameters as `lab simulate` keeps them ({error})."
            ) from None


def _empirical(raw: Mapping[str, Any]) -> Empirical:
    return Empirical(tuple(float(value) for value in raw["quantiles_ms"]), int(raw["samples"]))


def shipped_parameters() -> Parameters:
    """The parameters that come with the lab; their machine and run are named in them."""
    return Parameters.from_json(SHIPPED.read_text("utf-8"), str(SHIPPED))
