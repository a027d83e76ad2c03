"""Events lost, doubled, overtaken, cut off, poisoned: with proof, and refused where it can't be."""

import asyncio
import importlib
import inspect
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.byhand.control import ControlError
from lab.byhand.control_server import control_server
from lab.byhand.events import redrive, show_dead, show_events
from lab.byhand.notes import RunningLab
from lab.byhand.switchboard import Switchboard
from lab.cluster.injector import Injection
from lab.cluster.reach import ASKED_BY, HEARD_BY, hearers, makes_no_sense, out_of_reach
from lab.cluster.stack import Stack
from lab.cluster.supervisor import Supervisor
from lab.cluster.topology import ARRANGEMENTS, PRELOAD
from lab.domain.directory import SERVICES
from lab.faults.door import Door
from lab.faults.kinds import parse_fault
from tests.support.consumers import PATIENCE_S, Consumer, MemoryBus, comment, until

EVENT_FAULTS = ("drop", "duplicate", "reorder")


@pytest.fixture
def believer(tmp_path: Path) -> Iterator[Consumer]:
    one = Consumer(tmp_path, dedupe=False)
    yield one
    one.store.close()


@pytest.fixture
def careful(tmp_path: Path) -> Iterator[Consumer]:
    one = Consumer(tmp_path)
    yield one
    one.store.close()


@asynccontextmanager
async def hearing(one: Consumer, bus: MemoryBus) -> AsyncIterator[None]:
    task = asyncio.create_task(one.inbox(bus).run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def put(door: Door, kind: str, **options: Any) -> None:
    door.put(kind, parse_fault(kind, "query", options), seed=1)


# ── at the door ───────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "comes_in"),
    [("drop", [3, 4]), ("duplicate", [1, 1, 2, 2, 3, 4]), ("reorder", [2, 1, 4, 3])],
)
def test_only_the_first_so_many_events_are_hit(kind: str, comes_in: list[int]) -> None:
    door = Door()
    put(door, kind, first=2)
    assert door.let_in([1, 2], lambda _: True) + door.let_in([3, 4], lambda _: True) == comes_in
    told = door.take(kind)
    assert told is not None
    assert told["acted"] == 2


def test_events_that_nobody_here_listens_for_are_left_alone() -> None:
    door = Door()
    put(door, "drop")
    assert door.let_in([1, 2, 3], lambda event: event != 2) == [2]
    assert door.take("drop") == {"visitors": 2, "acted": 2}


def test_requests_are_left_alone_by_a_fault_of_events() -> None:
    door = Door()
    for kind in EVENT_FAULTS:
        put(door, kind)
    assert door.visit().because_of == []
    assert {told["visitors"] for told in door.evidence().values()} == {0}


def test_who_still_waits_when_the_fault_ends_comes_in_late_and_was_not_overtaken() -> None:
    door = Door()
    put(door, "reorder")
    assert door.let_in([1], lambda _: True) == []
    assert door.keeps_waiting
    assert door.take("reorder") == {"visitors": 1, "acted": 0}
    assert door.let_in([], lambda _: True) == [1]
    assert not door.keeps_waiting


def test_a_partition_cuts_off_one_caller_and_nobody_else() -> None:
    door = Door()
    put(door, "partition", **{"from": "comments"})
    assert door.visit("comments").unanswered
    assert not door.visit("posts").unanswered
    assert not door.visit().unanswered
    assert door.take("partition") == {"visitors": 1, "acted": 1}


# ── what a consumer makes of it ───────────────────────────────────────────


@pytest.mark.parametrize("kind", EVENT_FAULTS)
async def test_whoever_holds_events_against_the_offset_ends_with_each_once_and_in_order(
    careful: Consumer, kind: str
) -> None:
    bus = MemoryBus()
    put(careful.door, kind, probability=0.5)
    async with hearing(careful, bus):
        for number in range(1, 21):
            bus.tell(comment(number))
            await asyncio.sleep(0)
        await until(lambda: careful.door.evidence()[kind]["acted"] > 0)
        careful.door.take(kind)
        await until(lambda: careful.store.offset() == 20)
    assert careful.notes() == [str(number) for number in range(1, 21)]


@pytest.mark.parametrize(
    ("kind", "noted"),
    [
        ("drop", ["2", "3"]),
        ("duplicate", ["1", "1", "2", "3"]),
        ("reorder", ["2", "1", "3"]),
    ],
)
async def test_whoever_believes_what_comes_ends_with_what_came(
    believer: Consumer, kind: str, noted: list[str]
) -> None:
    bus = MemoryBus()
    put(believer.door, kind, first=1)
    async with hearing(believer, bus):
        bus.tell(comment(1), comment(2), comment(3))
        await until(lambda: believer.applier.position == 3)
    assert believer.notes() == noted


