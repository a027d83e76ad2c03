"""The routes by which the lab puts faults on a process's door, and looks at its progress.

They need the run's token and don't pass the door themselves: what is put on must come off again.

What becomes of those who knock over HTTP: let in, or what a fault at the door has for them.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from aiohttp import web
from pydantic import BaseModel
from pydantic_core import to_json

from lab.domain import headers
from lab.domain.errors import Invalid, ServiceError
from lab.faults.filter import Door
from lab.faults.kinds import CLIENT, Visit, parse_fault
from lab.faults.versions import in_version
from lab.service.http import Route, problem, tear_down

# ── The routes by which the lab puts faults on a process's door, and looks at its progress.

State = Callable[[], dict[str, Any]]


class FaultOrder(BaseModel):
    """The body of a request that hangs a fault on the door."""

    kind: str
    target: str
    options: dict[str, Any] = {}
    seed: int = 0


def control_routes(
    door: Door, state: State, flush: Callable[[], None] = lambda: None
) -> list[Route]:
    """PUT, DELETE and GET faults, by name; GET the state that `state` tells. `flush`: makes spans
    readable, for whoever asks how far a program is may want to read what it has done."""

    def put(name: str, order: FaultOrder) -> dict[str, Any]:
        try:
            fault = parse_fault(order.kind, order.target, order.options)
        except ValueError as error:
            raise Invalid(str(error)) from None
        if fault.acts_on != "door":
            raise Invalid(f"{order.kind!r} acts on the process, not at its door.", field="kind")
        door.put(name, fault, order.seed)
        return {"name": name}

    def take(name: str) -> dict[str, Any]:
        return {"name": name, "evidence": door.take(name)}

    def tell() -> dict[str, Any]:
        flush()
        return state()

    return [
        Route("PUT", "/_lab/faults/{name}", put, control=True),
        Route("DELETE", "/_lab/faults/{name}", take, control=True),
        Route("GET", "/_lab/faults", door.evidence, control=True),
        Route("GET", "/_lab/state", tell, control=True),
    ]


# ── What becomes of those who knock over HTTP: let in, or what a fault at the door has for them.


async def knock(door: Door, request: web.BaseRequest) -> web.Response | None:
    """One who comes over an open connection: None lets them in, after what a latency asks for."""
    visit = door.visit(request.headers.get(headers.CALLER, CLIENT))
    instead = await turned_away(door, visit, request)
    if instead is None and visit.delay_s:
        await asyncio.to_thread(door.hold, visit)
    return instead


async def turned_away(door: Door, visit: Visit, request: web.BaseRequest) -> web.Response | None:
    """What a visitor gets whom a fault keeps out; None for one who is let in, perhaps later."""
    if visit.unanswered:
        await door.until_healed(visit)
        return tear_down(request)
    if visit.torn_down:
        return tear_down(request)
    if visit.status is not None:
        return problem(refused_by_fault(), visit.status)
    return None


def as_deployed(door: Door, answered: Any) -> Any:
    """What a handler answers, in the version that is deployed."""
    return door.let_out(
        answered, lambda said, version: in_version(json.loads(to_json(said)), version)
    )


def refused_by_fault() -> ServiceError:
    return ServiceError("An injected fault answered at the door; nothing was done.")
