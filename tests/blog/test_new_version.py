"""A service publishes in a new schema version: what detects it, and what a rollback repairs."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.cluster.arrangements import ARRANGEMENTS
from lab.cluster.fault_rules import why_fault_inapplicable
from lab.domain.events import CommentModerated, PostCreated
from lab.experiment.observers import measure_footprint, read_stuck_consumers
from lab.faults.kinds import NewVersionFault, parse_fault
from lab.faults.versions import VERSIONS, rewrite_envelope, rewrite_payload
from tests.blog.conftest import BlogWith
from tests.support.consumers import MemoryBus, RecordingConsumer, envelope
from tests.support.laboratory import PATIENCE_S, RunningBlog, eventually

POST = {"id": "p1", "title": "A title"}


# ── The rewrites


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (2, {**POST, "language": "en"}),
        (3, {"id": "p1", "headline": "A title"}),
        (4, {**POST, "headline": "A title"}),
    ],
)
def test_a_post_is_said_in_the_shape_of_its_version(version: int, said: dict[str, Any]) -> None:
    assert rewrite_payload(POST, version) == said
    assert rewrite_payload([POST, POST], version) == [said, said]
    told = envelope(PostCreated(**POST))
    assert json.loads(rewrite_envelope(told.model_dump_json(), version)) == {
        **told.model_dump(),
        "data": said,
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_events_that_are_no_posts_are_told_unchanged(version: int) -> None:
    verdict = envelope(CommentModerated(id="c", post_id="p", content="x", status="approved"))
    told = verdict.model_dump_json()
    assert rewrite_envelope(told, version) is told


@pytest.mark.parametrize("version", [2, 4])
def test_readers_of_events_ignore_unknown_fields(version: int) -> None:
    assert PostCreated.model_validate(rewrite_payload(POST, version)) == PostCreated(**POST)


@pytest.mark.parametrize("version", [1, 5])
def test_an_unknown_version_is_refused(version: int) -> None:
    with pytest.raises(ValueError, match="'new_version' can't have version"):
        parse_fault("new_version", "posts", {"version": version})


@pytest.mark.parametrize(
    ("arrangement", "target", "why"),
    [
        ("monolith", "posts", "deployed together"),
        ("async-bus", "comments", "no other version"),
        ("sync-chain", "posts", None),
        ("async-bus", "posts", None),
    ],
)
def test_only_posts_deployed_alone_can_have_another_version(
    arrangement: str, target: str, why: str | None
) -> None:
    said = why_fault_inapplicable(
        NewVersionFault(target=target, version=3), ARRANGEMENTS[arrangement]
    )
    assert (why is None and said is None) or (why and said and why in said)


# ── Running services


def test_the_chain_fails_until_the_new_version_is_taken_back(chain_blog: RunningBlog) -> None:
    chain_blog.write_post("before")
    with chain_blog.broken("new_version", "posts", version=3) as injection:
        written = chain_blog.ask("POST", "posts", "/posts", json={"title": "meanwhile"})
        assert written.status_code == 201
        assert written.json()["headline"] == "meanwhile"
        assert chain_blog.ask("GET", "query", "/feed").status_code == 500
    assert injection.acted
    assert injection.removed
    titles = [entry["title"] for entry in chain_blog.get("query", "/feed")]
    assert titles == ["meanwhile", "before"]


@pytest.mark.parametrize("version", [2, 4])
def test_old_readers_on_the_bus_ignore_additional_fields(
    bus_blog: RunningBlog, version: int
) -> None:
    with bus_blog.broken("new_version", "posts", version=version) as injection:
        post = bus_blog.write_post(f"in version {version}")
    assert injection.acted
    entry = bus_blog.feed_entry(post["id"])
    assert entry is not None
    assert entry["title"] == f"in version {version}"


def read_stuck(blog: RunningBlog) -> dict[str, Any]:
    return blog.laboratory.run(read_stuck_consumers(blog.stack))


@pytest.mark.parametrize("dead_letter", [False, True])
def test_a_renamed_field_stops_readers_or_makes_dead_letters(
    blog_with: BlogWith, dead_letter: bool
) -> None:
    failed = {"comments": 1, "query": 1}
    with blog_with("async-bus", dead_letter=dead_letter) as blog:
        old = blog.write_post("old")
        with blog.broken("new_version", "posts", version=3):
            assert blog.ask("POST", "posts", "/posts", json={"title": "new"}).status_code == 201
            if dead_letter:
                eventually(lambda: read_stuck(blog)["dead_letters"] == failed, "dead letters")
            else:
                eventually(lambda: read_stuck(blog)["stuck"].keys() == failed.keys(), "both stuck")
        later = blog.ask("POST", "posts", "/posts", json={"title": "later"}).json()
        blog.settle()  # nothing more arrives behind a stuck consumer
        feed = [entry["id"] for entry in blog.get("query", "/feed")]
        if dead_letter:
            assert feed == [later["id"], old["id"]]
            assert read_stuck(blog)["stuck"] == {}
        else:
            assert feed == [old["id"]]
            assert "title: Field required" in read_stuck(blog)["stuck"]["query"]


def test_the_bus_takes_a_process_more_than_the_chain(
    bus_blog: RunningBlog, chain_blog: RunningBlog
) -> None:
    told, asked = (measure_footprint(one.stack.pids().values()) for one in (bus_blog, chain_blog))
    assert (told.processes, asked.processes) == (5, 4)
    for seen in (told, asked):
        assert seen.memory_mib is None or seen.memory_mib > 1


# ── Retries


async def test_each_failing_event_is_tried_again_equally_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    sleep: Callable[[float], Any] = asyncio.sleep

    async def record_pause(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    consumer, bus = RecordingConsumer(tmp_path, dead_letter=True), MemoryBus()
    verdict = CommentModerated(id="c", post_id="p", content="x", status="approved")
    bus.publish(envelope(verdict), envelope(verdict))
    with monkeypatch.context() as patch:
        patch.setattr("lab.async_bus.consumer.asyncio.sleep", record_pause)
        hearing = asyncio.create_task(consumer.make_consumer(bus).run())
        async with asyncio.timeout(PATIENCE_S):
            while consumer.inbox.position < 2:
                await sleep(0)
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)
    consumer.store.close()
    assert [one for one in pauses if one] == [0.02, 0.04, 0.08, 0.16] * 2
