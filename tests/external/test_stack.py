"""An external system as a stack: its addresses, and which faults apply to each service."""

import asyncio
import os
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import psutil
import pytest

from lab.cluster.errors import LabCannotRun
from lab.cluster.fault_rules import why_fault_inapplicable
from lab.cluster.injector import Injection
from lab.cluster.ports import reserve
from lab.cluster.supervisor import Supervisor
from lab.domain.services import BUS
from lab.external.arrangement import arrangement_of
from lab.external.stack import ExternalStack, SeveralNotStarted
from lab.external.target import Target
from lab.faults.kinds import parse_fault
from tests.support.course_world import wait_until_equal
from tests.support.foreign_blog import PROGRAM, make_target, service
from tests.support.foreign_stack import in_module, running_stack, until_it_has_acted
from tests.support.patience import PATIENCE_S


async def inject(stack: ExternalStack, kind: str, target: str, **options: Any) -> Injection:
    injection = Injection(stack, parse_fault(kind, target, options), "fault")
    await injection.begin(seed=7)
    return injection


async def write_post(stack: ExternalStack, title: str) -> str:
    answer = await stack.call("POST", stack.entry_urls["posts"], "/posts", {"title": title})
    assert answer.status == 201, answer
    return str(answer.data["id"])


async def until_the_feed_is(stack: ExternalStack, expected: dict[str, list[str]]) -> None:
    """`expected`: the titles, each with its comments."""

    async def shown() -> dict[str, list[str]] | None:
        answer = await stack.call("GET", stack.entry_urls["query"], "/feed")
        if answer.status != 200:
            return None  # `query` had no time for it
        return {post["title"]: [one["content"] for one in post["comments"]] for post in answer.data}

    await wait_until_equal(shown, expected)


def target_without_sidecar(role: str) -> Target:
    """A target whose `role` always listens on its own port."""
    with reserve() as free:
        port = free.port
    command = [sys.executable, str(PROGRAM), role, str(port)]
    return make_target(**{role: service(role) | {"command": command, "port": port}})


