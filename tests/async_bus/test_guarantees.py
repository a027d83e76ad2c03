"""The sentences of docs/guarantees.md about events, tried on random histories of failures.

A history is a list of steps: writes, deliveries, crashes at any commit, full disks, copies of the
log that come back, retention, poison events, redrives. After it everything is mended and goes on
until nothing changes; then each sentence has to hold (tests/support/guarantee_world.py).
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.guarantee_world import (
    CONSUMERS,
    PUBLISHERS,
    SERVICES,
    GuaranteeWorld,
    Step,
    take_step,
)

# ── Histories

_ERRORS = st.sampled_from(["", "", "", "crash", "crash", "full", "locked"])
_PUBLISHING = st.sampled_from([{}, {}, {"acknowledges": False}, {"down": True}])
_KINDS = [
    ("comments", "PostCreated"),
    ("comments", "CommentModerated"),
    ("moderation", "CommentCreated"),
    ("query", "PostCreated"),
    ("query", "CommentCreated"),
    ("query", "CommentUpdated"),
]

WRITES = [
    st.just(("post", "posts")),
    st.tuples(st.just("comment"), st.just("comments"), st.integers(0, 3), st.booleans()),
    st.tuples(st.just("comment"), st.just("comments"), st.integers(0, 3), st.booleans()),
]
DELIVERIES = [
    st.tuples(st.just("publish"), st.sampled_from(PUBLISHERS), _PUBLISHING),
    st.tuples(
        st.just("consume"),
        st.sampled_from(CONSUMERS),
        st.sampled_from([1, 2, 500]),
        st.sampled_from([1, 6]),
        _ERRORS,
        st.integers(0, 6),
    ),
]
OTHERS = [
    st.tuples(st.just("commit"), st.sampled_from(list(SERVICES))),
    st.tuples(st.just("kill"), st.sampled_from(list(SERVICES))),
    st.just(("restart", "bus")),
]
POISON = [
    st.sampled_from([("poison", *kind) for kind in _KINDS]),
    st.sampled_from([("poison one", *kind) for kind in _KINDS]),
    st.just(("mend", "")),
    st.tuples(
        st.just("redrive"),
        st.sampled_from(CONSUMERS),
        st.sampled_from(["", "crash"]),
        st.integers(0, 3),
    ),
]
RESTORATIONS = [
    st.just(("copy", "bus")),
    st.tuples(st.just("restore"), st.just("bus"), st.integers(0, 3)),
]
RETENTION = [st.tuples(st.just("expire"), st.just("bus"), st.integers(1, 5))]


def histories(*kinds: Sequence[st.SearchStrategy[Step]]) -> st.SearchStrategy[list[Step]]:
    """Long ones; a failing one is shortened by steps that do nothing."""
    nothing = st.just(("nothing", ""))
    flow = [st.just(("flow", ""))]
    every = (WRITES, DELIVERIES, DELIVERIES, flow, OTHERS, *kinds, *kinds)
    step = st.one_of(nothing, *(step for kind in every for step in kind))
    return st.lists(step, min_size=30, max_size=60)


ALL_KEPT = 10_000
_SWITCHES = st.fixed_dictionaries(
    {
        "dead_letter": st.booleans(),
        "apply_ms": st.sampled_from([0.0, 0.0, 0.001]),
        "restarted": st.booleans(),
    }
)


@contextmanager
def lived(
    history: Sequence[Step], outbox: int = ALL_KEPT, restarted: bool = False, **switches: Any
) -> Iterator[GuaranteeWorld]:
    """The world after a history, settled.

    `outbox`: how many published events a service keeps. `restarted`: all services were killed
    before they settled.
    """

    async def live() -> None:
        await world.begin()
        for step in history:
            await take_step(world, step)
        if restarted:
            for name in SERVICES:
                world.kill(name)
        await world.settle()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lab.service.store.PUBLISHED_RETENTION", outbox)
        patch.setattr("traceback.print_exc", lambda: None)
        patch.setattr("traceback.print_exception", lambda error: None)
        world = GuaranteeWorld(**switches)
        try:
            asyncio.run(live())
            yield world
        finally:
            world.close()


def check_histories(
    count: int, kinds: list[Any], check: Callable[[GuaranteeWorld], None], outbox: int = ALL_KEPT
) -> None:
    """Check `count` histories, always the same ones."""

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(histories(*kinds), _SWITCHES)
    def try_history(history: list[Step], switches: dict[str, Any]) -> None:
        with lived(history, outbox, **switches) as world:
            check(world)
            assert_once(world)
            assert_in_order(world)
            assert_no_event_blamed(world)

    try_history()


counted = pytest.mark.parametrize(
    "count",
    [
        40,
        pytest.param(400, marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
        pytest.param(20_000, marks=pytest.mark.soak),
    ],
)
"""Histories a test: 200 in all five tests in `make test`, 2,000 in `make test-all`, 100,000 in
`make soak`."""

# ── Sentences


def assert_whole(world: GuaranteeWorld) -> None:
    """Every copy is whole, and shows no comment with another status than its owner's."""
    posts = world.rows("posts", "SELECT id, title FROM posts ORDER BY id")
    assert world.rows("query", "SELECT id, title FROM posts ORDER BY id") == posts
    known = world.rows("comments", "SELECT id FROM known_posts ORDER BY id")
    assert known == [(post_id,) for post_id, _ in posts]
    comments = world.rows("comments", "SELECT * FROM comments ORDER BY id")
    assert world.rows("query", "SELECT * FROM comments ORDER BY id") == comments
    verdicts = world.rows("moderation", "SELECT content, status FROM verdicts ORDER BY content")
    assert verdicts == sorted((content, status) for _, _, content, status in comments)


