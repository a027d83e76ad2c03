"""The routes that add and remove faults, and read a process's state.

They need the run's token, and bypass the fault filter, so that every fault can be removed again.
"""

import secrets
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from lab.domain.errors import Invalid
from lab.faults.filter import FaultFilter
from lab.faults.kinds import parse_fault
from lab.service.http import Route

State = Callable[[], dict[str, Any]]


class FaultRequest(BaseModel):
    """The body of a request that adds a fault."""

    kind: str
    target: str
    options: dict[str, Any] = {}
    seed: int = 0


def control_routes(
    fault_filter: FaultFilter, state: State, flush: Callable[[], None] = lambda: None
) -> list[Route]:
    """Routes to add (PUT), remove (DELETE) and list (GET) faults, and to read the process's state.

    `state` returns the state; `instance` is added to it, and is another one after each start.
    `flush` is called first: it makes the spans readable, because a client that reads the state may
    read the spans next.
    """

    def add_fault(name: str, request: FaultRequest) -> dict[str, Any]:
        try:
            fault = parse_fault(request.kind, request.target, request.options)
        except ValueError as error:
            raise Invalid(str(error)) from None
        if fault.acts_on != "door":
            raise Invalid(
                f"{request.kind!r} acts on the process, not on its requests.", field="kind"
            )
        fault_filter.add(name, fault, request.seed)
        return {"name": name}

    def remove_fault(name: str) -> dict[str, Any]:
        return {"name": name, "evidence": fault_filter.remove(name)}

    instance = secrets.token_hex(8)

    def read_state() -> dict[str, Any]:
        flush()
        return state() | {"instance": instance}

    return [
        Route("PUT", "/_lab/faults/{name}", add_fault, control=True),
        Route("DELETE", "/_lab/faults/{name}", remove_fault, control=True),
        Route("GET", "/_lab/faults", fault_filter.evidence, control=True),
        Route("GET", "/_lab/state", read_state, control=True),
    ]
