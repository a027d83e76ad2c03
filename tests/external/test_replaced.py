"""One external service inside the lab's own stack, on the course's bus."""

import sys
from pathlib import Path
from typing import Any, cast

import pytest

from lab.cluster.errors import LabCannotRun, PortTaken
from lab.cluster.fault_rules import why_fault_inapplicable
from lab.cluster.injector import Injection
from lab.cluster.ports import reserve
from lab.cluster.supervisor import Supervisor
from lab.domain.services import BUS
from lab.external.arrangement import arrangement_replacing
from lab.external.mapping import Actions
from lab.external.stack import MixedStack
from lab.external.target import COURSE_PORTS, Target
from lab.external.translator import FieldNames
from lab.faults.kinds import parse_fault
from lab.scenarios.external import external_notes
from lab.scenarios.overrides import apply_overrides
from lab.scenarios.scenario import Scenario
from tests.support.course_world import wait_until_equal
from tests.support.foreign_blog import PROGRAM, make_target, service
from tests.support.foreign_stack import in_module, running_stack, until_it_has_acted
from tests.support.patience import PATIENCE_S


async def write(stack: MixedStack, service: str, path: str, **body: str) -> str:
    answer = await stack.call("POST", stack.urls[service], path, body)
    assert answer.status == 201, answer
    return str(answer.data["id"])


async def feed_of(stack: MixedStack) -> list[Any]:
    assert await stack.settle(PATIENCE_S)
    feed: list[Any] = (await stack.call("GET", stack.urls["query"], "/feed")).data
    return feed


@in_module
@pytest.mark.parametrize("part", ["posts", "comments", "query", "moderation"])
async def test_the_lab_s_other_services_work_on_with_theirs(
    part: str, supervisor: Supervisor, tmp_path: Path
) -> None:
    target = make_target()
    if part == "comments":  # this service calls it a text
        actions = {"create_comment": {"body": {"text": "{content}"}}}
        target = make_target(comments=service("comments", TEXT="text"), actions=actions)
    async with running_stack(MixedStack(f"{part}-by", part, target, supervisor, tmp_path)) as stack:
        post = await write(stack, "posts", "/posts", title="A title")
        assert await stack.settle(PATIENCE_S)
        await write(stack, "comments", f"/posts/{post}/comments", content="red")
        await write(stack, "comments", f"/posts/{post}/comments", content="orange")
        (entry,) = await feed_of(stack)
        assert entry["title"] == "A title"
        translated = {comment["content"]: comment["status"] for comment in entry["comments"]}
        assert translated == {"red": "approved", "orange": "rejected"}


async def until_nothing_under_way(stack: MixedStack) -> None:
    async def nothing_is_under_way() -> bool:
        posts, bus = await stack.state("posts"), await stack.state(BUS)
        return bool(posts and bus and not posts["untold"] and not bus["busy"])

    await wait_until_equal(nothing_is_under_way, True)


@in_module
async def test_faults_act_on_it_as_on_the_others(supervisor: Supervisor, tmp_path: Path) -> None:
    async with running_stack(
        MixedStack("broken", "query", make_target(), supervisor, tmp_path)
    ) as stack:
        for kind, options in (("partition", {"from": BUS}), ("down", {}), ("latency", {"ms": 5})):
            fault = Injection(stack, parse_fault(kind, "query", options), "fault")
            await fault.begin(seed=7)
            await write(stack, "posts", "/posts", title=kind)
            await stack.call("GET", stack.urls["query"], "/feed")
            if kind == "down":
                await until_nothing_under_way(stack)
            else:
                await until_it_has_acted(stack, fault)
            await fault.end()
            assert fault.acted, (kind, fault.evidence)
            assert fault.removed
        # The course's bus does not store events for later.
        assert [entry["title"] for entry in await feed_of(stack)] == ["latency"]


