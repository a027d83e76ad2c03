"""Events pass the same fault filter as requests: faults hit them, and none is lost by that."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from lab.cluster.injector import Injection
from tests.support.consumers import evidence_now
from tests.support.laboratory import RunningBlog, eventually

FAILING_TOGETHER = [("comments",), ("moderation", "query")]
"""Consumers that fail together: not `comments` with others, because it publishes their events."""


@contextmanager
def break_all(
    blog: RunningBlog, kind: str, targets: tuple[str, ...], **options: Any
) -> Iterator[list[Injection]]:
    with ExitStack() as held:
        yield [held.enter_context(blog.broken(kind, one, **options)) for one in targets]


def write(blog: RunningBlog, post: dict[str, Any], count: int) -> list[str]:
    """Write `count` comments on a post; their contents."""
    contents = [f"{number}" for number in range(count)]
    for content in contents:
        blog.write_comment(post["id"], content)
    return contents


def assert_feed_complete(blog: RunningBlog, post: dict[str, Any], contents: list[str]) -> None:
    """Wait until all settles; the feed then shows the post with exactly these comments, decided."""
    blog.settle()
    entry = blog.feed_entry(post["id"])
    assert entry is not None
    assert [comment["content"] for comment in entry["comments"]] == contents
    assert {comment["status"] for comment in entry["comments"]} <= {"approved"}


def test_latency_at_comments_holds_its_events_too(bus_blog: RunningBlog) -> None:
    post = bus_blog.write_post()
    with bus_blog.broken("latency", "comments", ms=100, first=2) as injection:
        bus_blog.write_comment(post["id"])  # the first one is held; from then on events arrive
        eventually(
            lambda: evidence_now(bus_blog, "comments")["acted"] == 2, "a delivery that is held"
        )
        assert_feed_complete(bus_blog, post, ["A comment"])
    assert injection.evidence["acted"] == 2
    assert injection.evidence["delayed_ms_min"] >= 100


@pytest.mark.parametrize("kind", ["error", "timeout", "reset_peer", "down", "hang"])
@pytest.mark.parametrize("targets", FAILING_TOGETHER, ids=" and ".join)
def test_a_consumer_that_was_cut_off_hears_everything_later(
    bus_blog: RunningBlog, targets: tuple[str, ...], kind: str
) -> None:
    post = bus_blog.write_post()
    before = [bus_blog.state(target)["offset"] for target in targets]
    with break_all(bus_blog, kind, targets) as injections:
        contents = [] if "comments" in targets else write(bus_blog, post, 5)
        response = bus_blog.ask("POST", "posts", "/posts", json={"title": "of which all hear late"})
        assert response.status_code == 201
        if kind not in ("down", "hang"):
            eventually(lambda: all(evidence_now(bus_blog, one)["acted"] for one in targets), "cuts")
            assert [bus_blog.state(target)["offset"] for target in targets] == before
    assert all(one.acted and one.removed for one in injections)
    assert_feed_complete(bus_blog, post, contents)
    assert_feed_complete(bus_blog, response.json(), [])
    bus_blog.write_comment(response.json()["id"], "heard of")
    assert_feed_complete(bus_blog, response.json(), ["heard of"])


@pytest.mark.parametrize("kind", ["error", "reset_peer"])
def test_a_consumer_that_is_often_hit_hears_everything(bus_blog: RunningBlog, kind: str) -> None:
    targets = ("moderation", "query")
    post = bus_blog.write_post()
    contents: list[str] = []

    def each_was_hit_and_missed() -> bool:
        contents.append(str(len(contents)))
        bus_blog.write_comment(post["id"], contents[-1])
        bus_blog.settle()  # while the fault is still active
        seen = [evidence_now(bus_blog, target) for target in targets]
        return all(0 < one["acted"] < one["visitors"] for one in seen)

    with break_all(bus_blog, kind, targets, probability=0.5):
        eventually(each_was_hit_and_missed, "deliveries that were hit, and others")
    assert_feed_complete(bus_blog, post, contents)


@pytest.mark.parametrize("kind", ["latency", "error", "timeout", "reset_peer", "down", "hang"])
def test_while_the_bus_is_broken_all_answer_and_lose_nothing(
    bus_blog: RunningBlog, kind: str
) -> None:
    options: dict[str, Any] = {"ms": 20} if kind == "latency" else {}
    post = bus_blog.write_post()
    with bus_blog.broken(kind, "event-bus", **options) as injection:
        contents = write(bus_blog, post, 5)
        assert bus_blog.feed_entry(post["id"]) is not None
        if kind not in ("down", "hang"):
            eventually(lambda: evidence_now(bus_blog, "event-bus")["acted"], "an append cut off")
    assert injection.acted
    assert injection.removed
    assert_feed_complete(bus_blog, post, contents)
