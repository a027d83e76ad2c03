"""The kinds of faults. Each is its settings and one method, as a toxic is in Toxiproxy.

A fault acts on the *process* of its target, which the lab kills or suspends from outside; at its
*door*, the fault filter that every request and every delivery of events passes; or on the *bus*, to
which the lab publishes an event. At the fault filter, a fault's `act` records its effect on one
request, and its `fate` names its effect on one event; the filter applies both.
"""

import random
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lab.support.text import did_you_mean

CLIENT = "client"
"""The caller of a request without the header `Lab-Caller`: people, and the load."""

EventEffect = Literal["dropped", "doubled", "overtaken"]


@dataclass(slots=True)
class Effect:
    """The effect of the active faults on one request, or on one delivery of events."""

    delay_s: float = 0.0
    status: int | None = None
    unanswered: bool = False
    connection_reset: bool = False
    fault_names: list[str] = field(default_factory=list)


class Fault(BaseModel):
    """The settings that every fault has.

    `probability` is Toxiproxy's toxicity: the share of requests or events to hit, 0 to 1. A fault
    with `first` stops after that many hits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ClassVar[str]
    acts_on: ClassVar[Literal["door", "process", "bus"]] = "door"
    event_effect: ClassVar[EventEffect | None] = None
    description: ClassVar[str]

    target: str
    probability: Annotated[float, Field(ge=0, le=1)] = 1.0
    first: Annotated[int, Field(ge=1)] | None = None

    def applies_to(self, caller: str) -> bool:
        """Whether it applies to requests from `caller`: a service, `event-bus`, or CLIENT."""
        return self.event_effect is None

    def act(self, effect: Effect, rng: random.Random) -> None:
        """Record the effect in `visit`. Raises TypeError for a fault without effect on requests."""
        raise TypeError(f"{self.kind} does nothing to those who come to the door of {self.target}")

    def settings(self) -> dict[str, Any]:
        """What was set, without the target: `{"ms": 300.0}`."""
        return self.model_dump(exclude={"target"}, exclude_defaults=True, by_alias=True)


class AllOrNothingFault(Fault):
    """A fault that acts on everything or is not active; it cannot hit a share."""

    probability: Annotated[float, Field(ge=1, le=1)] = 1.0
    first: None = None


class ProcessFault(AllOrNothingFault):
    acts_on = "process"


class DownFault(ProcessFault):
    kind = "down"
    description = "the process is killed; connections are refused until it is started again"


class HangFault(ProcessFault):
    kind = "hang"
    description = "the process is suspended; connections are accepted and never answered"


class LatencyFault(Fault):
    kind = "latency"
    description = "everything that enters takes longer, and holds its worker meanwhile"

    ms: Annotated[float, Field(ge=0, le=600_000)]
    jitter_ms: Annotated[float, Field(ge=0, le=600_000)] = 0.0

    def act(self, effect: Effect, rng: random.Random) -> None:
        jitter = rng.uniform(-self.jitter_ms, self.jitter_ms)
        effect.delay_s += max(0.0, self.ms + jitter) / 1_000


class ErrorFault(Fault):
    kind = "error"
    description = "an error is answered at the door"

    status: Annotated[int, Field(ge=400, le=599)] = 503

    def act(self, effect: Effect, rng: random.Random) -> None:
        effect.status = self.status


class TimeoutFault(Fault):
    kind = "timeout"
    description = "what enters is taken in and never answered"

    def act(self, effect: Effect, rng: random.Random) -> None:
        effect.unanswered = True


class ResetPeerFault(Fault):
    kind = "reset_peer"
    description = "the connection is torn down"

    def act(self, effect: Effect, rng: random.Random) -> None:
        effect.connection_reset = True


class PartitionFault(Fault):
    kind = "partition"
    description = "what one caller sends does not get through; whatever goes the other way does"

    from_: Annotated[str, Field(alias="from", min_length=1)]

    def applies_to(self, caller: str) -> bool:
        return caller == self.from_

    def act(self, effect: Effect, rng: random.Random) -> None:
        effect.unanswered = True


class DropFault(Fault):
    kind = "drop"
    event_effect = "dropped"
    description = "events are lost on their way in"


class DuplicateFault(Fault):
    kind = "duplicate"
    event_effect = "doubled"
    description = "events come in twice, one right after the other"


class ReorderFault(Fault):
    kind = "reorder"
    event_effect = "overtaken"
    description = "events wait outside until the next one has gone in before them"


class NewVersionFault(AllOrNothingFault):
    """A deployment of a new schema version, unannounced to the consumers.

    Removing the fault is a rollback: new payloads have the old schema again, and events published
    meanwhile keep the new one.
    """

    kind = "new_version"
    description = (
        "what it says of posts has 2: a field more, 3: a field renamed, 4: both names for it"
    )

    version: Annotated[int, Field(ge=2, le=4)]

    def applies_to(self, caller: str) -> bool:
        return False


class PoisonFault(AllOrNothingFault):
    """Published once, when the fault begins.

    A published event cannot be taken back. Removing the fault only means that no further event is
    published.
    """

    kind = "poison"
    acts_on = "bus"
    description = "an event is told that nobody who hears it can digest"

    type: Annotated[str, Field(min_length=1)]


KINDS: dict[str, type[Fault]] = {
    fault.kind: fault
    for fault in (
        *(DownFault, HangFault, LatencyFault, ErrorFault, TimeoutFault, ResetPeerFault),
        *(PartitionFault, DropFault, DuplicateFault, ReorderFault, PoisonFault, NewVersionFault),
    )
}


def parse_fault(kind: str, target: str, options: dict[str, Any]) -> Fault:
    """The fault of a kind, with its options.

    Raises ValueError with one sentence: what was seen, and what was probably intended.
    """
    if kind not in KINDS:
        raise ValueError(f"There is no fault {kind!r}. {did_you_mean(kind, KINDS)}")
    fault_class = KINDS[kind]
    fields = fault_class.model_fields.items()
    names = [info.alias or name for name, info in fields if name != "target"]
    if issubclass(fault_class, ProcessFault) and options:
        raise ValueError(f"{kind!r} takes no options: {fault_class.description}.")
    for name in options:
        if name not in names:
            raise ValueError(f"{kind!r} has no option {name!r}. {did_you_mean(name, names)}")
    try:
        return fault_class(target=target, **options)
    except ValidationError as error:
        detail = error.errors()[0]
        name = str(detail["loc"][0]) if detail["loc"] else "target"
        if detail["type"] == "missing":
            raise ValueError(
                f"{kind!r} needs {name!r}, as in `{name} = …`: {fault_class.description}."
            ) from None
        if issubclass(fault_class, AllOrNothingFault) and name in ("probability", "first"):
            raise ValueError(f"{kind!r} takes no {name!r}: {fault_class.description}.") from None
        raise ValueError(
            f"{kind!r} can't have {name} = {detail['input']!r}: {detail['msg'].lower()}."
        ) from None