async def test_the_bus_may_have_to_be_at_the_courses_port(tmp_path: Path) -> None:
    untold = service("comments") | {"env": {"BUS": "http://localhost:4005/events"}}
    target = make_target(comments=untold)
    try:
        taken = reserve(COURSE_PORTS[BUS])
    except PortTaken:
        pytest.skip("somebody has the course's port just now")
    with taken, pytest.raises(LabCannotRun, match="the event bus, for comments of mine, is looked"):
        MixedStack("ours", "comments", target, cast(Supervisor, None), tmp_path)


@pytest.mark.parametrize(
    ("target", "kind", "options", "why"),
    [
        ("comments", "down", {}, None),
        ("comments", "drop", {}, None),
        ("query", "drop", {}, None),
        ("comments", "poison", {"type": "PostCreated"}, "Take query or event-bus."),
        (BUS, "poison", {"type": "PostCreated"}, None),
    ],
)
def test_what_can_be_done_there(
    target: str, kind: str, options: dict[str, Any], why: str | None
) -> None:
    found = why_fault_inapplicable(
        parse_fault(kind, target, options), arrangement_replacing("comments", make_target())
    )
    assert (found is None) if why is None else (found is not None and why in found)


def test_both_sides_find_their_own_names_in_an_event() -> None:
    theirs = {"type": "CommentCreated", "data": {"id": 7, "postId": 3, "content": "x"}}
    assert FieldNames().to_lab(theirs)["data"] == theirs["data"] | {"id": "7", "post_id": "3"}
    ours = {"type": "CommentModerated", "data": {"id": "a", "post_id": "b"}}
    assert FieldNames().to_service(ours)["data"] == ours["data"] | {"postId": "b"}
    assert FieldNames().to_lab({"type": "x", "data": [1]}) == {"type": "x", "data": [1]}


def test_an_event_has_the_target_s_name_for_a_text() -> None:
    body = {"text": "{content}", "post": "{post_id:number}"}
    actions = {
        "create_comment": {"path": "/comments", "body": body},
        "read_feed": {"comment": {"id": "_id", "status": "meta.state"}},
    }
    names = FieldNames.from_actions(Actions.model_validate(actions))
    theirs = {"type": "CommentCreated", "data": {"_id": 7, "post": 3, "text": "x"}}
    translated = names.to_lab(theirs)["data"]
    assert translated == theirs["data"] | {"id": "7", "post_id": "3", "content": "x"}
    ours = {"type": "CommentModerated", "data": {"id": "a", "content": "x", "status": "approved"}}
    received = names.to_service(ours)["data"]
    assert received == ours["data"] | {"_id": "a", "text": "x", "state": "approved"}
    post = {"type": "PostCreated", "data": {"id": "b", "title": "y"}}
    assert names.to_service(post) == post


BLOG: dict[str, Any] = {"name": "calm", "title": "Calm", "variants": {"async-bus": {}}}


def test_it_is_one_more_variant_that_says_whose_it_is() -> None:
    scenario = Scenario.model_validate(BLOG)
    changed = apply_overrides(scenario, replaced=("comments", make_target()))
    assert list(changed.variants) == ["async-bus", "comments-by-mine"]
    assert external_notes(changed, "async-bus") == []
    (note,) = external_notes(changed, "comments-by-mine")
    assert note.startswith("comments is mine's.")


def test_a_wrong_replacement_is_refused_with_what_could_be_meant() -> None:
    scenario = Scenario.model_validate(BLOG)
    with pytest.raises(ValueError, match=r"no service 'coments' to replace\. Did you mean"):
        apply_overrides(scenario, replaced=("coments", make_target()))
    command = [sys.executable, str(PROGRAM), "posts", "{port}"]
    others = {name: {"command": command, "port": 0} for name in ("one", "two")}
    two = Target.model_validate(
        {
            **{"name": "two", "folder": PROGRAM.parent, "services": others},
            "actions": {name: {"service": "one"} for name in ("create_post", "create_comment")},
        }
    )
    with pytest.raises(
        ValueError, match="two has no service posts, and several could replace it: one, tw"
    ):
        apply_overrides(scenario, replaced=("posts", two))
