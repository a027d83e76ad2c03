"""A blog on the course's bus, and the scenario options for it."""

from pathlib import Path

import pytest

from lab.cluster.bus_engines import DELIVERIES
from lab.cluster.program import Exit
from lab.experiment.evaluate import validity_problems, variant_result
from lab.results.result import CheckerCounts, RunResult
from lab.scenarios.scenario import Scenario, ScenarioError
from tests.blog.conftest import BlogWith
from tests.support.laboratory import PATIENCE_S, RunningBlog, eventually


def write(blog: RunningBlog, title: str) -> str:
    return str(blog.ask("POST", "posts", "/posts", json={"title": title}).json()["id"])


def wait_until_delivered(blog: RunningBlog, events: int) -> None:
    """Wait until the bus has accepted that many events and delivered them."""

    def done() -> bool:
        told = blog.state("event-bus")
        return (told["events"], told["busy"], told["head"]) == (events, 0, None)

    eventually(done, f"{events} events delivered")


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_a_blog_works_while_all_its_services_are_up(blog_with: BlogWith, delivery: str) -> None:
    with blog_with("async-bus", bus="course", delivery=delivery) as blog:
        post = blog.write_post("One")
        blog.write_comment(post["id"])
        blog.settle()
        (entry,) = blog.get("query", "/feed")
        assert [comment["status"] for comment in entry["comments"]] == ["approved"]


def test_events_that_query_missed_are_never_shown(blog_with: BlogWith) -> None:
    with blog_with("async-bus", bus="course", delivery="fire-and-forget") as blog:
        blog.write_post("Before")
        blog.kill("query")
        write(blog, "Meanwhile")
        wait_until_delivered(blog, events=2)
        blog.restart("query")
        blog.write_post("After")
        assert [entry["title"] for entry in blog.get("query", "/feed")] == ["After", "Before"]
        assert blog.state("query")["offset"] is None


def test_moderation_starves_behind_a_dead_query(blog_with: BlogWith) -> None:
    with blog_with("async-bus", bus="course", delivery="one-by-one") as blog:
        post = blog.write_post("One")
        blog.kill("query")
        blog.write_comment(post["id"])
        wait_until_delivered(blog, events=2)
        blog.restart("query")
        blog.settle()
        comments = blog.get("comments", f"/posts/{post['id']}/comments")
        assert [comment["status"] for comment in comments] == ["pending"]


def test_a_blog_without_its_bus_does_not_settle(blog_with: BlogWith) -> None:
    with blog_with("async-bus", bus="course", delivery="uncaught") as blog:
        laboratory, bus = blog.laboratory, blog.stack.program_name("event-bus")
        blog.kill("query")
        write(blog, "The last one")
        assert laboratory.run(laboratory.supervisor.wait(bus, PATIENCE_S)) == 1
        blog.restart("query")
        assert not laboratory.run(blog.stack.settle(PATIENCE_S))


@pytest.mark.parametrize(
    ("variant", "says"),
    [
        ('arrangement = "request-reply"\nbus = "course"', "an event has no id"),
        ('arrangement = "async-bus"\nbus = "kafka"', "one of log, course"),
        ('arrangement = "async-bus"\nbus = ["course"]', "one of log, course"),
        ('arrangement = "async-bus"\nbus = "course"\ndelivery = "twice"', "fire-and-forget"),
        ('arrangement = "async-bus"\ndelivery = "uncaught"', 'Add bus = "course"'),
        ('arrangement = "sync-chain"\nbus = "course"', "no switch 'bus'"),
        ('arrangement = "sync-chain"\nmay_end = ["event-bus"]', "may_end: no 'event-bus'"),
    ],
)
def test_a_variant_without_sense_is_refused_with_a_reason(
    tmp_path: Path, variant: str, says: str
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'title = "Mine"\n[variants.mine]\n{variant}\n')
    with pytest.raises(ScenarioError) as caught:
        Scenario.load_file(path)
    (sentence,) = caught.value.problems
    assert sentence.startswith("variants.mine")
    assert says in sentence


def test_only_an_unexpected_end_makes_the_run_invalid(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    variant = 'bus = "course"\nmay_end = ["event-bus"]'
    path.write_text(f'title = "Mine"\n[variants.async-bus]\n{variant}\n')
    scenario = Scenario.load_file(path)
    nothing = CheckerCounts(acknowledged=1, visible=1, lost=0, duplicated=0, unsettled=0)
    deaths = [Exit("async-bus.event-bus", 1, ("last words",)), Exit("async-bus.query", 1, ())]
    of = variant_result(scenario, "async-bus", [], nothing, [], exits=deaths)
    assert (of.ended, of.notes) == (["event-bus"], ["event-bus ended by itself. last words"])
    result = RunResult(scenario="mine", seed=1, started="now", variants=[of])
    (sentence,) = validity_problems(scenario, result, deaths)
    assert sentence.startswith("async-bus.query exited")
