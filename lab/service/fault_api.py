"""Control routes that add and remove faults, and the effect of active faults on HTTP requests.

The control routes need the run's token. They bypass the fault filter, so that every fault can be
removed again.
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

# ── Control routes

State = Callable[[], dict[str, Any]]


class FaultOrder(BaseModel):
    """The body of a request that adds a fault."""

    kind: str
    target: str
    options: dict[str, Any] = {}
    seed: int = 0


def control_routes(
    door: Door, state: State, flush: Callable[[], None] = lambda: None
) -> list[Route]:
    """Routes to add (PUT), remove (DELETE) and list (GET) faults, and to read the process's state.

    `state` returns the state. `flush` is called first: it makes the spans readable, because a
    client that reads the state may read the spans next.
    """

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


# ── Effect of active faults


async def knock(door: Door, request: web.BaseRequest) -> web.Response | None:
    """Apply the active faults to a message on an open connection.

    Returns None when the message may pass, after any injected latency; otherwise the response to
    send instead.
    """
    visit = door.visit(request.headers.get(headers.CALLER, CLIENT))
    instead = await turned_away(door, visit, request)
    if instead is None and visit.delay_s:
        await asyncio.to_thread(door.hold, visit)
    return instead


async def turned_away(door: Door, visit: Visit, request: web.BaseRequest) -> web.Response | None:
    """The response that a fault sends instead of the handler's; None when the request may pass.

    A fault that leaves requests unanswered holds this one until the fault is removed, then resets
    its connection. An injected latency is not applied here.
    """
    if visit.unanswered:
        await door.until_healed(visit)
        return tear_down(request)
    if visit.torn_down:
        return tear_down(request)
    if visit.status is not None:
        return problem(refused_by_fault(), visit.status)
    return None


def as_deployed(door: Door, answered: Any) -> Any:
    """Rewrite a handler's result to the schema version that a fault deploys, if any."""
    return door.let_out(
        answered, lambda said, version: in_version(json.loads(to_json(said)), version)
    )


def refused_by_fault() -> ServiceError:
    return ServiceError("An injected fault answered at the door; nothing was done.")
