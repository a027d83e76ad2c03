"""Telling an event that nobody can digest, and finding out who failed on it.

It goes the way of every event, so it comes with a number of its own and stays on the bus for good.
That is what makes a poison different from every other fault: the others can be taken back.
"""

import asyncio
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from lab.cluster.errors import LabCannotRun
from lab.cluster.reach import HEARD_BY
from lab.cluster.stack import Stack
from lab.domain.directory import BUS
from lab.domain.events import Envelope
from lab.faults.kinds import Poison

SOURCE = "/lab/poison"
LOOK_AGAIN_S = 0.02
FAILS_WITHIN_S = 2.0


class PoisonNotTold(LabCannotRun):
    """The bus did not take the event."""


@dataclass(frozen=True)
class Told:
    """A poison on the bus. `sequence`: None on a bus that numbers nothing."""

    subject: str
    sequence: int | None


async def tell_poison(stack: Stack, fault: Poison) -> Told:
    """Put an event of that type on the bus, without any of its fields. Raises PoisonNotTold."""
    subject = f"poison-{perf_counter():.6f}"
    data = {"id": subject}
    event = Envelope.carrying(fault.type, subject=subject, data=data, source=SOURCE)
    answer = await stack.call("POST", stack.urls[BUS], "/events", event.model_dump())
    if not answer.ok:
        raise PoisonNotTold(
            f"The poison could not be told to {stack.name}'s {BUS}: "
            f"{answer.error or answer.data or answer.status}. Is it up?"
        )
    sequences = (answer.data or {}).get("sequences") or [None]
    return Told(subject, sequences[0])


async def who_failed(stack: Stack, fault: Poison, told: Told) -> dict[str, Any]:
    """The evidence: `failed`, and of those who is `stuck` and who has `laid_aside` the event (left
    out where it is nobody).

    Looks again for a while if nobody has failed whom the fault is meant for.
    """
    meant = (fault.target,) if fault.target != BUS else HEARD_BY[fault.type]
    give_up_at_s = perf_counter() + FAILS_WITHIN_S
    while True:
        states = {name: await stack.state(name) or {} for name in HEARD_BY[fault.type]}
        failed = [name for name, of in states.items() if told.subject in of.get("failed_on", ())]
        if any(name in failed for name in meant) or perf_counter() > give_up_at_s:
            break
        await asyncio.sleep(LOOK_AGAIN_S)
    stuck = [
        name
        for name in failed
        if (states[name].get("stuck") or {}).get("sequence") == told.sequence is not None
    ]
    laid_aside = [name for name in failed if name not in stuck and states[name].get("dead")]
    evidence: dict[str, Any] = {"sequence": told.sequence, "failed": failed}
    evidence |= {"stuck": stuck} if stuck else {}
    evidence |= {"laid_aside": laid_aside} if laid_aside else {}
    return evidence | {"acted": sum(name in failed for name in meant)}