async def test_the_last_event_is_missed_although_nothing_comes_after_it(
    careful: Consumer,
) -> None:
    bus = MemoryBus()
    put(careful.door, "drop", first=1)
    async with hearing(careful, bus):
        bus.tell(comment(1))
        await until(lambda: careful.notes() == ["1"])


async def test_a_consumer_cut_off_from_the_bus_hears_all_when_it_is_healed(
    careful: Consumer,
) -> None:
    bus = MemoryBus()
    put(careful.door, "partition", **{"from": "event-bus"})
    async with hearing(careful, bus):
        bus.tell(comment(1), comment(2))
        await until(lambda: careful.door.evidence()["partition"]["acted"] == 1)
        assert careful.notes() == []
        careful.door.take("partition")
        await until(lambda: careful.notes() == ["1", "2"])


# ── whom a fault can reach ────────────────────────────────────────────────


def test_who_hears_which_event_is_as_the_services_declare() -> None:
    heard: dict[str, list[str]] = {}
    for name in SERVICES:
        service = importlib.import_module(f"lab.async_bus.{name}").service
        for kind in service.listeners:
            heard.setdefault(kind.type, []).append(name)
    assert {kind: tuple(who) for kind, who in heard.items()} == HEARD_BY
    assert hearers(ARRANGEMENTS["async-bus"]) == ("comments", "moderation", "query")
    assert hearers(ARRANGEMENTS["sync-chain"]) == ()


def test_who_asks_whom_is_as_the_handlers_do_it() -> None:
    asked: dict[str, set[str]] = {name: set() for name in SERVICES}
    for name in SERVICES:
        source = inspect.getsource(importlib.import_module(f"lab.sync_chain.{name}"))
        for whom in re.findall(r'ask\(\s*"(\w+)"', source):
            asked[whom].add(name)
    assert {whom: set(by) for whom, by in ASKED_BY.items()} == asked


@pytest.mark.parametrize(
    ("kind", "target", "options", "arrangement", "sentence"),
    [
        ("drop", "query", {}, "sync-chain", "nobody hears any in sync-chain"),
        ("drop", "posts", {}, "async-bus", "posts hears none. Take one of comments"),
        ("poison", "posts", {"type": "PostCreated"}, "async-bus", "posts doesn't hear PostCreated"),
        ("poison", "event-bus", {"type": "PostCreated"}, "request-reply", "would hurt nobody"),
        ("partition", "posts", {"from": "event-bus"}, "async-bus", "No events go from event-bus"),
        ("partition", "posts", {"from": "query"}, "monolith", "within a process"),
        ("partition", "posts", {"from": "query"}, "async-bus", "query never calls posts"),
        ("partition", "comments", {"from": "posts"}, "sync-chain", "posts never calls comments"),
        ("latency", "event-bus", {"ms": 1}, "sync-chain", "has no event-bus"),
    ],
)
def test_what_can_not_act_is_refused_with_a_reason(
    kind: str, target: str, options: dict[str, Any], arrangement: str, sentence: str
) -> None:
    why = out_of_reach(parse_fault(kind, target, options), ARRANGEMENTS[arrangement])
    assert why is not None
    assert sentence in why


@pytest.mark.parametrize(
    ("kind", "options", "sentence"),
    [
        ("poison", {"type": "CommentCreate"}, "Did you mean 'CommentCreated'"),
        ("partition", {"from": "post"}, "Did you mean 'posts'"),
        ("partition", {"from": "query"}, "not its own caller"),
        ("drop", {}, None),
        ("partition", {"from": "client"}, None),
    ],
)
def test_what_can_act_nowhere_is_told_apart(
    kind: str, options: dict[str, Any], sentence: str | None
) -> None:
    why = makes_no_sense(parse_fault(kind, "query", options))
    assert (why is None) if sentence is None else (sentence in (why or ""))


