"""A blog on the course's bus, and what a scenario may say about one."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from lab.cluster.engines import DELIVERIES
from lab.cluster.program import Exit
from lab.cluster.stack import Stack
from lab.scenarios.evaluate import health_of_the_run, variant_result
from lab.scenarios.reading import ScenarioError
from lab.scenarios.result import Data, Result
from lab.scenarios.scenario import Scenario
from tests.support.course_world import PATIENCE_S, World, a_world, until_it_says

IDLE = {"under_way": 0, "workers": 8}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path) as here:
        yield here


async def write(stack: Stack, title: str) -> str:
    answer = await stack.call("POST", stack.urls["posts"], "/posts", {"title": title})
    assert answer.status == 201
    return str(answer.data["id"])


async def feed(stack: Stack) -> list[Any]:
    answer = await stack.call("GET", stack.urls["query"], "/feed")
    return list(answer.data)


async def comment_on(stack: Stack, post_id: str) -> None:
    path = f"/posts/{post_id}/comments"
    answer = await stack.call("POST", stack.urls["comments"], path, {"content": "A comment"})
    assert answer.status == 201


@pytest.mark.parametrize("delivery", DELIVERIES)
async def test_a_blog_on_it_works_while_all_are_there(world: World, delivery: str) -> None:
    stack = await world.blog(delivery)
    post_id = await write(stack, "One")
    assert await stack.settle(PATIENCE_S)
    await comment_on(stack, post_id)
    assert await stack.settle(PATIENCE_S)
    (entry,) = await feed(stack)
    assert [comment["status"] for comment in entry["comments"]] == ["approved"]


async def test_what_query_missed_it_never_shows(world: World) -> None:
    stack = await world.blog("fire-and-forget")
    await write(stack, "Before")
    assert await stack.settle(PATIENCE_S)
    await world.supervisor.kill("told.query")
    await write(stack, "Meanwhile")
    told = {**IDLE, "head": None, "busy": 0, "events": 2}
    await until_it_says(lambda: stack.state("event-bus"), told)
    await world.supervisor.restart("told.query")
    await write(stack, "After")
    assert await stack.settle(PATIENCE_S)
    assert [entry["title"] for entry in await feed(stack)] == ["After", "Before"]
    state = await stack.state("query")
    assert state is not None
    assert state["offset"] is None


async def test_moderation_starves_behind_a_dead_query(world: World) -> None:
    stack = await world.blog("one-by-one")
    post_id = await write(stack, "One")
    assert await stack.settle(PATIENCE_S)
    await world.supervisor.kill("told.query")
    await comment_on(stack, post_id)
    told = {**IDLE, "head": None, "busy": 0, "events": 2}
    await until_it_says(lambda: stack.state("event-bus"), told)
    await world.supervisor.restart("told.query")
    assert await stack.settle(PATIENCE_S)
    answer = await stack.call("GET", stack.urls["comments"], f"/posts/{post_id}/comments")
    assert [comment["status"] for comment in answer.data] == ["pending"]


async def test_without_its_bus_a_blog_does_not_settle(world: World) -> None:
    stack = await world.blog("uncaught")
    await world.supervisor.kill("told.query")
    await write(stack, "The last one")
    assert await world.supervisor.wait("told.event-bus", PATIENCE_S) == 1
    await world.supervisor.restart("told.query")
    assert not await stack.settle(PATIENCE_S)


@pytest.mark.parametrize(
    ("variant", "says"),
    [
        ('arrangement = "request-reply"\nbus = "course"', "an event has no id"),
        ('arrangement = "async-bus"\nbus = "kafka"', "one of log, course"),
        ('arrangement = "async-bus"\nbus = ["course"]', "one of log, course"),
        ('arrangement = "async-bus"\nbus = "course"\ndelivery = "twice"', "fire-and-forget"),
        ('arrangement = "async-bus"\ndelivery = "uncaught"', 'it needs bus = "course"'),
        ('arrangement = "sync-chain"\nbus = "course"', "no switch 'bus'"),
        ('arrangement = "sync-chain"\nmay_end = ["event-bus"]', "may_end: no 'event-bus'"),
    ],
)
def test_a_variant_that_makes_no_sense_is_refused_in_a_sentence(
    tmp_path: Path, variant: str, says: str
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'title = "Mine"\n[variants.mine]\n{variant}\n')
    with pytest.raises(ScenarioError) as caught:
        Scenario.load_file(path)
    (sentence,) = caught.value.problems
    assert sentence.startswith("variants.mine")
    assert says in sentence


def test_an_end_that_was_expected_spoils_no_run_and_any_other_does(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    variant = 'bus = "course"\nmay_end = ["event-bus"]'
    path.write_text(f'title = "Mine"\n[variants.async-bus]\n{variant}\n')
    scenario = Scenario.load_file(path)
    nothing = Data(acknowledged=1, visible=1, lost=0, duplicated=0, unsettled=0)
    deaths = [Exit("async-bus.event-bus", 1, ("last words",)), Exit("async-bus.query", 1, ())]
    of = variant_result(scenario, "async-bus", [], nothing, [], warm_up_s=0, deaths=deaths)
    assert (of.ended, of.notes) == (["event-bus"], ["event-bus ended by itself. last words"])
    result = Result(scenario="mine", seed=1, started="now", variants=[of])
    (sentence,) = health_of_the_run(scenario, result, deaths)
    assert sentence.startswith("async-bus.query ended")
