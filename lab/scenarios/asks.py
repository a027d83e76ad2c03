"""What became of the questions that services asked each other, as the services counted it.

A switch that protects has to show in these counts, or it did nothing. They are asked for at the
end of a run; a process that was killed meanwhile has taken its counts up to then with it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from lab.scenarios.result import Variant
from lab.tally import KINDS

if TYPE_CHECKING:  # whoever only reads figures needs no HTTP client
    from lab.cluster.stack import Stack

FIGURES = (*KINDS, "given_up")


async def read_asks(stack: Stack) -> dict[str, Any]:
    """The keys `asks` and `given_up` of a variant; none where nobody counts such a thing."""
    if stack.arrangement.ask_by not in ("http", "events"):
        return {}
    services = stack.arrangement.services
    told = await asyncio.gather(*(stack.state(name) for name in services))
    states = {name: state for name, state in zip(services, told, strict=True) if state is not None}
    return {
        "asks": {name: state["asks"] for name, state in states.items() if state.get("asks")},
        "given_up": sum(state.get("given_up", 0) for state in states.values()),
    }


def asks_figure(variant: Variant, figure: str) -> float | None:
    """One of FIGURES, over all services and whom they asked; None when nobody counted."""
    if variant.asks is None or figure == "given_up":
        return variant.given_up
    return sum(
        kinds.get(figure, 0) for by_whom in variant.asks.values() for kinds in by_whom.values()
    )
