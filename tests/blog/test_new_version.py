"""A service that says the same in another shape: who notices, and what taking it back mends."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.async_bus.hear import Inbox
from lab.cluster.reach import out_of_reach
from lab.cluster.topology import ARRANGEMENTS
from lab.domain.events import CommentModerated, PostCreated
from lab.faults.kinds import NewVersion, parse_fault
from lab.faults.versions import VERSIONS, in_version, told_in_version
from lab.scenarios.footprint import footprint
from lab.scenarios.halted import read_halted
from tests.support.consumers import Consumer, MemoryBus, envelope
from tests.support.laboratory import Blog, Laboratory, eventually

POST = {"id": "p1", "title": "A title"}


# ── The table ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (2, {**POST, "language": "en"}),
        (3, {"id": "p1", "headline": "A title"}),
        (4, {**POST, "headline": "A title"}),
    ],
)
def test_a_post_is_said_in_the_shape_of_its_version(version: int, said: dict[str, Any]) -> None:
    assert in_version(POST, version) == said
    assert in_version([POST, POST], version) == [said, said]
    told = envelope(PostCreated(**POST))
    assert json.loads(told_in_version(told.model_dump_json(), version)) == {
        **told.model_dump(),
        "data": said,
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_no_post_is_said_as_ever(version: int) -> None:
    verdict = envelope(CommentModerated(id="c", post_id="p", content="x", status="approved"))
    told = verdict.model_dump_json()
    assert told_in_version(told, version) is told


@pytest.mark.parametrize("version", [2, 4])
def test_readers_of_events_pass_over_a_field_they_do_not_know(version: int) -> None:
    assert PostCreated.model_validate(in_version(POST, version)) == PostCreated(**POST)


@pytest.mark.parametrize("version", [1, 5])
def test_a_version_that_there_is_not_is_refused(version: int) -> None:
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
def test_only_what_is_deployed_alone_can_have_another_version(
    arrangement: str, target: str, why: str | None
) -> None:
    said = out_of_reach(NewVersion(target=target, version=3), ARRANGEMENTS[arrangement])
    assert (why is None and said is None) or (why and said and why in said)


# ── Running services ──────────────────────────────────────────────────────────────────────────


def test_the_chain_fails_at_once_and_is_whole_when_it_is_taken_back(chain_blog: Blog) -> None:
    chain_blog.write_post("before")
    with chain_blog.broken("new_version", "posts", version=3) as injection:
        written = chain_blog.ask("POST", "posts", "/posts", json={"title": "meanwhile"})
        assert written.status_code == 201
        assert written.json()["headline"] == "meanwhile"
        assert chain_blog.ask("GET", "query", "/feed").status_code == 500
    assert injection.acted
    assert injection.gone
    assert [entry["title"] for entry in chain_blog.get("query", "/feed")] == ["meanwhile", "before"]


@pytest.mark.parametrize("version", [2, 4])
def test_on_the_bus_old_readers_digest_what_keeps_the_old_names(
    bus_blog: Blog, version: int
) -> None:
    with bus_blog.broken("new_version", "posts", version=version) as injection:
        post = bus_blog.write_post(f"in version {version}")
    assert injection.acted
    entry = bus_blog.feed_entry(post["id"])
    assert entry is not None
    assert entry["title"] == f"in version {version}"


def halted(blog: Blog) -> dict[str, Any]:
    return blog.laboratory.run(read_halted(blog.stack))


def test_on_the_bus_a_renamed_field_stops_its_readers_and_stays_when_it_is_taken_back(
    laboratory: Laboratory,
) -> None:
    with laboratory.blog("async-bus", "renamed") as blog:
        old = blog.write_post("old")
        with blog.broken("new_version", "posts", version=3):
            assert blog.ask("POST", "posts", "/posts", json={"title": "new"}).status_code == 201
            eventually(lambda: set(halted(blog)["stuck"]) == {"comments", "query"}, "both stuck")
        later = blog.ask("POST", "posts", "/posts", json={"title": "later"})
        assert later.status_code == 201
        blog.settle()  # nothing more will come of waiting
        assert [entry["id"] for entry in blog.get("query", "/feed")] == [old["id"]]
        assert "title: Field required" in halted(blog)["stuck"]["query"]


def test_with_dead_letters_its_readers_go_on_without_those_posts(laboratory: Laboratory) -> None:
    with laboratory.blog("async-bus", "renamed-dead", dead_letter=True) as blog:
        with blog.broken("new_version", "posts", version=3):
            assert blog.ask("POST", "posts", "/posts", json={"title": "new"}).status_code == 201
            eventually(lambda: halted(blog)["dead_letters"] == {"comments": 1, "query": 1}, "boxes")
        later = blog.write_post("later")
        assert [entry["id"] for entry in blog.get("query", "/feed")] == [later["id"]]
        assert halted(blog)["stuck"] == {}


def test_the_bus_takes_a_process_more_than_the_chain(bus_blog: Blog, chain_blog: Blog) -> None:
    told, asked = (footprint(one.stack.pids().values()) for one in (bus_blog, chain_blog))
    assert (told.processes, asked.processes) == (5, 4)
    for seen in (told, asked):
        assert seen.memory_mib is None or seen.memory_mib > 1


# ── Attempts ──────────────────────────────────────────────────────────────────────────────────


async def test_each_event_that_fails_is_tried_again_as_soon_as_the_first_one_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    sleep: Callable[[float], Any] = asyncio.sleep

    async def noted(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    consumer, bus = Consumer(tmp_path, dead_letter=True), MemoryBus()
    monkeypatch.setattr("lab.async_bus.hear.asyncio.sleep", noted)
    for number in range(2):
        bus.tell(
            envelope(CommentModerated(id=f"{number}", post_id="p", content="x", status="approved"))
        )
    inbox: Inbox = consumer.inbox(bus)
    hearing = asyncio.create_task(inbox.run())
    give_up = asyncio.get_running_loop().time() + 20
    while consumer.applier.position < 2 and asyncio.get_running_loop().time() < give_up:
        await sleep(0)
    hearing.cancel()
    await asyncio.gather(hearing, return_exceptions=True)
    consumer.store.close()
    waited = [one for one in pauses if one]
    assert waited == [0.02, 0.04, 0.08, 0.16] * 2
