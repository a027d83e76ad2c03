"""Events dropped, duplicated, reordered, cut off, poisoned: with evidence, or refused."""

import asyncio
import importlib
import inspect
import re
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from lab.cluster.arrangements import ARRANGEMENTS
from lab.cluster.fault_rules import (
    consumers_of,
    why_fault_impossible,
    why_fault_inapplicable,
)
from lab.domain.services import CALLERS_OF, EVENT_CONSUMERS, PUBLISHER_OF, SERVICES
from lab.faults.filter import FaultFilter
from lab.faults.kinds import parse_fault
from lab.live.sandbox.control_client import ControlError
from lab.live.sandbox.control_server import control_server
from lab.live.sandbox.events import redrive, show_dead_letters, show_events
from lab.live.sandbox.fault_controller import FaultController
from lab.live.sandbox.instances import RunningLab
from tests.blog.conftest import BlogWith
from tests.support.consumers import MemoryBus, RecordingConsumer, comment, wait_until
from tests.support.laboratory import PATIENCE_S, RunningBlog, eventually

EVENT_FAULTS = ("drop", "duplicate", "reorder")
POST = {"title": "A post"}


@pytest.fixture
def careful(tmp_path: Path) -> Iterator[RecordingConsumer]:
    one = RecordingConsumer(tmp_path)
    yield one
    one.store.close()


