"""Calls made while a POST is in flight share the next one: order, errors, cancelled callers."""

import asyncio
from collections.abc import Sequence

import pytest

from lab.bus.base import MAX_APPEND_BYTES, BusUnavailable
from lab.bus.log.client import AppendRejected, Batcher, LogBus
from tests.support.bus_places import an_event
from tests.support.laboratory import PATIENCE_S, RunningBlog


class GatedLog:
    """Answers POSTs when the test allows it, with numbers or with the next of `errors`."""

    def __init__(self) -> None:
        self.posts: list[list[str]] = []
        self.open = asyncio.Event()
        self.called = asyncio.Event()
        self.errors: list[Exception] = []
        self._head = 0

    async def post(self, envelopes: Sequence[str]) -> list[int]:
        self.posts.append(list(envelopes))
        self.called.set()
        await self.open.wait()
        if self.errors:
            raise self.errors.pop(0)
        if "bad" in envelopes:
            raise AppendRejected("one of them is bad")
        first = self._head + 1
        self._head += len(envelopes)
        return list(range(first, first + len(envelopes)))


@pytest.fixture
def bus() -> GatedLog:
    return GatedLog()


@pytest.fixture
def together(bus: GatedLog) -> Batcher:
    return Batcher(bus.post, PATIENCE_S)


async def calls_during_first_post(
    bus: GatedLog, batcher: Batcher, *calls: Sequence[str]
) -> list[object]:
    """The outcomes of calls that are made in this order while the POST of "first" is in flight."""
    tasks = [asyncio.create_task(batcher.append(["first"]))]
    await bus.called.wait()
    tasks += [asyncio.create_task(batcher.append(call)) for call in calls]
    await asyncio.sleep(0)  # each runs and then waits
    bus.open.set()
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_single_caller_does_not_wait(bus: GatedLog, together: Batcher) -> None:
    bus.open.set()
    assert [await together.append([name]) for name in "abc"] == [[1], [2], [3]]
    assert bus.posts == [["a"], ["b"], ["c"]]


async def test_waiting_callers_share_one_post_in_their_order(
    bus: GatedLog, together: Batcher
) -> None:
    answers = await calls_during_first_post(bus, together, ["a"], ["b", "c"], [], ["d"])
    assert bus.posts == [["first"], ["a", "b", "c", "d"]]
    assert answers == [[1], [2], [3, 4], [], [5]]


async def test_an_error_reaches_all_in_the_post_and_no_other(
    bus: GatedLog, together: Batcher
) -> None:
    error = BusUnavailable("gone")
    bus.errors = [error]
    assert await calls_during_first_post(bus, together, ["a"], ["b"]) == [error, [1], [2]]
    bus.posts.clear()
    bus.open.clear()
    bus.called.clear()
    calls = [asyncio.create_task(together.append([name])) for name in "xyz"]
    await bus.called.wait()
    bus.errors = [error]
    bus.open.set()
    assert await asyncio.gather(*calls, return_exceptions=True) == [error] * 3
    assert bus.posts == [["x", "y", "z"]]


async def test_one_bad_event_is_refused_without_the_others(
    bus: GatedLog, together: Batcher
) -> None:
    first, before, bad, after = await calls_during_first_post(bus, together, ["a"], ["bad"], ["b"])
    assert (first, before, after) == ([1], [2], [3])
    assert isinstance(bad, AppendRejected)
    assert bus.posts == [["first"], ["a", "bad", "b"], ["a"], ["bad"], ["b"]]


async def test_no_post_is_larger_than_the_bus_takes(bus: GatedLog, together: Batcher) -> None:
    large = "ä" * (MAX_APPEND_BYTES // 4)  # two bytes each
    answers = await calls_during_first_post(
        bus, together, [large], [large], ["c"], [large, large, large]
    )
    assert [len(post) for post in bus.posts] == [1, 1, 2, 3]
    assert answers == [[1], [2], [3], [4], [5, 6, 7]]


async def test_a_cancelled_call_is_not_posted(bus: GatedLog, together: Batcher) -> None:
    first = asyncio.create_task(together.append(["first"]))
    await bus.called.wait()
    impatient, patient = (asyncio.create_task(together.append([name])) for name in "ab")
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.wait([impatient])
    bus.open.set()
    assert (await first, await patient) == ([1], [2])
    assert bus.posts == [["first"], ["b"]]


async def test_a_silent_bus_is_unavailable_to_all_callers(bus: GatedLog) -> None:
    together = Batcher(bus.post, within_s=0.01)
    calls = [asyncio.create_task(together.append([name])) for name in "ab"]
    for answer in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(answer, BusUnavailable)
    await together.close()


async def test_calls_during_a_lone_one_share_the_next_post(
    bus: GatedLog, together: Batcher
) -> None:
    bus.open.set()
    await together.append(["alone"])
    bus.open.clear()
    bus.called.clear()
    assert await calls_during_first_post(bus, together, ["a"], ["b"]) == [[2], [3], [4]]
    assert bus.posts == [["alone"], ["first"], ["a", "b"]]


async def test_a_cancelled_lone_call_lets_the_others_go_on(
    bus: GatedLog, together: Batcher
) -> None:
    bus.open.set()
    await together.append(["alone"])
    bus.open.clear()
    bus.called.clear()
    first = asyncio.create_task(together.append(["first"]))
    await bus.called.wait()
    waiting = asyncio.create_task(together.append(["a"]))
    await asyncio.sleep(0)
    first.cancel()
    bus.open.set()
    assert await waiting == [2]
    assert first.cancelled()


async def test_a_silent_bus_is_unavailable_to_a_lone_call(bus: GatedLog) -> None:
    together = Batcher(bus.post, within_s=0.2)
    bus.open.set()
    await together.append(["alone"])
    bus.open.clear()
    with pytest.raises(BusUnavailable):
        await together.append(["first"])


async def test_closing_ends_calls_that_wait_for_a_lone_one(
    bus: GatedLog, together: Batcher
) -> None:
    bus.open.set()
    await together.append(["alone"])
    bus.open.clear()
    first = asyncio.create_task(together.append(["first"]))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(together.append(["a"]))
    await asyncio.sleep(0)
    await together.close()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    bus.open.set()
    await first
    assert bus.posts == [["alone"], ["first"]]


async def test_closing_ends_all_waiting_calls(bus: GatedLog, together: Batcher) -> None:
    first = asyncio.create_task(together.append(["first"]))
    await bus.called.wait()
    waiting = asyncio.create_task(together.append(["a"]))
    await asyncio.sleep(0)
    await together.close()
    await asyncio.wait([first, waiting])
    assert first.cancelled()
    assert waiting.cancelled()


async def test_the_log_gets_fewer_posts_than_events(bus_blog: RunningBlog) -> None:
    connection = LogBus(bus_blog.stack.urls["event-bus"])
    head = await connection.head()
    posts = []
    post = connection._batcher._send

    async def counted(envelopes: Sequence[str]) -> list[int]:
        posts.append(len(envelopes))
        return await post(envelopes)

    connection._batcher._send = counted
    answers = await asyncio.gather(*(connection.append([an_event(n)]) for n in range(64)))
    assert answers == [[head + number] for number in range(1, 65)]
    assert sum(posts) == 64
    assert len(posts) <= 2
    await connection.close()
