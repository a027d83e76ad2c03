"""The log in place of an external bus: it uses its format, and delivers every event to all."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from lab.cluster.control_client import ControlClient
from lab.cluster.program import Program
from tests.support.course_world import (
    CourseWorld,
    Subscriber,
    get,
    open_course_world,
    post,
    serving,
    until,
    wait_until_equal,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[CourseWorld]:
    async with open_course_world(tmp_path_factory.mktemp("world")) as running:
        yield running


async def start_log_bus(world: CourseWorld, name: str, *subscribers: str) -> str:
    port = world.reserve_port()
    argv = ["--port", str(port), "--reuse-port", "--data", str(world.folder / name)]
    for url in subscribers:
        argv += ["--subscriber", f"{url}/events"]
    url = f"http://127.0.0.1:{port}"
    log, env = world.folder / f"{name}.log", {"LAB_TOKEN": "a token"}
    program = Program(name, "lab.external.log_bus", tuple(argv), log, env, f"{url}/health")
    await world.supervisor.start(program)
    return url


async def publish_posts(url: str, *names: str) -> None:
    for name in names:
        answer = await post(f"{url}/events", {"type": "PostCreated", "data": {"id": name}})
        assert answer == (200, {"status": "OK"})


async def test_a_late_subscriber_hears_everything_in_order(world: CourseWorld) -> None:
    away, here, deaf = Subscriber(), Subscriber(), Subscriber(status=404)
    port = world.reserve_port()
    others = [await world.start_subscriber(here), await world.start_subscriber(deaf)]
    url = await start_log_bus(world, "away", f"http://127.0.0.1:{port}", *others)
    await publish_posts(url, "a", "b", "c")
    await until(lambda: here.names == ["a", "b", "c"])
    await until(lambda: deaf.names == ["a", "b", "c"])  # no such route: skipped
    async with serving(away, port):
        await until(lambda: away.names == ["a", "b", "c"])
    assert here.names == ["a", "b", "c"]


async def test_an_event_is_brought_until_it_is_taken(world: CourseWorld) -> None:
    picky = Subscriber(fails_on="b")
    url = await start_log_bus(world, "picky", await world.start_subscriber(picky))
    await publish_posts(url, "a", "b", "c")
    log = world.folder / "picky.log"
    await until(lambda: "did not accept PostCreated: it answered 500" in log.read_text())
    assert picky.names == ["a"]  # the events behind it wait
    picky.fails_on = ""
    await until(lambda: picky.names == ["a", "b", "c"])


async def test_a_killed_log_goes_on_where_it_was(world: CourseWorld) -> None:
    here, away = Subscriber(), world.reserve_port()
    url = await start_log_bus(
        world, "killed", await world.start_subscriber(here), f"http://127.0.0.1:{away}"
    )
    await publish_posts(url, "a", "b")
    caller = ControlClient("a token")
    try:

        async def offset() -> Any:
            state = (await caller("GET", url, "/_lab/state")).data
            return max(state["subscribers"].values())

        await wait_until_equal(offset, 2)
    finally:
        caller.close()
    assert here.names == ["a", "b"]
    await world.supervisor.kill("killed")
    await world.supervisor.restart("killed")
    await publish_posts(url, "c")
    late = Subscriber()
    async with serving(late, away):
        await until(lambda: late.names == ["a", "b", "c"])
    await until(lambda: here.names == ["a", "b", "c"])


async def test_what_was_told_is_shown_and_nonsense_refused(world: CourseWorld) -> None:
    url = await start_log_bus(world, "shown")
    event = {"type": "Anything", "data": ["a", 1], "version": 2}
    assert await post(f"{url}/events", event) == (200, {"status": "OK"})
    for body in ([], {"data": {}}, {"type": 7}):
        status, answer = await post(f"{url}/events", body)
        assert status == 400
        assert answer["detail"].startswith("Not an event {type, data}: saw ")
    assert await get(f"{url}/events") == [event]
