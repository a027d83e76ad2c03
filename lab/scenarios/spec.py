"""The tables of a scenario file: their keys, and the values that each key may have.

This module checks each key alone; `lab.scenarios.scenario` checks whether the keys fit together.
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
SecondsOrZero = Annotated[float, Field(strict=True, ge=0, le=600, allow_inf_nan=False)]
Rate = Annotated[float, Field(strict=True, gt=0, le=1_000, allow_inf_nan=False)]
Weight = Annotated[float, Field(strict=True, ge=0, le=1_000, allow_inf_nan=False)]
Share = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]
Users = Annotated[int, Field(strict=True, ge=1, le=200)]
FollowUp = Literal["comment_at_once", "look_at_once"]
Sentence = Annotated[str, Field(min_length=1, max_length=300)]


Tag = Literal["notes", "chain", "bus", "data", "mitigation", "measuring"]
"""The topic of a scenario: the course's notes, the cost of calls, the bus, the data, mitigations,
measurement."""


class SpecModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LoadSpec(SpecModel):
    """Arrivals per second for each variant, and what they are, by weight.

    `at_once`: what the author of each post does as soon as the post has a 201. `during_rate`:
    arrivals per second in the phase `during`, if different. `retries`: how often a client retries
    a write when it cannot know whether the write was done. `reader_delay_s`: how long the feed has
    shown a post before a reader comments on it. `orange`: the share of comments that `moderation`
    will reject. `settle_s`: how long, after the load, the published events may take to be applied
    everywhere.
    """

    rate: Rate = 20.0
    during_rate: Rate | None = None
    mix: dict[str, Weight] = {"read_feed": 6, "create_post": 1, "create_comment": 3}
    timeout_ms: Annotated[float, Field(strict=True, ge=1, le=60_000, allow_inf_nan=False)] = 2_000
    at_once: tuple[FollowUp, ...] = ()
    retries: Annotated[int, Field(strict=True, ge=0, le=10)] = 0
    reader_delay_s: SecondsOrZero = 2.0
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

    def with_rate(self, rate: float) -> Self:
        """The same load at another rate; `during_rate` changes by the same factor."""
        surge = self.during_rate and self.during_rate * rate / self.rate
        return self.model_copy(update={"rate": rate, "during_rate": surge})


class PhasesSpec(SpecModel):
    """Lengths in seconds. With `each`, the methods act one after another, `between` seconds apart.

    `halve`: whether --quick halves all lengths; false if the effect needs its full time.
    """

    before: Seconds = 3.0
    during: Seconds = 5.0
    after: Seconds = 4.0
    each: Seconds | None = None
    between: SecondsOrZero = 0.0
    halve: Annotated[bool, Field(strict=True)] = True


class MethodSpec(SpecModel):
    """A fault (its kind), its target and its options; begins `at` seconds into `during`."""

    fault: str
    target: str
    options: dict[str, Any] = {}
    at: SecondsOrZero = 0.0
    seconds: Seconds | None = None
    variants: tuple[str, ...] | None = None

    @model_validator(mode="before")
    @classmethod
    def _other_keys_are_options(cls, data: Any) -> Any:
        return _gather_options(data, cls.model_fields)

    @property
    def phase_name(self) -> str:
        """The name of its phase in a sequence, such as "posts down"."""
        return f"{self.target} {self.fault}"

    def to_fault(self) -> Fault:
        """The fault itself. Raises ValueError when the fault does not exist or its options are not
        valid."""
        return parse_fault(self.fault, self.target, self.options)


class VariantSpec(SpecModel):
    """One of the applications that are compared. An empty `arrangement` is the variant's name.

    `may_end`: the services whose process may exit by itself in this experiment; any other such
    exit makes the run invalid. `loop`: how requests arrive. Open: at the times of the schedule.
    Closed: from `users`, each of which sends its next request only after an answer.
    """

    is_own: ClassVar[bool] = True
    """Whether all its services are the lab's own."""

    arrangement: str = ""
    loop: Literal["open", "closed"] = "open"
    users: Users | None = None
    may_end: tuple[str, ...] = ()
    options: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _other_keys_are_options(cls, data: Any) -> Any:
        return _gather_options(data, cls.model_fields)

    @model_validator(mode="after")
    def _users_wait(self) -> Self:
        if self.users and self.loop == "open":
            raise ValueError('users: an open loop has no users. Add loop = "closed".')
        return self

    @property
    def base_arrangement(self) -> Arrangement | None:
        """The arrangement before the options change it; None if there is no such arrangement."""
        return ARRANGEMENTS.get(self.arrangement)

    def why_impossible(self, fault: Fault) -> str | None:
        """Why a fault can't act where this variant runs, in a sentence; None if it can."""
        return None

    @property
    def closed_loop_users(self) -> int | None:
        """The number of users in a closed loop; None in an open one."""
        return (self.users or 1) if self.loop == "closed" else None

    @property
    def loop_options(self) -> dict[str, Any]:
        """The keys of a closed loop, for the result; empty for an open one."""
        users = self.closed_loop_users
        return {"loop": self.loop, "users": users} if users else {}


