"""The parts of a scenario file: its tables, key by key, with what each may hold.

What is checked here is one key at a time; whether the keys make sense together is for
`lab.scenarios.scenario` to say.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from lab.faults.kinds import Fault, parse_fault
from lab.scenarios.figures import did_you_mean
from lab.scenarios.result import ENDPOINTS

Seconds = Annotated[float, Field(strict=True, gt=0, le=600, allow_inf_nan=False)]
NoSeconds = Annotated[float, Field(strict=True, ge=0, le=600, allow_inf_nan=False)]
Weight = Annotated[float, Field(strict=True, ge=0, le=1_000, allow_inf_nan=False)]
AtOnce = Literal["comment_at_once", "look_at_once"]
Line = Annotated[str, Field(min_length=1, max_length=300)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LoadSpec(Strict):
    """Arrivals per second for each variant, and what they are, by weight.

    `at_once`: what follows each post the moment its author has the 201.
    """

    rate: Annotated[float, Field(strict=True, gt=0, le=1_000, allow_inf_nan=False)] = 20.0
    mix: dict[str, Weight] = {"read_feed": 6, "create_post": 1, "create_comment": 3}
    timeout_ms: Annotated[float, Field(strict=True, ge=1, le=60_000, allow_inf_nan=False)] = 2_000
    at_once: tuple[AtOnce, ...] = ()

    @field_validator("mix")
    @classmethod
    def _only_what_a_client_may_ask(cls, mix: dict[str, float]) -> dict[str, float]:
        for name in mix:
            if name not in ENDPOINTS:
                raise ValueError(f"there is no {name!r}. {did_you_mean(name, ENDPOINTS)}")
        if not sum(mix.values()):
            raise ValueError("every weight is 0, so nothing would be sent. Give one a weight.")
        return mix


class PhasesSpec(Strict):
    """Seconds. With `each`, the methods come one after another, `between` seconds apart."""

    before: Seconds = 3.0
    during: Seconds = 5.0
    after: Seconds = 4.0
    each: Seconds | None = None
    between: NoSeconds = 0.0


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
    makes the run invalid.
    """

    arrangement: str = ""
    may_end: tuple[str, ...] = ()
    options: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _other_keys_are_options(cls, data: Any) -> Any:
        return _gather(data, cls.model_fields)


class Expect(Strict):
    """A sentence, the claim it bears on, and the expression that decides it."""

    says: Line
    that: str
    claim: str | None = None


def _gather(data: Any, known: Mapping[str, Any]) -> Any:
    """Keys that aren't `known` put together under `options`, where they can be asked about."""
    if not isinstance(data, Mapping) or isinstance(data.get("options"), dict):
        return data
    options = {key: value for key, value in data.items() if key not in known or key == "options"}
    return {**{key: data[key] for key in data if key not in options}, "options": options}
