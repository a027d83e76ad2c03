"""Whether NATS is installed, and a publisher and a consumer that behave as the services do."""

import asyncio
import contextlib
from collections.abc import Sequence

import pytest

from lab.bus.base import Bus, BusUnavailable
from lab.domain.events import Envelope, PostCreated
from lab.support.nats import NatsNotInstalled, find_server, require_client
from tests.support.laboratory import PATIENCE_S


def _why_nats_is_missing() -> str:
    try:
        require_client()
        find_server()
    except NatsNotInstalled as error:
        return str(error)
    return ""


def nats_is_installed() -> bool:
    return not _why_nats_is_missing()


needs_nats = pytest.mark.skipif(
    bool(_why_nats_is_missing()), reason=_why_nats_is_missing() or "nats is here"
)


def numbered_events(*numbers: int) -> list[str]:
    """Envelopes whose ids are their numbers, as JSON."""
    events = [PostCreated(id=str(number), title="A post") for number in numbers]
    wrapped = [Envelope.around(event, source="/test") for event in events]
    return [one.model_copy(update={"id": one.subject}).model_dump_json() for one in wrapped]


async def consume(bus: Bus, after: int, count: int) -> list[Envelope]:
    """The next `count` events, consumed as a service does: after each error it reads again."""
    events: list[Envelope] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(events) < count:
            with contextlib.suppress(BusUnavailable):
                async for batch in bus.read(events[-1].sequence if events else after):
                    events += batch
                    if len(events) >= count:
                        break
            await asyncio.sleep(0)
    return events


async def append_until_acknowledged(bus: Bus, envelopes: Sequence[str]) -> list[int]:
    """Append as the outbox relay does: with the same ids, until the bus acknowledges."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(BusUnavailable):
                return await bus.append(envelopes)
            await asyncio.sleep(0.01)
