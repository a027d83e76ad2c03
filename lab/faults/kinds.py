"""Every fault is its settings and one method, as a toxic is in Toxiproxy.

A fault acts on the *process* of its target (it is killed, or suspended: the lab does that from
outside), at its *door*, through which every request and every delivery of events enters, or on the
*bus*, by an event that the lab itself tells. What a fault at the door does to one visitor, it notes
on the visit; what it does to one event of a delivery, it says by its `fate`; the door carries both
out.
"""

import random
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lab.support.text import did_you_mean

CLIENT = "client"
"""A caller who names nobody: people, and the load."""

Fate = Literal["dropped", "doubled", "overtaken"]


@dataclass(slots=True)
class Visit:
    """What is going to happen to one visitor: a request, or a delivery of events."""

    delay_s: float = 0.0
    status: int | None = None
    unanswered: bool = False
    torn_down: bool = False
    because_of: list[str] = field(default_factory=list)


class Fault(BaseModel):
    """Settings that every fault has.

    `probability` is Toxiproxy's toxicity: the share of visitors hit, 0 to 1. `first` hits only
    so many visitors and lets the rest pass.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ClassVar[str]
    acts_on: ClassVar[Literal["door", "process", "bus"]] = "door"
    fate: ClassVar[Fate | None] = None
    says: ClassVar[str]

    target: str
    probability: Annotated[float, Field(ge=0, le=1)] = 1.0
    first: Annotated[int, Field(ge=1)] | None = None

    def concerns(self, caller: str) -> bool:
        """Whether it is meant for visitors from there: a service, `event-bus`, or CLIENT."""
        return self.fate is None

    def act(self, visit: Visit, chance: random.Random) -> None:
        """Note on the visit what becomes of it."""
        raise TypeError(f"{self.kind} does nothing to those who come to the door of {self.target}")

    def settings(self) -> dict[str, Any]:
        """What was set, without the target: `{"ms": 300.0}`."""
        return self.model_dump(exclude={"target"}, exclude_defaults=True, by_alias=True)


class WholeFault(Fault):
    """It is there or it is not: there is no share of anything to hit."""

    probability: Annotated[float, Field(ge=1, le=1)] = 1.0
    first: None = None


class ProcessFault(WholeFault):
    acts_on = "process"


class Down(ProcessFault):
    kind = "down"
    says = "the process is killed; connections are refused until it is started again"


class Hang(ProcessFault):
    kind = "hang"
    says = "the process is suspended; connections are accepted and never answered"


class Latency(Fault):
    kind = "latency"
    says = "everything that enters takes longer, and holds its worker meanwhile"

    ms: Annotated[float, Field(ge=0, le=600_000)]
    jitter_ms: Annotated[float, Field(ge=0, le=600_000)] = 0.0

    def act(self, visit: Visit, chance: random.Random) -> None:
        jitter = chance.uniform(-self.jitter_ms, self.jitter_ms)
        visit.delay_s += max(0.0, self.ms + jitter) / 1_000


class Error(Fault):
    kind = "error"
    says = "an error is answered at the door"

    status: Annotated[int, Field(ge=400, le=599)] = 503

    def act(self, visit: Visit, chance: random.Random) -> None:
        visit.status = self.status


class Timeout(Fault):
    kind = "timeout"
    says = "what enters is taken in and never answered"

    def act(self, visit: Visit, chance: random.Random) -> None:
        visit.unanswered = True


class ResetPeer(Fault):
    kind = "reset_peer"
    says = "the connection is torn down"

    def act(self, visit: Visit, chance: random.Random) -> None:
        visit.torn_down = True


class Partition(Fault):
    kind = "partition"
    says = "what one caller sends does not get through; whatever goes the other way does"

    from_: Annotated[str, Field(alias="from", min_length=1)]

    def concerns(self, caller: str) -> bool:
        return caller == self.from_

    def act(self, visit: Visit, chance: random.Random) -> None:
        visit.unanswered = True


class Drop(Fault):
    kind = "drop"
    fate = "dropped"
    says = "events are lost on their way in"


class Duplicate(Fault):
    kind = "duplicate"
    fate = "doubled"
    says = "events come in twice, one right after the other"


class Reorder(Fault):
    kind = "reorder"
    fate = "overtaken"
    says = "events wait outside until the next one has gone in before them"


class NewVersion(WholeFault):
    """A deployment that nobody told the readers of. Taking it back is a rollback: from then on it
    says what it said before, and what was told meanwhile stays told."""

    kind = "new_version"
    says = "what it says of posts has 2: a field more, 3: a field renamed, 4: both names for it"

    version: Annotated[int, Field(ge=2, le=4)]

    def concerns(self, caller: str) -> bool:
        return False


class Poison(WholeFault):
    """Told once, at the beginning. What is told can't be taken back: that nobody tells another
    one is all there is to heal."""

    kind = "poison"
    acts_on = "bus"
    says = "an event is told that nobody who hears it can digest"

    type: Annotated[str, Field(min_length=1)]


KINDS: dict[str, type[Fault]] = {
    fault.kind: fault
    for fault in (
        *(Down, Hang, Latency, Error, Timeout, ResetPeer),
        *(Partition, Drop, Duplicate, Reorder, Poison, NewVersion),
    )
}


def parse_fault(kind: str, target: str, options: dict[str, Any]) -> Fault:
    """The fault that somebody wrote down.

    Raises ValueError with one sentence that says what was seen and what was probably meant.
    """
    if kind not in KINDS:
        raise ValueError(f"There is no fault {kind!r}. {did_you_mean(kind, KINDS)}")
    fault = KINDS[kind]
    fields = fault.model_fields.items()
    names = [of.alias or name for name, of in fields if name != "target"]
    if issubclass(fault, ProcessFault) and options:
        raise ValueError(f"{kind!r} takes no options: {fault.says}.")
    for name in options:
        if name not in names:
            raise ValueError(f"{kind!r} has no option {name!r}. {did_you_mean(name, names)}")
    try:
        return fault(target=target, **options)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "target"
        if first["type"] == "missing":
            raise ValueError(
                f"{kind!r} needs {name!r}, as in `{name} = …`: {fault.says}."
            ) from None
        if issubclass(fault, WholeFault) and name in ("probability", "first"):
            raise ValueError(f"{kind!r} takes no {name!r}: {fault.says}.") from None
        raise ValueError(
            f"{kind!r} can't have {name} = {first['input']!r}: {first['msg'].lower()}."
        ) from None
