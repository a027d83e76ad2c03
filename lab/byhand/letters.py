"""The dead letters of running stacks: which there are, and applying them again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lab.cluster.reach import hearers
from lab.cluster.stack import Stack
from lab.domain.errors import Conflict, Invalid


@dataclass(frozen=True)
class Letter:
    """An event that a service laid aside. `state`: `dead`, `redriven`, or `still dead`."""

    stack: str
    service: str
    sequence: int
    type: str
    state: str
    why: str = ""
    envelope: dict[str, Any] | None = None


async def dead_letters(stacks: Sequence[Stack]) -> list[Letter]:
    """What lies aside, by stack and service. Raises Conflict when one can't be asked."""
    letters = []
    for stack in stacks:
        for service in hearers(stack.arrangement):
            letters += [
                Letter(
                    *(stack.name, service, one["sequence"], one["type"], "dead", one["why"]),
                    envelope=one["envelope"],
                )
                for one in await _told(stack, service, "GET", "/_lab/dead")
            ]
    return letters


async def redriven(stacks: Sequence[Stack], service: str | None, stack: str | None) -> list[Letter]:
    """Apply dead letters again, of all or of those named. Raises Invalid and Conflict."""
    places = [
        (one, name)
        for one in stacks
        for name in hearers(one.arrangement)
        if service in (None, name) and stack in (None, one.name)
    ]
    if not places:
        known = {f"{name} of {one.name}" for one in stacks for name in hearers(one.arrangement)}
        raise Invalid(
            f"No {service or 'service'} here hears events, so none lies aside. "
            f"Those that do: {', '.join(sorted(known)) or 'none; try `lab up async-bus`'}."
        )
    letters = []
    for one, name in places:
        told = await _told(one, name, "POST", "/_lab/redrive")
        letters += [
            Letter(one.name, name, letter["sequence"], letter["type"], state, letter.get("why", ""))
            for key, state in (("redriven", "redriven"), ("still_dead", "still dead"))
            for letter in told[key]
        ]
    return letters


async def _told(stack: Stack, service: str, method: str, path: str) -> Any:
    answer = await stack.call(method, stack.urls[service], path)
    if not answer.ok:
        raise Conflict(
            f"{service} of {stack.name} does not answer ({answer.error or answer.status}), and its "
            "dead letters lie in its own database. Heal it first."
        )
    return answer.data
