"""The log in the place of a foreign bus: it speaks as theirs, and brings everybody everything."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from lab.cluster.caller import Caller
from lab.cluster.program import Program
from tests.support.course_world import (
    Subscriber,
    World,
    a_world,
    get,
    post,
    serving,
    until,
    until_it_says,
)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path) as running:
        yield running


async def a_bridge(world: World, *subscribers: str) -> str:
    port = world.a_port()
    argv = ["--port", str(port), "--reuse-port", "--data", str(world.folder / "log")]
    for url in subscribers:
        argv += ["--subscriber", f"{url}/events"]
    url = f"http://127.0.0.1:{port}"
    log, env = world.folder / "bridge.log", {"LAB_TOKEN": "a token"}
    program = Program("bridge", "lab.foreign.bridge", tuple(argv), log, env, f"{url}/health")
    await world.supervisor.start(program)
    return url


async def tell(url: str, *names: str) -> None:
    for name in names:
        told = await post(f"{url}/events", {"type": "PostCreated", "data": {"id": name}})
        assert told == (200, {"status": "OK"})


async def test_who_was_away_hears_all_of_it_in_order_and_nobody_else_waits(world: World) -> None:
    away, here = Subscriber(), Subscriber()
    port = world.a_port()
    url = await a_bridge(world, f"http://127.0.0.1:{port}", await world.somebody(here))
    await tell(url, "a", "b", "c")
    await until(lambda: here.names == ["a", "b", "c"])
    async with serving(away, port):
        await until(lambda: away.names == ["a", "b", "c"])
    assert here.names == ["a", "b", "c"]


async def test_an_event_is_brought_until_it_is_taken_and_those_behind_it_wait(world: World) -> None:
    picky = Subscriber(fails_on="b")
    url = await a_bridge(world, await world.somebody(picky))
    await tell(url, "a", "b", "c")
    await until(lambda: picky.names == ["a"])
    picky.fails_on = ""
    await until(lambda: picky.names == ["a", "b", "c"])
    assert "did not take PostCreated: it answered 500" in (world.folder / "bridge.log").read_text()


async def test_who_has_no_such_route_is_passed_over(world: World) -> None:
    deaf = Subscriber(status=404)
    url = await a_bridge(world, await world.somebody(deaf))
    await tell(url, "a", "b")
    await until(lambda: deaf.names == ["a", "b"])


async def test_it_goes_on_where_it_was_when_it_is_killed(world: World) -> None:
    here, away = Subscriber(), world.a_port()
    url = await a_bridge(world, await world.somebody(here), f"http://127.0.0.1:{away}")
    await tell(url, "a", "b")
    await until(lambda: here.names == ["a", "b"])
    caller = Caller("a token")
    try:

        async def offset() -> Any:
            state = (await caller("GET", url, "/_lab/state")).data
            return max(state["subscribers"].values())

        await until_it_says(offset, 2)
    finally:
        caller.close()
    await world.supervisor.kill("bridge")
    await world.supervisor.restart("bridge")
    await tell(url, "c")
    late = Subscriber()
    async with serving(late, away):
        await until(lambda: late.names == ["a", "b", "c"])
    assert here.names == ["a", "b", "c"]


async def test_what_was_told_is_shown_as_it_was_told(world: World) -> None:
    url = await a_bridge(world)
    event = {"type": "Anything", "data": ["a", 1], "version": 2}
    assert await post(f"{url}/events", event) == (200, {"status": "OK"})
    assert await get(f"{url}/events") == [event]


async def test_what_is_no_event_is_refused(world: World) -> None:
    url = await a_bridge(world)
    for body in ([], {"data": {}}, {"type": 7}):
        status, told = await post(f"{url}/events", body)
        assert status == 400
        assert told["detail"].startswith("Not an event {type, data}: saw ")
    assert await get(f"{url}/events") == []
