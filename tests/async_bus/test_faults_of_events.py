"""Events come in through the same door as requests: they can be hit, and none is lost by it."""

from typing import Any

import pytest

from tests.blog.test_faults import evidence_now
from tests.support.laboratory import Blog, eventually

CONSUMERS = ["comments", "moderation", "query"]
CUTTING: dict[str, dict[str, Any]] = {
    "error": {},
    "timeout": {},
    "reset_peer": {},
    "down": {},
    "hang": {},
}


def feed_is_complete(blog: Blog, post: dict[str, Any], contents: list[str]) -> None:
    """All settles; the feed shows the post with exactly these comments, all of them decided."""
    blog.settle()
    entry = blog.feed_entry(post["id"])
    assert entry is not None
    assert [comment["content"] for comment in entry["comments"]] == contents
    assert {comment["status"] for comment in entry["comments"]} <= {"approved"}


def heads(blog: Blog) -> int:
    return int(blog.state("event-bus")["head"])


def test_latency_at_comments_makes_the_verdict_late(bus_blog: Blog) -> None:
    post = bus_blog.write_post()
    with bus_blog.broken("latency", "comments", ms=1_000, first=2) as injection:
        before = heads(bus_blog)
        bus_blog.write_comment(post["id"])  # the first one to be held; then its own event
        eventually(lambda: heads(bus_blog) >= before + 2, "a verdict on the bus")
        comments = bus_blog.get("comments", f"/posts/{post['id']}/comments")
        assert [comment["status"] for comment in comments] == ["pending"]
        eventually(
            lambda: bus_blog.state("comments")["offset"] >= before + 2, "a verdict that is heard"
        )
    assert injection.evidence["acted"] == 2
    assert injection.evidence["delayed_ms_min"] >= 1_000
    feed_is_complete(bus_blog, post, ["A comment"])


@pytest.mark.parametrize("kind", ["error", "timeout", "reset_peer"])
@pytest.mark.parametrize("target", CONSUMERS)
def test_a_consumer_that_is_cut_off_hears_everything_when_it_is_healed(
    bus_blog: Blog, target: str, kind: str
) -> None:
    post = bus_blog.write_post()
    contents = []
    with bus_blog.broken(kind, target) as injection:
        offset = bus_blog.state(target)["offset"]
        for number in range(5):
            if target != "comments":  # whose door clients need, too
                bus_blog.write_comment(post["id"], f"{number}")
                contents.append(f"{number}")
        later = bus_blog.ask("POST", "posts", "/posts", json={"title": "later"}).json()
        eventually(lambda: evidence_now(bus_blog, target)["fault"]["acted"], "a delivery cut off")
        assert bus_blog.state(target)["offset"] == offset
    assert injection.acted
    assert injection.gone
    feed_is_complete(bus_blog, post, contents)
    feed_is_complete(bus_blog, later, [])
    bus_blog.write_comment(later["id"], "heard of")
    feed_is_complete(bus_blog, later, ["heard of"])


@pytest.mark.parametrize("kind", ["error", "reset_peer", "latency"])
@pytest.mark.parametrize("target", ["moderation", "query"])
def test_a_consumer_that_is_hit_now_and_then_gets_everything_in_the_end(
    bus_blog: Blog, target: str, kind: str
) -> None:
    options: dict[str, Any] = {"ms": 5} if kind == "latency" else {}
    post = bus_blog.write_post()
    contents = [f"{number}" for number in range(20)]
    with bus_blog.broken(kind, target, probability=0.5, **options) as injection:
        for content in contents:
            bus_blog.write_comment(post["id"], content)
        bus_blog.settle()  # while the fault still acts
    assert 0 < injection.evidence["acted"] < injection.evidence["visitors"]
    feed_is_complete(bus_blog, post, contents)


@pytest.mark.parametrize("target", CONSUMERS)
@pytest.mark.parametrize("kind", ["down", "hang"])
def test_a_consumer_that_was_away_catches_up(bus_blog: Blog, target: str, kind: str) -> None:
    post = bus_blog.write_post()
    contents = []
    with bus_blog.broken(kind, target):
        for number in range(5):
            if target != "comments":
                bus_blog.write_comment(post["id"], f"{number}")
                contents.append(f"{number}")
        later = bus_blog.ask("POST", "posts", "/posts", json={"title": "later"}).json()
    feed_is_complete(bus_blog, post, contents)
    feed_is_complete(bus_blog, later, [])


@pytest.mark.parametrize("kind", ["latency", *CUTTING])
def test_while_the_bus_is_broken_everybody_answers_and_nothing_is_lost(
    bus_blog: Blog, kind: str
) -> None:
    options: dict[str, Any] = {"ms": 20} if kind == "latency" else {}
    post = bus_blog.write_post()
    contents = [f"{number}" for number in range(5)]
    with bus_blog.broken(kind, "event-bus", **options) as injection:
        for content in contents:
            assert bus_blog.comment(post["id"], content).status_code == 201
        assert bus_blog.feed_entry(post["id"]) is not None
        if kind not in ("down", "hang"):
            eventually(
                lambda: evidence_now(bus_blog, "event-bus")["fault"]["acted"], "an append cut off"
            )
    assert injection.acted
    assert injection.gone
    feed_is_complete(bus_blog, post, contents)
