"""What becomes of those who knock over HTTP: let in, or what a fault at the door has for them."""

import asyncio
import json
from typing import Any

from aiohttp import web
from pydantic_core import to_json

from lab.domain.errors import ServiceError
from lab.faults.door import Door
from lab.faults.kinds import CLIENT, Visit
from lab.faults.versions import in_version
from lab.web import CALLER_HEADER, problem, tear_down


async def knock(door: Door, request: web.BaseRequest) -> web.Response | None:
    """One who comes over an open connection: None lets them in, after what a latency asks for."""
    visit = door.visit(request.headers.get(CALLER_HEADER, CLIENT))
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
