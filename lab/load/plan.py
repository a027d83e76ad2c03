"""The plan of one run of the load: a file, read and checked before anything is sent.

The plan is a file and not a function call because the load is a separate process: a generator that
shares an interpreter with its target measures itself. A bad plan is rejected as a whole, in one
sentence, before the first request.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from lab.domain.services import ENTRY_POINTS

if TYPE_CHECKING:  # scenarios need the plan, but no HTTP client
    from lab.support.http_client import HttpOrigin

LoadAction = Literal["read_feed", "create_post", "create_comment"]
FollowUpAction = Literal["comment_at_once", "look_at_once"]
EntryService = Literal["posts", "comments", "query"]

WARM_UP = "warm_up"
"""The phase whose samples are saved in the file but left out of every figure."""


READY_SUFFIX = ".ready"
"""The file beside the plan's path that `lab.load.remote` makes: now the plan may be written."""


class BadPlan(ValueError):
    """The plan cannot be followed; the message is one sentence that says why."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PlanPhase(_Strict):
    """A named part of the run. Names may repeat; figures cover all phases of the same name.

    `rate`: arrivals/s in this phase; None: the rate of the plan.
    """

    name: Annotated[str, Field(min_length=1)]
    seconds: Annotated[float, Field(gt=0, le=86_400)]
    rate: Annotated[float, Field(gt=0, le=10_000)] | None = None


class PlanVariant(_Strict):
    """One arrangement under load: its services, and posts that exist before the first arrival.

    `users`: number of users in a closed loop; None: an open loop. `ordered_ids`: whether a newer
    post has a greater id. `token_group`: the number in the tokens of its writes, where that is not
    its number in the plan.
    """

    name: Annotated[str, Field(min_length=1)]
    urls: dict[EntryService, str]
    seed_posts: Annotated[list[str], Field(min_length=1)]
    users: Annotated[int, Field(ge=1)] | None = None
    ordered_ids: bool = True
    token_group: int | None = None

    @field_validator("urls")
    @classmethod
    def _names_every_service(cls, urls: dict[EntryService, str]) -> dict[EntryService, str]:
        if missing := set(ENTRY_POINTS) - set(urls):
            raise ValueError(f"no URL for {', '.join(sorted(missing))}")
        from lab.support.http_client import HttpOrigin

        for url in urls.values():
            HttpOrigin.from_url(url)
        return urls

    def origin(self, service: EntryService) -> HttpOrigin:
        """Where this variant's `service` listens."""
        from lab.support.http_client import HttpOrigin

        return HttpOrigin.from_url(self.urls[service])


class Plan(_Strict):
    """The whole plan. Times in seconds unless the name says otherwise; `rate` in arrivals/s;
    `start_at`: a time of `perf_counter`."""

    seed: int
    rate: Annotated[float, Field(gt=0, le=10_000)]
    mix: dict[LoadAction, Annotated[float, Field(ge=0)]]
    phases: Annotated[list[PlanPhase], Field(min_length=1)]
    variants: Annotated[list[PlanVariant], Field(min_length=1)]
    samples: Path
    progress: Path
    summary: Path
    timeout_s: Annotated[float, Field(gt=0)] = 2.0
    start_at: float | None = None
    settle_s: Annotated[float, Field(ge=0)] = 10.0
    reader_delay_s: Annotated[float, Field(ge=0)] = 2.0
    late_after_ms: Annotated[float, Field(gt=0)] = 10.0
    at_once: list[FollowUpAction] = []
    retries: Annotated[int, Field(ge=0, le=10)] = 0
    orange: Annotated[float, Field(ge=0, le=1)] = 0.1
    max_in_flight: Annotated[int, Field(ge=1)] = 400

    @field_validator("mix")
    @classmethod
    def _asks_for_something(cls, mix: dict[LoadAction, float]) -> dict[LoadAction, float]:
        if sum(mix.values()) <= 0:
            raise ValueError("the weights add up to nothing, so there is nothing to send")
        return mix

    @field_validator("variants")
    @classmethod
    def _can_be_told_apart(cls, variants: list[PlanVariant]) -> list[PlanVariant]:
        names = [variant.name for variant in variants]
        if len(set(names)) < len(names):
            raise ValueError(f"each variant needs a name of its own, not {', '.join(names)}")
        return variants


def read_plan(path: Path) -> Plan:
    """Read and check a plan file. Raises `BadPlan` with one sentence."""
    try:
        return Plan.model_validate(json.loads(path.read_text("utf-8")))
    except OSError as error:
        raise BadPlan(f"The plan {path} can't be read: {error.strerror}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"]) or "the plan"
        raise BadPlan(f"The plan {path} can't be followed: {where}: {first['msg']}.") from error
    except ValueError as error:
        raise BadPlan(f"The plan {path} is not JSON: {error}.") from error
