"""A foreign system as a stack: where its services stand, what can be done to each, and what not."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from lab.cluster.errors import LabCannotRun, NotReady, StartFailed
from lab.cluster.injector import Injection
from lab.cluster.ports import reserve
from lab.cluster.reach import out_of_reach
from lab.cluster.supervisor import Supervisor
from lab.domain.directory import BUS
from lab.faults.kinds import parse_fault
from lab.foreign.made_of import arrangement_of
from lab.foreign.parts import PRELOAD
from lab.foreign.stack import ForeignStack
from lab.foreign.target import Target
from tests.support.foreign_blog import PROGRAM, a_target, service

STRAY = Path(__file__).parents[1] / "programs" / "stray.py"
PATIENCE_S = 20.0


@asynccontextmanager
async def standing(
    target: Target, folder: Path, bus: str = "own", start: bool = True
) -> AsyncIterator[ForeignStack]:
    async with Supervisor(PRELOAD, folder) as supervisor:
        with ForeignStack("theirs", target, supervisor, folder, bus=bus) as stack:
            if start:
                await stack.start()
            yield stack


async def injected(stack: ForeignStack, kind: str, target: str, **options: Any) -> Injection:
    injection = Injection(stack, parse_fault(kind, target, options), "fault")
    await injection.begin(seed=7)
    return injection


async def write_post(stack: ForeignStack, title: str = "A title") -> str:
    answer = await stack.call("POST", stack.asked_at["posts"], "/posts", {"title": title})
    assert answer.status == 201, answer
    return str(answer.data["id"])


async def titles(stack: ForeignStack) -> list[str]:
    answer = await stack.call("GET", stack.asked_at["query"], "/feed")
    assert answer.ok, answer
    return [post["title"] for post in answer.data]


async def test_faults_at_the_door_and_of_the_process_act_on_a_foreign_service(
    tmp_path: Path,
) -> None:
    async with standing(a_target(), tmp_path) as stack:
        late = await injected(stack, "latency", "posts", ms=40)
        await write_post(stack, "first")
        await late.end()
        assert late.acted
        assert late.evidence["delayed_ms_min"] >= 40
        assert await stack.settle(PATIENCE_S)
        lost = await injected(stack, "drop", "query")
        await write_post(stack, "never heard of")
        assert await stack.settle(PATIENCE_S)
        await lost.end()
        assert lost.acted
        assert await titles(stack) == ["first"]
        hanging = await injected(stack, "hang", "query")
        assert hanging.acted
        assert hanging.evidence["suspended"] == 1
        answer = await stack.call("GET", stack.asked_at["query"], "/feed", within_s=0.2)
        assert answer.error == "timeout"
        await hanging.end()
        assert hanging.gone
        down = await injected(stack, "down", BUS)
        assert down.acted
        refused = await stack.call("POST", stack.asked_at["posts"], "/posts", {"title": "x"})
        assert refused.status == 500
        await down.end()
        assert down.gone
        await write_post(stack, "second")
        assert await stack.settle(PATIENCE_S)
        assert await titles(stack) == ["second", "first"]


async def test_it_is_settled_when_the_log_has_told_everybody(tmp_path: Path) -> None:
    async with standing(a_target(), tmp_path, bus="log") as stack:
        down = await injected(stack, "down", "query")
        await write_post(stack, "told late")
        assert not await stack.is_settled()
        await down.end()
        assert await stack.settle(PATIENCE_S)
        assert await titles(stack) == ["told late"]
        told = await stack.told()
        assert {*told["subscribers"].values()} == {told["head"]} == {1}


async def test_a_fixed_port_that_is_taken_is_named_with_its_holder(tmp_path: Path) -> None:
    with reserve() as taken:
        target = a_target(posts=service("posts") | {"port": taken.port})
        said = f"posts of mine is looked for on port {taken.port}, and that is taken by"
        with pytest.raises(LabCannotRun, match=said):
            async with standing(target, tmp_path):
                pass


async def test_who_listens_on_the_other_loopback_has_the_port_too(tmp_path: Path) -> None:
    try:
        server = await asyncio.start_server(lambda *_: None, "::1", 0)
    except OSError:
        pytest.skip("this machine has no ::1")
    with closing(server):
        port = server.sockets[0].getsockname()[1]
        target = a_target(posts=service("posts") | {"port": port})
        with pytest.raises(LabCannotRun, match=f"looked for on port {port}"):
            async with standing(target, tmp_path):
                pass


def unmoved(role: str) -> Target:
    """One whose `role` always listens on its own port."""
    with reserve() as free:
        port = free.port
    command = [sys.executable, str(PROGRAM), role, str(port)]
    return a_target(**{role: service(role) | {"command": command, "port": port}})


async def test_one_that_cannot_be_moved_has_a_face_and_nothing_else(tmp_path: Path) -> None:
    async with standing(unmoved("query"), tmp_path) as stack:
        place = stack.places["query"]
        assert place.public == place.behind
        await write_post(stack, "seen")
        assert await stack.settle(PATIENCE_S)
        broken = await injected(stack, "error", "query", status=503)
        answer = await stack.call("GET", stack.asked_at["query"], "/feed")
        assert answer.status == 503
        await broken.end()
        assert await titles(stack) == ["seen"]


@pytest.mark.parametrize(
    ("kind", "options", "why"),
    [
        ("down", {}, None),
        ("hang", {}, None),
        ("latency", {"ms": 1}, None),
        ("partition", {"from": "client"}, None),
        ("drop", {}, "So drop can't act there."),
        ("partition", {"from": BUS}, "With `port_env` it could be moved"),
        ("poison", {"type": "PostCreated"}, "the lab's own events"),
        ("new_version", {"version": 2}, "the lab's own events"),
    ],
)
def test_what_can_be_done_to_one_that_cannot_be_moved(
    kind: str, options: dict[str, Any], why: str | None
) -> None:
    found = out_of_reach(parse_fault(kind, "query", options), arrangement_of(unmoved("query")))
    assert (found is None) if why is None else (found is not None and why in found)


@pytest.mark.parametrize(
    ("kind", "target", "options", "why"),
    [
        ("drop", "query", {}, None),
        ("partition", "query", {"from": BUS}, None),
        ("down", "hop-1", {}, "mine has no hop-1."),
        ("drop", BUS, {}, "event-bus hears none"),
        ("partition", "query", {"from": "posts"}, "nobody says who asks"),
    ],
)
def test_what_can_be_done_to_one_behind_its_sidecar(
    kind: str, target: str, options: dict[str, Any], why: str | None
) -> None:
    found = out_of_reach(parse_fault(kind, target, options), arrangement_of(a_target()))
    assert (found is None) if why is None else (found is not None and why in found)


async def failing(folder: Path, *how: str, error: type[Exception]) -> str:
    """What is said when its posts behave so."""
    command = [sys.executable, str(STRAY), "{port}", *how]
    target = a_target(posts=service("posts") | {"command": command, "cwd": str(folder)})
    target = target.model_copy(update={"ready_within_s": 1.5})
    with pytest.raises(error) as caught:
        async with standing(target, folder):
            pass
    return str(caught.value)


async def test_a_service_that_exits_is_named_with_its_last_lines(tmp_path: Path) -> None:
    said = await failing(tmp_path, "exits", error=StartFailed)
    assert said.startswith("theirs.posts exited with status 3 before it was ready.")
    assert "Cannot find module 'express'" in said


async def test_a_service_that_never_listens_is_given_up(tmp_path: Path) -> None:
    said = await failing(tmp_path, "never_listens", error=NotReady)
    assert said.startswith("theirs.posts was not ready within 1.5 s")
    assert "was not ready within 1.5 s: nothing listens on port" in said
    assert "It has not begun to listen anywhere" in said


async def test_a_service_is_not_started_with_what_is_the_labs_alone(tmp_path: Path) -> None:
    async with standing(a_target(), tmp_path) as stack:
        (pid,) = stack.supervisor.kept("theirs.posts")
        env = psutil.Process(pid).environ()
    assert {"LAB_TOKEN", "LAB_LIFELINE", "LAB_SERVICE_ENV"} & env.keys() == set()
    for changed in ("PYTHONPATH", "SSL_CERT_FILE"):
        assert env.get(changed) == os.environ.get(changed)
    assert env["BUS"].endswith("/events")
