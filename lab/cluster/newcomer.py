"""A newcomer: one more of a running service, with an empty database, beside the first.

Nobody is asked for anything. It begins at the first event the bus holds, and when it has reached
the head it knows what the first one knows. Only a service that tells nothing can be doubled so: a
second moderation would judge every comment again, and tell everybody.
"""

import asyncio
from dataclasses import dataclass, replace
from time import perf_counter

from lab.cluster.errors import NotReady
from lab.cluster.stack import Stack
from lab.domain.directory import BUS

CAUGHT_UP_WITHIN_S = 60.0
_LOOK_AGAIN_S = 0.005


@dataclass(frozen=True)
class CaughtUp:
    """How far a newcomer came: `seconds` from the order to start it until its offset was the
    bus's head, None when that never was."""

    part: str
    events: int
    seconds: float | None


async def bring_in(stack: Stack, service: str) -> CaughtUp:
    """Start a second `service` and wait until it has heard all there is. Raises StartFailed."""
    first = next(one for one in stack.programs if one.name == stack.program(service))
    part, port = stack.admit(service)
    folder = stack.data.with_name(f"{stack.data.name}-{part}")
    spans = first.log.with_name(f"{stack.name}.{part}.spans.ndjson")
    program = replace(
        first,
        name=f"{stack.name}.{part}",
        # Said twice on a command line, the last one counts: all else stays as the first has it.
        argv=(*first.argv, "--port", str(port), "--data", str(folder), "--spans", str(spans)),
        log=first.log.with_name(f"{stack.name}.{part}.log"),
        health=f"{stack.urls[part]}/health",
    )
    begun_s = perf_counter()
    try:
        await stack.supervisor.start(program, ready_within_s=CAUGHT_UP_WITHIN_S)
    except NotReady:
        state = await stack.state(part) or {}
        return CaughtUp(part, state.get("offset") or 0, None)
    # Ready is who has heard what there was when it came; meanwhile there was more.
    while perf_counter() - begun_s < CAUGHT_UP_WITHIN_S:
        bus, own = await asyncio.gather(stack.state(BUS), stack.state(part))
        if bus and own and own["offset"] >= bus["head"]:
            return CaughtUp(part, own["offset"], perf_counter() - begun_s)
        await asyncio.sleep(_LOOK_AGAIN_S)
    return CaughtUp(part, (own or {}).get("offset") or 0, None)