@asynccontextmanager
async def consuming(one: RecordingConsumer, bus: MemoryBus) -> AsyncIterator[None]:
    task = asyncio.create_task(one.make_consumer(bus).run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def add_fault(fault_filter: FaultFilter, kind: str, **options: Any) -> None:
    fault_filter.add(kind, parse_fault(kind, "query", options), seed=1)


# ── The fault filter


def test_events_without_a_listener_are_left_alone() -> None:
    door = FaultFilter()
    add_fault(door, "drop")
    assert door.filter_events([1, 2, 3], lambda event: event != 2) == [2]
    assert door.decide().fault_names == [], "requests are left alone, too"
    assert door.remove("drop") == {"visitors": 2, "acted": 2}


def test_an_event_still_waiting_comes_late_and_does_not_count() -> None:
    door = FaultFilter()
    add_fault(door, "reorder")
    assert door.filter_events([1], lambda _: True) == []
    assert door.has_held_events
    assert door.remove("reorder") == {"visitors": 1, "acted": 0}
    assert door.filter_events([], lambda _: True) == [1]
    assert not door.has_held_events


# ── The consumer


@pytest.mark.parametrize("kind", EVENT_FAULTS)
async def test_with_dedupe_each_event_is_applied_once_and_in_order(
    careful: RecordingConsumer, kind: str
) -> None:
    bus = MemoryBus()
    add_fault(careful.fault_filter, kind, probability=0.5)
    async with consuming(careful, bus):
        for number in range(1, 21):
            bus.publish(comment(number))
            await asyncio.sleep(0)
        await wait_until(lambda: careful.fault_filter.evidence()[kind]["acted"] > 0)
        careful.fault_filter.remove(kind)
        await wait_until(lambda: careful.store.offset() == 20)
    assert careful.notes() == [str(number) for number in range(1, 21)]


@pytest.mark.parametrize(
    ("kind", "noted"),
    [
        ("drop", ["2", "3"]),
        ("duplicate", ["1", "1", "2", "3"]),
        ("reorder", ["2", "1", "3"]),
    ],
)
async def test_without_dedupe_a_consumer_ends_with_what_came(
    tmp_path: Path, kind: str, noted: list[str]
) -> None:
    bus, believer = MemoryBus(), RecordingConsumer(tmp_path, dedupe=False)
    add_fault(believer.fault_filter, kind, first=1)
    async with consuming(believer, bus):
        bus.publish(comment(1), comment(2), comment(3))
        await wait_until(lambda: believer.inbox.position == 3)
    assert believer.notes() == noted
    believer.store.close()


async def test_a_dropped_last_event_is_noticed(careful: RecordingConsumer) -> None:
    bus = MemoryBus()
    add_fault(careful.fault_filter, "drop", first=1)
    async with consuming(careful, bus):
        bus.publish(comment(1))
        await wait_until(lambda: careful.notes() == ["1"])


async def test_a_consumer_cut_off_from_the_bus_catches_up(careful: RecordingConsumer) -> None:
    bus = MemoryBus()
    add_fault(careful.fault_filter, "partition", **{"from": "event-bus"})
    async with consuming(careful, bus):
        bus.publish(comment(1), comment(2))
        await wait_until(lambda: careful.fault_filter.evidence()["partition"]["acted"] == 1)
        assert careful.notes() == []
        careful.fault_filter.remove("partition")
        await wait_until(lambda: careful.notes() == ["1", "2"])


# ── Where a fault applies


def test_the_table_of_consumers_is_what_services_declare() -> None:
    consumers: dict[str, list[str]] = {}
    for name in SERVICES:
        service = importlib.import_module(f"lab.async_bus.{name}").service
        for event in service.listeners:
            consumers.setdefault(event.type, []).append(name)
    assert {event: tuple(names) for event, names in consumers.items()} == EVENT_CONSUMERS
    assert consumers_of(ARRANGEMENTS["async-bus"]) == ("comments", "moderation", "query")
    assert consumers_of(ARRANGEMENTS["sync-chain"]) == ()


def test_the_table_of_publishers_is_what_handlers_do() -> None:
    publishers = {}
    for name in SERVICES:
        source = inspect.getsource(importlib.import_module(f"lab.async_bus.{name}"))
        publishers |= dict.fromkeys(re.findall(r"\.tell\(\s*(\w+)\(", source), name)
    assert publishers == PUBLISHER_OF


def test_the_table_of_callers_is_what_handlers_do() -> None:
    callers: dict[str, set[str]] = {name: set() for name in SERVICES}
    for name in SERVICES:
        source = inspect.getsource(importlib.import_module(f"lab.sync_chain.{name}"))
        for callee in re.findall(r'ask\(\s*"(\w+)"', source):
            callers[callee].add(name)
    assert {callee: set(names) for callee, names in CALLERS_OF.items()} == callers


@pytest.mark.parametrize(
    ("kind", "target", "options", "arrangement", "sentence"),
    [
        ("drop", "query", {}, "sync-chain", "no service in sync-chain consumes any"),
        ("drop", "posts", {}, "async-bus", "posts consumes none. Take one of comments"),
        (
            "poison",
            "posts",
            {"type": "PostCreated"},
            "async-bus",
            "posts does not consume PostCreated",
        ),
        ("poison", "event-bus", {"type": "PostCreated"}, "request-reply", "would have no effect"),
        ("partition", "posts", {"from": "event-bus"}, "async-bus", "No events go from event-bus"),
        ("partition", "posts", {"from": "query"}, "monolith", "within a process"),
        ("partition", "posts", {"from": "query"}, "async-bus", "query never calls posts"),
        ("partition", "comments", {"from": "posts"}, "sync-chain", "posts never calls comments"),
        ("latency", "event-bus", {"ms": 1}, "sync-chain", "has no event-bus"),
    ],
)
def test_a_fault_that_cannot_act_is_refused_with_a_reason(
    kind: str, target: str, options: dict[str, Any], arrangement: str, sentence: str
) -> None:
    why = why_fault_inapplicable(parse_fault(kind, target, options), ARRANGEMENTS[arrangement])
    assert why is not None
    assert sentence in why


@pytest.mark.parametrize(
    ("kind", "options", "sentence"),
    [
        ("poison", {"type": "CommentCreate"}, "Did you mean 'CommentCreated'"),
        ("partition", {"from": "post"}, "Did you mean 'posts'"),
        ("partition", {"from": "query"}, "not its own caller"),
        ("drop", {}, "None"),
        ("partition", {"from": "client"}, "None"),
        ("partition", {}, "'partition' needs 'from'"),
        ("poison", {}, "'poison' needs 'type'"),
        ("poison", {"type": "PostCreated", "first": 2}, "takes no 'first'"),
        ("drop", {"ms": 2}, "has no option 'ms'"),
    ],
)
def test_a_fault_that_makes_no_sense_anywhere_is_refused(
    kind: str, options: dict[str, Any], sentence: str
) -> None:
    try:
        why = str(why_fault_impossible(parse_fault(kind, "query", options)))
    except ValueError as error:
        why = str(error)
    assert sentence in why


# ── Running stacks


def write_post(blog: RunningBlog) -> str:
    """A new post; does not wait until other services have consumed it."""
    return str(blog.ask("POST", "posts", "/posts", json=POST).json()["id"])


def test_a_poison_stops_its_consumer_and_health_says_where(blog_with: BlogWith) -> None:
    with blog_with("async-bus") as blog:
        with blog.broken("poison", "query", type="PostCreated") as injection:
            eventually(lambda: blog.state("query")["failed_on"], "a failed attempt")
        assert injection.acted
        assert "query" in injection.evidence["failed"]
        stuck = f"stuck at event {injection.evidence['sequence']}, a PostCreated"
        eventually(lambda: stuck in blog.ask("GET", "query", "/health").text, stuck)
        later = blog.write_post()  # nothing is in flight behind a stuck consumer
        assert blog.feed_entry(later["id"]) is None


def test_dead_letters_are_shown_and_sent_again_by_hand(blog_with: BlogWith, tmp_path: Path) -> None:
    async def by_hand(blog: RunningBlog) -> None:
        switchboard = FaultController([blog.stack])
        async with control_server(switchboard) as address:
            urls = {"blog": blog.stack.urls}
            lab = RunningLab(1, 0.0, address.url, address.token, urls, tmp_path)

            async def said(show: Any, *which: str, **options: Any) -> list[str]:
                lines: list[str] = []
                await asyncio.to_thread(show, lab, lines.append, *which, **options)
                return [line.replace(blog.stack.name, "blog") for line in lines]

            await switchboard.inject("poison", "event-bus", {"type": "PostCreated"}, None)
            later = await asyncio.to_thread(blog.ask, "POST", "posts", "/posts", json=POST)
            assert await blog.stack.settle(PATIENCE_S)
            dead = await said(show_dead_letters)
            assert sorted(line.split(":")[0] for line in dead) == ["blog comments", "blog query"]
            assert all("a PostCreated: title: Field required" in line for line in dead)
            (deed,) = await switchboard.heal(None, None, None)
            assert "Laid aside by" in deed.says
            assert "comments and query" in deed.says
            (line,) = await said(redrive, "query")
            assert line.startswith("blog query: event 1, a PostCreated, is still dead: ")
            (line,) = await said(show_events, type_="PostCreated", after=1)
            assert later.json()["id"] in line
            with pytest.raises(ControlError, match="No posts here consumes events"):
                await said(redrive, "posts")

    with blog_with("async-bus", dead_letter=True) as blog:
        blog.laboratory.run(by_hand(blog))
        assert [entry["title"] for entry in blog.get("query", "/feed")] == [POST["title"]]


def test_in_the_chain_a_partition_cuts_off_one_asker_only(blog_with: BlogWith) -> None:
    with blog_with("sync-chain", timeout_ms=60_000) as blog, ThreadPoolExecutor(1) as pool:
        post = write_post(blog)
        with blog.broken("partition", "posts", **{"from": "query"}) as injection:
            feed = pool.submit(requests.get, f"{blog.stack.urls['query']}/feed", timeout=60)
            eventually(lambda: blog.acted("posts"), "a question of query that is cut off")
            assert blog.comment(post).status_code == 201
            assert not feed.done()
        assert feed.result(PATIENCE_S).status_code == 502
        assert injection.removed
        assert blog.feed_entry(post) is not None


def test_a_teller_that_was_cut_off_tells_once_healed(blog_with: BlogWith) -> None:
    with blog_with("async-bus") as blog:
        with blog.broken("partition", "event-bus", **{"from": "posts"}) as injection:
            post = write_post(blog)
            eventually(lambda: blog.acted("event-bus"), "a post that is not told")
            assert blog.feed_entry(post) is None
        assert injection.acted
        eventually(lambda: blog.feed_entry(post), "the post in the feed")


def test_without_dedupe_moderation_shows_both_of_its_verdicts(blog_with: BlogWith) -> None:
    with blog_with("async-bus", dedupe=False) as blog:
        post = blog.write_post()
        with blog.broken("duplicate", "moderation") as injection:
            blog.write_comment(post["id"], "said once")
            blog.settle()
        assert injection.acted
        verdicts = blog.get("moderation", "/verdicts")
        assert [one["content"] for one in verdicts] == ["said once", "said once"]
