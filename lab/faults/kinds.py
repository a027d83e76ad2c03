"""The kinds of faults: the one table from which checks, help texts, schema and docs are made.

Each kind is a class with its options and one method, as a toxic is in Toxiproxy. A fault acts on
the *process* of its target, which the lab kills or suspends from outside; at its *door*, the fault
filter that every request and every delivery of events passes; or on the *bus*, to which the lab
publishes an event. In the fault filter, a fault's `act` records its effect on one request, and its
`event_effect` names its effect on one event; the filter applies both.
"""

import random
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from lab.support.text import did_you_mean

CLIENT = "client"
"""The caller of a request without the header `Lab-Caller`: people, and the load."""

EventEffect = Literal["dropped", "doubled", "overtaken"]

Visitor = Literal["request", "delivery", "event"]
"""What meets a fault: a request, a delivery of events as a whole, or each event in it."""


@dataclass(slots=True)
class Effect:
    """The effect of the active faults on one request, or on one delivery of events.

    `delays_s`: the parts of `delay_s`, by the fault's name.
    """

    delay_s: float = 0.0
    delays_s: dict[str, float] = field(default_factory=dict)
    status: int | None = None
    unanswered: bool = False
    connection_reset: bool = False
    fault_names: list[str] = field(default_factory=list)


