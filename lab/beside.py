"""What a service runs beside its server: it can't do without it, and ends it before it ends."""

import asyncio
import os
import sys
import traceback
from collections.abc import Coroutine, Iterable
from typing import Any

GOODBYE_WITHIN_S = 2.0
"""How long one may take to end before it is told to once more."""


async def or_die(work: Coroutine[Any, Any, None]) -> None:
    """Run it: when it breaks, so does the process."""
    try:
        await work
    except asyncio.CancelledError:
        raise
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


async def ended(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel them until they are.

    Once is not enough: a cancellation that comes together with what a task waits for can get lost.
    `asyncio.wait_for` of Python 3.11, in which nats-py waits, returns the answer instead.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=GOODBYE_WITHIN_S)
