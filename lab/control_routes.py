"""The routes by which the lab puts faults on a process's door, and looks at its progress.

They need the run's token and don't pass the door themselves: what is put on must come off again.
"""

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from lab.domain.errors import Invalid
from lab.faults.door import Door
from lab.faults.kinds import parse_fault
from lab.web import Route

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
