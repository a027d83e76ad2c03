"""Who stood still in the end behind an event that they can't digest, and what was laid aside.

Asked when everything has settled that still can. Where nobody hears events there is nothing to ask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # whoever only reads figures needs no HTTP client
    from lab.cluster.stack import Stack


async def read_halted(stack: Stack) -> dict[str, Any]:
    """The keys `stuck` (by service: at which event, and why) and `dead_letters` (how many)."""
    if not stack.arrangement.keeps_a_log:
        return {}
    states = {name: await stack.state(name) or {} for name in stack.arrangement.services}
    return {
        "stuck": {
            name: f"event {stuck['sequence']}, a {stuck['type']}: {stuck['why']}"
            for name, state in states.items()
            if (stuck := state.get("stuck"))
        },
        "dead_letters": {
            name: dead for name, state in states.items() if (dead := state.get("dead"))
        },
    }