class ForeignOpenSpec(SpecModel):
    """The service `who` tries to open the database of the service `into`; it must be refused."""

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


class HistorySpec(SpecModel):
    """How many events were published before the run, by a system that no longer exists."""

    events: Annotated[int, Field(strict=True, ge=1, le=500_000)]


class NewcomerSpec(SpecModel):
    """A second replica of a service, started with an empty database `at` seconds into `during`."""

    service: str
    at: SecondsOrZero = 0.0


class ExpectationSpec(SpecModel):
    """A sentence, the claim that it tests, and the expression that decides it."""

    says: Sentence
    that: str
    claim: str | None = None


class PredictionSpec(SpecModel):
    """A prediction of theory (`predicted`, by an oracle) for a measured figure (`measured`).

    Both are expressions. They agree if the measurement lies in the interval of the prediction:
    chance, the machine's noise, and the share `within` for what the formula leaves out. `because`:
    why it may lie outside.
    """

    says: Sentence
    predicted: str
    measured: str
    within: Annotated[float, Field(strict=True, gt=0, le=10, allow_inf_nan=False)] = 0.1
    because: Annotated[str, Field(max_length=500)] = ""

    @property
    def expressions(self) -> tuple[str, str]:
        return self.predicted, self.measured


class AnswerRowSpec(SpecModel):
    """A row of the answer: a count of each variant, by its path without the variant
    (`data.unsettled`, `lag.query.max`). `good`: whether fewer or more of it is better."""

    label: Annotated[str, Field(min_length=1, max_length=40)]
    figure: str
    good: Literal["low", "high"] = "low"


class AnswerLineSpec(SpecModel):
    """A line at the top of the answer. `says`: the words before the figure, as in "the feed comes
    after". `figure`: a path without the variant (`during.read_feed.p50`); `*` in place of the phase
    takes all phases together. `good`: whether less or more of it is better."""

    says: Annotated[str, Field(min_length=1, max_length=60)]
    figure: str
    good: Literal["low", "high"] = "low"


class AnswerSpec(SpecModel):
    """What the answer says besides its figures. `better` decides which variant is better off,
    `price` what this costs it. In `why` and `catch`, `{sync-chain.during.read_feed.p50}` stands for
    this figure of the run. `next`: the name of the next scenario, and a few words about it."""

    better: AnswerLineSpec | None = None
    price: AnswerLineSpec | None = None
    why: Annotated[str, Field(max_length=400)] = ""
    catch: Annotated[str, Field(max_length=400)] = ""
    next: Annotated[str, Field(max_length=80)] = ""
    rows: Annotated[tuple[AnswerRowSpec, ...], Field(max_length=4)] = ()


Measure = Literal["reads", "posts", "comments", "fresh"]


class BetSpec(SpecModel):
    """A question that the room answers before the next fault of `lab live`.

    Either two to four `answers`, or `measure`: what decides it. The answers are then the left
    variant, the right one, both, neither: where reads, posts or comments succeed, or where the feed
    is up to date (`fresh`)."""

    question: Sentence
    answers: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=80)], ...], Field(max_length=4)
    ] = ()
    measure: Measure | None = None

    @model_validator(mode="after")
    def _has_answers(self) -> Self:
        if self.measure and self.answers:
            raise ValueError("`measure` has its own answers. Remove `answers`, or `measure`.")
        if not self.measure and len(self.answers) < 2:
            raise ValueError("a bet needs two to four `answers`, or `measure`.")
        if len(set(self.answers)) < len(self.answers):
            raise ValueError("two of the `answers` are the same.")
        return self


def _gather_options(data: Any, known: Mapping[str, Any]) -> Any:
    """Move the keys that are not `known` into `options`, where they are checked later."""
    if not isinstance(data, Mapping) or isinstance(data.get("options"), dict):
        return data
    options = {key: value for key, value in data.items() if key not in known or key == "options"}
    return {**{key: data[key] for key in data if key not in options}, "options": options}
