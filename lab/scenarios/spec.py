"""The parts of a scenario file: its tables, key by key, with what each may hold.

What is checked here is one key at a time; whether the keys make sense together is for
`lab.scenarios.scenario` to say.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from lab.cluster.arrangements import ARRANGEMENTS, Arrangement
from lab.domain.services import SERVICES
from lab.faults.kinds import Fault, parse_fault
from lab.results.result import ENDPOINTS
from lab.support.text import did_you_mean

Seconds = Annotated[float, Field(strict=True, gt=0, le=600, allow_inf_nan=False)]
NoSeconds = Annotated[float, Field(strict=True, ge=0, le=600, allow_inf_nan=False)]
Rate = Annotated[float, Field(strict=True, gt=0, le=1_000, allow_inf_nan=False)]
Weight = Annotated[float, Field(strict=True, ge=0, le=1_000, allow_inf_nan=False)]
Share = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]
Users = Annotated[int, Field(strict=True, ge=1, le=200)]
AtOnce = Literal["comment_at_once", "look_at_once"]
Line = Annotated[str, Field(min_length=1, max_length=300)]


Tag = Literal["notes", "chain", "bus", "data", "mitigation", "measuring"]
"""What a scenario is about: the course's notes, what asking costs, what the bus does, what becomes
of the data, what helps, how to measure."""


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LoadSpec(Strict):
    """Arrivals per second for each variant, and what they are, by weight.

    `at_once`: what follows each post the moment its author has the 201. `during_rate`: arrivals
    per second in the phase `during`, where they are others. `retries`: how often a client sends a
    write again of which it can't know whether it was done. `reader_delay_s`: how long the feed has
    shown a post before a reader comments on it. `orange`: the share of comments that
    moderation will reject. `settle_s`: how long, when nothing more is asked for, all that was told
    may take to arrive everywhere.
    """

    rate: Rate = 20.0
    during_rate: Rate | None = None
    mix: dict[str, Weight] = {"read_feed": 6, "create_post": 1, "create_comment": 3}
    timeout_ms: Annotated[float, Field(strict=True, ge=1, le=60_000, allow_inf_nan=False)] = 2_000
    at_once: tuple[AtOnce, ...] = ()
    retries: Annotated[int, Field(strict=True, ge=0, le=10)] = 0
    reader_delay_s: NoSeconds = 2.0
    orange: Share = 0.1
    settle_s: Seconds = 10.0

    @field_validator("mix")
    @classmethod
    def _only_what_a_client_may_ask(cls, mix: dict[str, float]) -> dict[str, float]:
        for name in mix:
            if name not in ENDPOINTS:
                raise ValueError(f"there is no {name!r}. {did_you_mean(name, ENDPOINTS)}")
        if not sum(mix.values()):
            raise ValueError("every weight is 0, so nothing would be sent. Give one a weight.")
        return mix

    def at(self, rate: float) -> Self:
        """The same load at another rate; a surge stays as many times as much."""
        surge = self.during_rate and self.during_rate * rate / self.rate
        return self.model_copy(update={"rate": rate, "during_rate": surge})


class PhasesSpec(Strict):
    """Seconds. With `each`, the methods come one after another, `between` seconds apart.

    `halve`: whether --quick takes half of it all; false where the effect needs its time.
    """

    before: Seconds = 3.0
    during: Seconds = 5.0
    after: Seconds = 4.0
    each: Seconds | None = None
    between: NoSeconds = 0.0
    halve: Annotated[bool, Field(strict=True)] = True


class Method(Strict):
    """A fault (its kind), its target and its options; begins `at` seconds into `during`."""

    fault: str
    target: str
    options: dict[str, Any] = {}
    at: NoSeconds = 0.0
    seconds: Seconds | None = None
    variants: tuple[str, ...] | None = None

    @model_validator(mode="before")
    @classmethod
    def _other_keys_are_options(cls, data: Any) -> Any:
        return _gather(data, cls.model_fields)

    @property
    def phase_name(self) -> str:
        """What its phase is called in a sequence: "posts down"."""
        return f"{self.target} {self.fault}"

    def parsed(self) -> Fault:
        """The fault itself; ValueError, in a sentence, when its options make none."""
        return parse_fault(self.fault, self.target, self.options)


class VariantSpec(Strict):
    """One of the applications that are compared. An empty `arrangement` is the variant's name.

    `may_end`: whose process may end by itself in this experiment; anybody else's end by itself
    makes the run invalid. `loop`: who asks it. Open: whoever comes, when the schedule says.
    Closed: so many `users`, each of whom asks again only when answered.
    """

    ours: ClassVar[bool] = True
    """Whether all its services are the lab's own."""

    arrangement: str = ""
    loop: Literal["open", "closed"] = "open"
    users: Users | None = None
    may_end: tuple[str, ...] = ()
    options: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _other_keys_are_options(cls, data: Any) -> Any:
        return _gather(data, cls.model_fields)

    @model_validator(mode="after")
    def _users_wait(self) -> Self:
        if self.users and self.loop == "open":
            raise ValueError('users: in an open loop nobody counts them. Add loop = "closed".')
        return self

    @property
    def made_of(self) -> Arrangement | None:
        """The arrangement, before its options have changed it; None where there is none such."""
        return ARRANGEMENTS.get(self.arrangement)

    @property
    def in_the_loop(self) -> int | None:
        """How many ask in a closed loop; None in an open one."""
        return (self.users or 1) if self.loop == "closed" else None

    @property
    def loop_as_set(self) -> dict[str, Any]:
        """The keys of a closed loop, for those who read the result."""
        users = self.in_the_loop
        return {"loop": self.loop, "users": users} if users else {}


class ReachIn(Strict):
    """One service sent to open the database of another one, `into`: it has to be refused."""

    who: str
    into: str

    @model_validator(mode="after")
    def _are_two_services(self) -> Self:
        for name in (self.who, self.into):
            if name not in SERVICES:
                raise ValueError(f"there is no service {name!r}. {did_you_mean(name, SERVICES)}")
        if self.who == self.into:
            raise ValueError(f"{self.who} may open its own database. Name two services.")
        return self


class HistorySpec(Strict):
    """How many events were told before the run, by a system that is gone."""

    events: Annotated[int, Field(strict=True, ge=1, le=500_000)]


class NewcomerSpec(Strict):
    """A second one of a service, started with nothing, `at` seconds into `during`."""

    service: str
    at: NoSeconds = 0.0


class Expect(Strict):
    """A sentence, the claim it bears on, and the expression that decides it."""

    says: Line
    that: str
    claim: str | None = None


class Predict(Strict):
    """What theory says (`predicted`, by an oracle) of what is `measured`: two expressions.

    They should agree `within` that share of the prediction. Where they can't, `because` says why.
    """

    says: Line
    predicted: str
    measured: str
    within: Annotated[float, Field(strict=True, gt=0, le=10, allow_inf_nan=False)] = 0.1
    because: Annotated[str, Field(max_length=500)] = ""

    @property
    def both(self) -> tuple[str, str]:
        return self.predicted, self.measured


def _gather(data: Any, known: Mapping[str, Any]) -> Any:
    """Keys that aren't `known` put together under `options`, where they can be asked about."""
    if not isinstance(data, Mapping) or isinstance(data.get("options"), dict):
        return data
    options = {key: value for key, value in data.items() if key not in known or key == "options"}
    return {**{key: data[key] for key in data if key not in options}, "options": options}