@in_module
async def test_faults_act_at_the_door_and_on_the_process(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    async with running_stack(
        ExternalStack("mine", target_without_sidecar("comments"), supervisor, tmp_path)
    ) as stack:
        late = await inject(stack, "latency", "posts", ms=40)
        post_id = await write_post(stack, "first")
        await late.end()
        assert late.acted
        assert late.evidence["delayed_ms_min"] >= 40
        await until_the_feed_is(stack, {"first": []})
        lost = await inject(stack, "drop", "query")
        await write_post(stack, "never heard of")
        await until_it_has_acted(stack, lost)
        await lost.end()
        assert lost.acted
        hanging = await inject(stack, "hang", "query")
        assert hanging.acted
        assert hanging.evidence["suspended"] == 1
        answer = await stack.call("GET", stack.entry_urls["query"], "/feed", within_s=0.2)
        assert answer.error == "timeout"
        await hanging.end()
        assert hanging.removed
        down = await inject(stack, "down", BUS)
        assert down.acted
        refused = await stack.call("POST", stack.entry_urls["posts"], "/posts", {"title": "x"})
        assert refused.status == 500
        await down.end()
        assert down.removed
        # This one is always on its own port, and has only an adapter.
        assert stack.ports["comments"].public == stack.ports["comments"].listen
        broken = await inject(stack, "error", "comments", status=503)
        comment = ("POST", stack.entry_urls["comments"], f"/posts/{post_id}/comments")
        assert (await stack.call(*comment, {"content": "not taken"})).status == 503
        await broken.end()
        assert (await stack.call(*comment, {"content": "taken"})).status == 201
        await write_post(stack, "second")
        await until_the_feed_is(stack, {"second": [], "first": ["taken"]})
        assert await stack.settle(PATIENCE_S)
        (pid,) = stack.supervisor.descendant_pids("mine.posts")
        env = psutil.Process(pid).environ()
    # The lab's own variables are not passed on.
    assert {"LAB_TOKEN", "LAB_LIFELINE", "LAB_SERVICE_ENV"} & env.keys() == set()
    for changed in ("PYTHONPATH", "SSL_CERT_FILE"):
        assert env.get(changed) == os.environ.get(changed)
    assert env["BUS"].endswith("/events")


@in_module
async def test_a_service_that_nobody_calls_by_name_calls_others_by_name(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    target = target_without_sidecar("posts")
    posts = target.services["posts"]
    env = {**posts.env, "BUS": "http://bus-srv:4005/events"}
    services = {**target.services, "posts": posts.model_copy(update={"env": env})}
    target = target.model_copy(update={"services": services, "hosts": {"bus-srv": BUS}})
    assert not target.can_have_sidecar("posts")
    async with running_stack(ExternalStack("named", target, supervisor, tmp_path)) as stack:
        await write_post(stack, "by name")
        await until_the_feed_is(stack, {"by name": []})


@in_module
async def test_it_is_settled_when_the_log_has_told_everybody(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    async with running_stack(
        ExternalStack("logged", make_target(), supervisor, tmp_path, bus="log")
    ) as stack:
        down = await inject(stack, "down", "query")
        await write_post(stack, "told late")
        assert not await stack.is_settled()
        await down.end()
        assert await stack.settle(PATIENCE_S)
        await until_the_feed_is(stack, {"told late": []})
        state = await stack.log_bus_state()
        assert {*state["subscribers"].values()} == {state["head"]} == {1}


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_fixed_port_that_is_taken_is_named(host: str, tmp_path: Path) -> None:
    try:
        server = await asyncio.start_server(lambda *_: None, host, 0)
    except OSError:
        pytest.skip(f"this machine has no {host}")
    with closing(server):
        port = server.sockets[0].getsockname()[1]
        target = make_target(posts=service("posts") | {"port": port})
        message = f"posts of mine is looked for on port {port}, and that is taken by"
        with pytest.raises(LabCannotRun, match=message):
            ExternalStack("theirs", target, cast(Supervisor, None), tmp_path)


@pytest.mark.parametrize(
    ("moves", "kind", "target", "options", "why"),
    [
        (False, "down", "query", {}, None),
        (False, "hang", "query", {}, None),
        (False, "latency", "query", {"ms": 1}, None),
        (False, "partition", "query", {"from": "client"}, None),
        (False, "drop", "query", {}, "So drop can't act there."),
        (False, "partition", "query", {"from": BUS}, "the lab can move it behind"),
        (False, "poison", "query", {"type": "PostCreated"}, "the lab's own events"),
        (False, "new_version", "query", {"version": 2}, "the lab's own events"),
        (True, "drop", "query", {}, None),
        (True, "partition", "query", {"from": BUS}, None),
        (True, "down", "hop-1", {}, "mine has no hop-1."),
        (True, "drop", BUS, {}, "event-bus consumes none"),
        (True, "partition", "query", {"from": "posts"}, "do not name their caller"),
    ],
)
def test_what_can_be_done_with_a_sidecar_before_it(
    moves: bool, kind: str, target: str, options: dict[str, Any], why: str | None
) -> None:
    of = make_target() if moves else target_without_sidecar("query")
    found = why_fault_inapplicable(parse_fault(kind, target, options), arrangement_of(of))
    assert (found is None) if why is None else (found is not None and why in found)


@in_module
async def test_every_service_that_does_not_start_is_named(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", "raise SystemExit(7)", "{port}"]
    broken = {**service("query"), "command": command}
    target = make_target("two-broken", query=broken, moderation=broken)
    with ExternalStack("two-broken", target, supervisor, tmp_path) as stack:
        with pytest.raises(SeveralNotStarted) as caught:
            await stack.start()
        await supervisor.end(*(program.name for program in stack.programs))
    names = {error.name for error in caught.value.errors}
    assert names == {"two-broken.query", "two-broken.moderation"}
    assert "query exited with status 7" in str(caught.value)
