"""A library can lose a cancellation: a task that was cancelled ends all the same."""

import asyncio
from typing import Any, cast

import pytest

from lab.bus.nats.gateway import NatsGateway
from lab.service import server


async def loses_one(then: asyncio.Event) -> None:
    """Loses a cancellation that comes with the answer, as Python 3.11's `asyncio.wait_for`."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        then.set()


async def test_what_runs_beside_a_service_is_cancelled_until_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "CANCEL_AGAIN_AFTER_S", 0.01)
    lost = asyncio.Event()

    async def stubborn() -> None:
        await loses_one(lost)
        await asyncio.Event().wait()

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await server.cancel_until_done([task])

    assert lost.is_set()
    assert task.cancelled()


async def test_a_gateway_ended_while_making_its_stream_removes_it() -> None:
    lost = asyncio.Event()
    removed: list[str] = []

    class FakeNatsBus:
        async def head(self) -> None:
            await loses_one(lost)

        async def close(self) -> None:
            removed.append("connection")

    gateway = NatsGateway(cast(Any, FakeNatsBus()), [], "mine")

    async def remove() -> None:
        removed.append("stream")

    gateway._remove_stream = remove  # type: ignore[method-assign]
    task = asyncio.create_task(gateway.run())
    await asyncio.sleep(0)
    task.cancel()
    await task

    assert lost.is_set()
    assert removed == ["connection", "stream"]
