"""One service of somebody else's inside the lab's own stack, on the course's bus."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.cluster.errors import LabCannotRun, PortTaken
from lab.cluster.injector import Injection
from lab.cluster.ports import reserve
from lab.cluster.reach import out_of_reach
from lab.cluster.supervisor import Supervisor
from lab.cluster.topology import PRELOAD
from lab.domain.directory import BUS
from lab.faults.kinds import parse_fault
from lab.foreign.made_of import arrangement_with
from lab.foreign.mapping import Actions
from lab.foreign.parts import PRELOAD as FOREIGN_PRELOAD
from lab.foreign.replaced import ReplacedStack
from lab.foreign.target import COURSE_PORTS, Target
from lab.foreign.words import Words
from lab.scenarios.foreign import notes_on
from lab.scenarios.prepared import prepared
from lab.scenarios.scenario import Scenario
from tests.support.foreign_blog import PROGRAM, a_target, service

PATIENCE_S = 20.0


@asynccontextmanager
async def standing(part: str, target: Target, folder: Path) -> AsyncIterator[ReplacedStack]:
    async with Supervisor((*PRELOAD, *FOREIGN_PRELOAD), folder) as supervisor:
        with ReplacedStack("ours", part, target, supervisor, folder) as stack:
            await stack.start()
            yield stack


async def write(stack: ReplacedStack, service: str, path: str, **body: str) -> str:
    answer = await stack.call("POST", stack.urls[service], path, body)
    assert answer.status == 201, answer
    assert await stack.settle(PATIENCE_S)
    return str(answer.data["id"])


async def until_it_has_acted(stack: ReplacedStack, kind: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while kind != "down":
            told = (await stack.call("GET", stack.urls["query"], "/_lab/faults")).data
            if told["fault"]["acted"]:
                return
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("part", ["posts", "comments", "query", "moderation"])
async def test_the_lab_s_other_services_work_on_with_theirs(part: str, tmp_path: Path) -> None:
    async with standing(part, a_target(), tmp_path) as stack:
        post = await write(stack, "posts", "/posts", title="A title")
        await write(stack, "comments", f"/posts/{post}/comments", content="red")
        await write(stack, "comments", f"/posts/{post}/comments", content="orange")
        feed = (await stack.call("GET", stack.urls["query"], "/feed")).data
        assert [entry["title"] for entry in feed] == ["A title"]
        told = {one["content"]: one["status"] for one in feed[0]["comments"]}
        assert told == {"red": "approved", "orange": "rejected"}


async def test_faults_act_on_it_as_on_the_others(tmp_path: Path) -> None:
    async with standing("query", a_target(), tmp_path) as stack:
        for kind, options in (("partition", {"from": BUS}), ("down", {}), ("latency", {"ms": 5})):
            fault = Injection(stack, parse_fault(kind, "query", options), "fault")
            await fault.begin(seed=7)
            await stack.call("POST", stack.urls["posts"], "/posts", {"title": kind})
            await stack.call("GET", stack.urls["query"], "/feed")
            await until_it_has_acted(stack, kind)
            await fault.end()
            assert fault.acted, (kind, fault.evidence)
            assert fault.gone
        assert await stack.settle(PATIENCE_S)


def test_the_bus_is_where_the_course_has_it_for_who_is_not_told(tmp_path: Path) -> None:
    untold = service("comments") | {"env": {"BUS": "http://localhost:4005/events"}}
    target = a_target(comments=untold)

    async def begin() -> None:
        async with standing("comments", target, tmp_path):
            pass

    try:
        taken = reserve(COURSE_PORTS[BUS])
    except PortTaken:
        pytest.skip("somebody has the course's port just now")
    with taken, pytest.raises(LabCannotRun, match="the event bus, for comments of mine, is looked"):
        asyncio.run(begin())


@pytest.mark.parametrize(
    ("target", "kind", "options", "why"),
    [
        ("comments", "down", {}, None),
        ("comments", "drop", {}, None),
        ("query", "drop", {}, None),
        ("comments", "poison", {"type": "PostCreated"}, "comments is not"),
        (BUS, "poison", {"type": "PostCreated"}, None),
    ],
)
def test_what_can_be_done_there(
    target: str, kind: str, options: dict[str, Any], why: str | None
) -> None:
    found = out_of_reach(
        parse_fault(kind, target, options), arrangement_with("comments", a_target())
    )
    assert (found is None) if why is None else (found is not None and why in found)


def test_both_sides_find_their_own_names_in_an_event() -> None:
    theirs = {"type": "CommentCreated", "data": {"id": 7, "postId": 3, "content": "x"}}
    assert Words().in_ours(theirs)["data"] == {
        **{"id": "7", "post_id": "3", "postId": 3, "content": "x"}
    }
    ours = {"type": "CommentModerated", "data": {"id": "a", "post_id": "b"}}
    assert Words().in_theirs(ours)["data"] == {"id": "a", "post_id": "b", "postId": "b"}
    assert Words().in_ours({"type": "x", "data": [1]}) == {"type": "x", "data": [1]}


def test_what_the_target_calls_a_comment_s_text_is_what_its_events_call_it() -> None:
    words = Words.of(
        Actions.model_validate(
            {
                "create_comment": {
                    "path": "/comments",
                    "body": {"text": "{content}", "post": "{post_id:number}"},
                },
                "read_feed": {"comment": {"id": "_id", "status": "meta.state"}},
            }
        )
    )
    theirs = {"type": "CommentCreated", "data": {"_id": 7, "post": 3, "text": "x"}}
    told = words.in_ours(theirs)["data"]
    assert told == theirs["data"] | {"id": "7", "post_id": "3", "content": "x"}
    ours = {"type": "CommentModerated", "data": {"id": "a", "content": "x", "status": "approved"}}
    heard = words.in_theirs(ours)["data"]
    assert heard == ours["data"] | {"_id": "a", "text": "x", "state": "approved"}
    post = {"type": "PostCreated", "data": {"id": "b", "title": "y"}}
    assert words.in_theirs(post) == post


async def test_a_comment_that_they_call_a_text_is_shown(tmp_path: Path) -> None:
    target = a_target(
        comments=service("comments", TEXT="text"),
        actions={"create_comment": {"body": {"text": "{content}"}}},
    )
    async with standing("comments", target, tmp_path) as stack:
        post = await write(stack, "posts", "/posts", title="A title")
        await write(stack, "comments", f"/posts/{post}/comments", content="red")
        feed = (await stack.call("GET", stack.urls["query"], "/feed")).data
        told = [(one["content"], one["status"]) for one in feed[0]["comments"]]
        assert told == [("red", "approved")]


BLOG: dict[str, Any] = {"name": "calm", "title": "Calm", "variants": {"async-bus": {}}}


def test_it_is_one_more_variant_that_says_whose_it_is() -> None:
    scenario = Scenario.model_validate(BLOG)
    changed = prepared(scenario, replaced=("comments", a_target()))
    assert list(changed.variants) == ["async-bus", "comments-by-mine"]
    assert notes_on(changed, "async-bus") == []
    (note,) = notes_on(changed, "comments-by-mine")
    assert note.startswith("comments is mine's.")


def test_who_can_stand_for_nobody_is_refused_with_who_could_be_meant() -> None:
    scenario = Scenario.model_validate(BLOG)
    with pytest.raises(ValueError, match=r"no service 'coments' to replace\. Did you mean"):
        prepared(scenario, replaced=("coments", a_target()))
    command = [sys.executable, str(PROGRAM), "posts", "{port}"]
    others = {name: {"command": command, "port": 0} for name in ("one", "two")}
    two = Target.model_validate(
        {
            **{"name": "two", "folder": PROGRAM.parent, "services": others},
            "actions": {name: {"service": "one"} for name in ("create_post", "create_comment")},
        }
    )
    with pytest.raises(ValueError, match="two has no posts, and several that it could be: one, tw"):
        prepared(scenario, replaced=("posts", two))