class Fault(BaseModel):
    """A fault on one target. Its fields, apart from `target`, are its options.

    `description` completes "latency: …"; `state` completes "comments …" while the fault acts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ClassVar[str]
    acts_on: ClassVar[Literal["door", "process", "bus"]] = "door"
    event_effect: ClassVar[EventEffect | None] = None
    description: ClassVar[str]
    state: ClassVar[str]

    target: str
    probability: Annotated[
        float, Field(ge=0, le=1, description="share of requests or events to hit, 0 to 1")
    ] = 1.0
    first: Annotated[
        Annotated[int, Field(ge=1)] | None, Field(description="hit only the first N")
    ] = None

    def applies_to(self, caller: str) -> bool:
        """Whether it applies to requests from `caller`: a service, `event-bus`, or CLIENT."""
        return self.event_effect is None

    def meets(self, visitor: Visitor) -> bool:
        """Whether it acts on visitors of this kind."""
        return visitor != "event"

    def act(self, effect: Effect, rng: random.Random) -> None:
        """Record the effect on a request. Raises TypeError for a fault that does not act on any."""
        raise TypeError(f"{self.kind} has no effect on requests to {self.target}")

    def settings(self) -> dict[str, Any]:
        """What was set, without the target, switches last: `{"ms": 300.0}`."""
        given = self.model_dump(exclude={"target"}, exclude_defaults=True, by_alias=True)
        return dict(sorted(given.items(), key=lambda option: option[1] is True))

    @classmethod
    def options(cls) -> dict[str, FieldInfo]:
        """The options of this kind, by the name that people write (`from`, not `from_`)."""
        fields = cls.model_fields.items()
        return {info.alias or name: info for name, info in fields if name != "target"}


class RequestFault(Fault):
    """A fault on requests and deliveries. With `per_event`, each event of a delivery meets it by
    itself, as each request does: the same dose on both sides."""

    per_event: Annotated[
        bool, Field(description="hit each event of a delivery by itself, as each request")
    ] = False

    def meets(self, visitor: Visitor) -> bool:
        return visitor == "request" or (visitor == "event") == self.per_event


class AllOrNothingFault(Fault):
    """A fault that acts on everything or is not active; it cannot hit a share."""

    probability: Annotated[float, Field(ge=1, le=1)] = 1.0
    first: None = None

    @classmethod
    def options(cls) -> dict[str, FieldInfo]:
        shares = ("probability", "first")
        return {name: info for name, info in super().options().items() if name not in shares}


class ProcessFault(AllOrNothingFault):
    acts_on = "process"


class DownFault(ProcessFault):
    kind = "down"
    description = "the process is killed; connections are refused until it is started again"
    state = "is down"


class HangFault(ProcessFault):
    kind = "hang"
    description = "the process is suspended; connections are accepted and never answered"
    state = "hangs"


class LatencyFault(RequestFault):
    kind = "latency"
    description = "each request or delivery takes longer, and occupies a worker meanwhile"
    state = "is slow"

    ms: Annotated[float, Field(ge=0, le=600_000, description="added delay, in ms")]
    jitter_ms: Annotated[
        float, Field(ge=0, le=600_000, description="the delay varies by up to this, in ms")
    ] = 0.0

    def act(self, effect: Effect, rng: random.Random) -> None:
        jitter = rng.uniform(-self.jitter_ms, self.jitter_ms)
        effect.delay_s += max(0.0, self.ms + jitter) / 1_000


class ErrorFault(RequestFault):
    kind = "error"
    description = "the response is an error, and the service does nothing"
    state = "answers with errors"

    status: Annotated[int, Field(ge=400, le=599, description="HTTP status of the error (503)")] = (
        503
    )

    def act(self, effect: Effect, rng: random.Random) -> None:
        effect.status = self.status


class TimeoutFault(RequestFault):
    kind = "timeout"
    description = "requests are accepted and never answered"
    state = "never answers"

    def act(self, effect: Effect, rng: random.Random) -> None:
        effect.unanswered = True


class ResetPeerFault(RequestFault):
    kind = "reset_peer"
    description = "the connection is reset"
    state = "resets connections"

    def act(self, effect: Effect, rng: random.Random) -> None:
        effect.connection_reset = True


class PartitionFault(Fault):
    kind = "partition"
    description = "what one caller sends does not arrive; the other direction works"
    state = "is cut off"

    from_: Annotated[
        str, Field(alias="from", min_length=1, description="the caller that is cut off")
    ]

    def applies_to(self, caller: str) -> bool:
        return caller == self.from_

    def act(self, effect: Effect, rng: random.Random) -> None:
        effect.unanswered = True


class DropFault(Fault):
    kind = "drop"
    event_effect = "dropped"
    description = "events are lost on their way to the service"
    state = "loses events"


class DuplicateFault(Fault):
    kind = "duplicate"
    event_effect = "doubled"
    description = "events arrive twice, the second directly after the first"
    state = "gets events twice"


class ReorderFault(Fault):
    kind = "reorder"
    event_effect = "overtaken"
    description = "an event is held back until the next one has arrived"
    state = "gets events out of order"


class PoisonFault(AllOrNothingFault):
    """Published once, when the fault begins.

    A published event cannot be taken back. Removing the fault only means that no further event is
    published.
    """

    kind = "poison"
    acts_on = "bus"
    description = "an event is published that no consumer can apply"
    state = "carries a poison event"

    type: Annotated[
        str, Field(min_length=1, description="type of the event, such as CommentCreated")
    ]


class NewVersionFault(AllOrNothingFault):
    """A deployment of a new schema version, unannounced to the consumers.

    Removing the fault is a rollback: new payloads have the old schema again, and events published
    meanwhile keep the new one.
    """

    kind = "new_version"
    description = (
        "posts are sent in another schema: 2 adds a field, 3 renames one, 4 has both names"
    )
    state = "speaks a new version"

    version: Annotated[int, Field(ge=2, le=4, description="version of the schema: 2, 3 or 4")]

    def applies_to(self, caller: str) -> bool:
        return False


KINDS: dict[str, type[Fault]] = {
    fault.kind: fault
    for fault in (
        DownFault,
        HangFault,
        LatencyFault,
        ErrorFault,
        TimeoutFault,
        ResetPeerFault,
        PartitionFault,
        DropFault,
        DuplicateFault,
        ReorderFault,
        PoisonFault,
        NewVersionFault,
    )
}


_OTHER_WORDS = {
    **dict.fromkeys(("kill", "crash", "stop", "dead"), "down"),
    **dict.fromkeys(("slow", "delay", "lag"), "latency"),
    **dict.fromkeys(("freeze", "pause", "suspend", "stall"), "hang"),
    **dict.fromkeys(("fail", "http_error", "500", "503"), "error"),
    **dict.fromkeys(("reset", "disconnect"), "reset_peer"),
    **dict.fromkeys(("isolate", "split", "cut"), "partition"),
    **dict.fromkeys(("lose", "loss"), "drop"),
}
"""What people call a fault elsewhere, and its name here."""


def unknown_kind(kind: str) -> str:
    """A sentence about a kind that does not exist, with the one that was probably meant."""
    meant = _OTHER_WORDS.get(kind.lower().replace("-", "_"))
    hint = f"Did you mean {meant!r}?" if meant else did_you_mean(kind, KINDS)
    return f"There is no fault {kind!r}. {hint}"


def describe_options() -> dict[str, str]:
    """What each option does and which kinds take it: `{"ms": "latency: added delay, in ms"}`."""
    takers: dict[str, list[str]] = {}
    hints: dict[str, str] = {}
    for kind, fault in KINDS.items():
        for name, info in fault.options().items():
            takers.setdefault(name, []).append(kind)
            hints[name] = info.description or ""
    return {name: f"{', '.join(kinds)}: {hints[name]}" for name, kinds in takers.items()}


def parse_fault(kind: str, target: str, options: dict[str, Any]) -> Fault:
    """The fault of a kind, with its options.

    Raises ValueError with one sentence: what was seen, and what was probably intended.
    """
    if kind not in KINDS:
        raise ValueError(unknown_kind(kind))
    fault_class = KINDS[kind]
    known = fault_class.options()
    for name in options:
        if name in known:
            continue
        if not known:
            raise ValueError(f"{kind!r} takes no options: {fault_class.description}.")
        if name in Fault.options():
            raise ValueError(f"{kind!r} takes no {name!r}: {fault_class.description}.")
        raise ValueError(f"{kind!r} has no option {name!r}. {did_you_mean(name, known)}")
    try:
        return fault_class(target=target, **options)
    except ValidationError as error:
        detail = error.errors()[0]
        name = str(detail["loc"][0]) if detail["loc"] else "target"
        if detail["type"] == "missing":
            raise ValueError(f"{kind!r} needs {name!r} ({known[name].description}).") from None
        raise ValueError(
            f"{kind!r} can't have {name} = {detail['input']!r}: {detail['msg'].lower()}."
        ) from None