def assert_once(world: GuaranteeWorld) -> None:
    """No event has its effect twice, and no service takes an id twice."""
    verdicts = world.rows("moderation", "SELECT content FROM verdicts")
    assert max(Counter(verdicts).values(), default=1) == 1
    for name in CONSUMERS:
        assert max(Counter(world.consumed(name)).values(), default=1) == 1, name
    updated = world.rows("comments", "SELECT count(*) FROM ever_told")
    (comments,) = world.rows("comments", "SELECT count(*) FROM comments")[0]
    assert updated[0][0] <= 2 * comments


def assert_in_order(world: GuaranteeWorld) -> None:
    """Each service takes the events of one publisher in the order of their publication.

    Events that an alert called lost for good may come back, late, with a newer copy of the log.
    """
    if world.alerts_with("for good"):
        return
    for publisher in PUBLISHERS:
        order = {event_id: number for number, event_id in enumerate(world.told(publisher))}
        for name in CONSUMERS:
            taken = [order[event_id] for event_id in world.consumed(name) if event_id in order]
            assert taken == sorted(taken), f"{name} and the events of {publisher}"


def assert_no_event_blamed(world: GuaranteeWorld) -> None:
    """An error of the machine makes no dead letter; a mended event is none any more."""
    assert not any(world.dead_letters().values())
    if not world.poisonings:
        assert not world.ever_dead


def assert_nothing_lost(world: GuaranteeWorld) -> None:
    assert_whole(world)
    assert world.alerts == []


def assert_restored(world: GuaranteeWorld) -> None:
    assert_whole(world)
    assert world.alerts_with("for good", "can't be made whole") == []
    logged = {event_id for (event_id,) in world.log_ids()}
    for publisher in PUBLISHERS:
        assert logged >= set(world.told(publisher))


def assert_loss_named(world: GuaranteeWorld) -> None:
    logged = {event_id for (event_id,) in world.log_ids()}
    for publisher in PUBLISHERS:
        if not logged >= set(world.told(publisher)):
            named = [text for name, text in world.alerts if name == publisher]
            assert any("for good" in text for text in named), publisher


def assert_whole_or_named(world: GuaranteeWorld) -> None:
    for name in CONSUMERS:
        if world.running[name].inbox.position < world.log.head:
            assert world.running[name].consumer.not_ready_because
            named = [text for who, text in world.alerts if who == name]
            assert any("can't be made whole" in text for text in named), name
    if not world.alerts:
        assert_whole(world)


def assert_nothing_more(world: GuaranteeWorld) -> None:
    """Only what every history has to keep."""


# ── Properties


@counted
def test_crashes_and_full_disks_lose_nothing_and_raise_no_alarm(count: int) -> None:
    check_histories(count, [POISON], assert_nothing_lost)


@counted
def test_a_log_that_lost_its_tail_is_made_whole(count: int) -> None:
    check_histories(count, [RESTORATIONS, POISON], assert_restored)


@counted
def test_a_loss_beyond_the_outbox_is_named(count: int) -> None:
    check_histories(count, [RESTORATIONS], assert_loss_named, outbox=2)


@counted
def test_a_copy_behind_a_shortened_log_is_whole_or_says_so(count: int) -> None:
    check_histories(count, [RETENTION], assert_whole_or_named)


@counted
def test_whatever_happens_effects_come_once_and_in_order(count: int) -> None:
    check_histories(count, [RESTORATIONS, RETENTION, POISON], assert_nothing_more, outbox=2)


def test_events_that_retention_deleted_do_not_come_back_behind_newer_ones() -> None:
    """A log lost its tail, got it again, deleted most of it; then all publishers crashed."""
    history: list[Step] = [
        ("restore", "bus", 0),
        ("comment", "comments", 0, False),
        ("comment", "comments", 0, False),
        ("publish", "comments", {}),
        ("expire", "bus", 1),
    ]
    with lived(history, outbox=2, restarted=True) as world:
        assert_in_order(world)