@pytest.mark.parametrize(
    ("kind", "options", "sentence"),
    [
        ("partition", {}, "'partition' needs 'from'"),
        ("poison", {}, "'poison' needs 'type'"),
        ("poison", {"type": "PostCreated", "first": 2}, "takes no 'first'"),
        ("drop", {"ms": 2}, "has no option 'ms'"),
    ],
)
def test_options_are_checked_before_anything_begins(
    kind: str, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse_fault(kind, "query", options)


# ── in a stack that runs ──────────────────────────────────────────────────


@asynccontextmanager
async def running(folder: Path, arrangement: str, **options: Any) -> AsyncIterator[Stack]:
    async with Supervisor(PRELOAD, folder) as supervisor:
        of = ARRANGEMENTS[arrangement]
        with Stack("blog", of, supervisor, folder, options=options) as stack:
            await supervisor.start(*stack.programs)
            yield stack


async def write_post(stack: Stack) -> str:
    answer = await stack.call("POST", stack.urls["posts"], "/posts", {"title": "A post"})
    assert answer.status == 201
    return str(answer.data["id"])


async def feed_has(stack: Stack, post_id: str) -> bool:
    answer = await stack.call("GET", stack.urls["query"], "/feed")
    return post_id in [entry["id"] for entry in answer.data]


async def seen(stack: Stack, post_id: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await feed_has(stack, post_id):
            pass


async def acted(stack: Stack, target: str, name: str) -> bool:
    hanging = await stack.call("GET", stack.urls[target], "/_lab/faults")
    return bool(hanging.data[name]["acted"])


async def test_a_poison_stops_its_consumers_and_health_says_where(tmp_path: Path) -> None:
    async with running(tmp_path, "async-bus") as stack:
        fault = parse_fault("poison", "query", {"type": "PostCreated"})
        injection = Injection(stack, fault, "poison")
        await injection.begin()
        await injection.end()
        assert injection.acted
        assert "query" in injection.evidence["failed"]
        sequence = injection.evidence["sequence"]
        told = ""
        async with asyncio.timeout(PATIENCE_S):
            while f"stuck at event {sequence}, a PostCreated" not in told:
                health = await stack.call("GET", stack.urls["query"], "/health")
                told = (health.data or {}).get("waits_for", "")
        later = await write_post(stack)
        assert await stack.settle(PATIENCE_S)  # behind one who is stuck nothing is under way
        assert not await feed_has(stack, later)


async def test_dead_letters_are_shown_and_sent_again_by_hand(tmp_path: Path) -> None:
    async with running(tmp_path, "async-bus", dead_letter=True) as stack:
        switchboard = Switchboard([stack])
        async with control_server(switchboard) as address:
            lab = RunningLab(1, 0.0, address.url, address.token, {"blog": stack.urls}, tmp_path)
            await switchboard.put("poison", "event-bus", {"type": "PostCreated"}, None)
            later = await write_post(stack)
            assert await stack.settle(PATIENCE_S)
            assert await feed_has(stack, later)
            said: list[str] = []
            await asyncio.to_thread(show_dead, lab, said.append)
            assert sorted(line.split(":")[0] for line in said) == ["blog comments", "blog query"]
            assert all("a PostCreated: title: Field required" in line for line in said)
            (deed,) = await switchboard.heal(None, None, None)
            assert "Laid aside by" in deed.says
            assert "comments and query" in deed.says
            said.clear()
            await asyncio.to_thread(redrive, lab, said.append, "query")
            (line,) = said
            assert line.startswith("blog query: event 1, a PostCreated, is still dead: ")
            said.clear()
            await asyncio.to_thread(show_events, lab, said.append, type_="PostCreated", after=1)
            (line,) = said
            assert later in line
            with pytest.raises(ControlError, match="No posts here hears events"):
                await asyncio.to_thread(redrive, lab, said.append, "posts")


async def test_in_the_chain_one_asker_is_cut_off_and_the_others_are_not(tmp_path: Path) -> None:
    async with running(tmp_path, "sync-chain", timeout_ms=200) as stack:
        post = await write_post(stack)
        fault = parse_fault("partition", "posts", {"from": "query"})
        injection = Injection(stack, fault, "cut")
        await injection.begin()
        feed = await stack.call("GET", stack.urls["query"], "/feed")
        comments = f"/posts/{post}/comments"
        comment = await stack.call("POST", stack.urls["comments"], comments, {"content": "x"})
        await injection.end()
        assert (feed.status, comment.status) == (504, 201)
        assert injection.acted
        assert injection.gone
        assert await feed_has(stack, post)


async def test_on_the_bus_a_teller_is_cut_off_and_tells_when_it_is_healed(tmp_path: Path) -> None:
    async with running(tmp_path, "async-bus") as stack:
        fault = parse_fault("partition", "event-bus", {"from": "posts"})
        injection = Injection(stack, fault, "cut")
        await injection.begin()
        post = await write_post(stack)
        async with asyncio.timeout(PATIENCE_S):
            while not await acted(stack, "event-bus", "cut"):
                pass
        assert not await feed_has(stack, post)
        await injection.end()
        assert injection.acted
        await seen(stack, post)


async def test_moderation_shows_that_it_judged_twice(tmp_path: Path) -> None:
    async with running(tmp_path, "async-bus", dedupe=False) as stack:
        post = await write_post(stack)
        assert await stack.settle(PATIENCE_S)
        fault = parse_fault("duplicate", "moderation", {})
        injection = Injection(stack, fault, "twice")
        await injection.begin()
        comments = f"/posts/{post}/comments"
        await stack.call("POST", stack.urls["comments"], comments, {"content": "said once"})
        assert await stack.settle(PATIENCE_S)
        await injection.end()
        assert injection.acted
        verdicts = await stack.call("GET", stack.urls["moderation"], "/verdicts")
        assert [one["content"] for one in verdicts.data] == ["said once", "said once"]
