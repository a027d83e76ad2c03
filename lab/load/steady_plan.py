"""What a steady load is told: its plan before it begins, and wishes while it runs."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from lab.load.plan import Action, Variant

Weights = dict[Action, Annotated[float, Field(ge=0, le=1_000)]]


class Wish(BaseModel):
    """What is to be changed: arrivals per second for each arrangement (0: nobody comes), and what
    they are, by weight."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    rate: Annotated[float, Field(ge=0, le=1_000)] | None = None
    mix: Weights | None = None

    @field_validator("mix")
    @classmethod
    def _asks_for_something(cls, mix: Weights | None) -> Weights | None:
        if mix is not None and sum(mix.values()) <= 0:
            raise ValueError("the weights add up to nothing, so there is nothing to send")
        return mix


class SteadyPlan(BaseModel):
    """What the load is told before it begins."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    seed: int
    rate: Annotated[float, Field(ge=0, le=1_000)]
    mix: Weights
    variants: Annotated[list[Variant], Field(min_length=1)]
    timeout_s: Annotated[float, Field(gt=0)] = 2.0
    reader_delay_s: Annotated[float, Field(ge=0)] = 2.0
