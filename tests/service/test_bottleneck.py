"""A fixed capacity: one request at a time, in order, each for a fixed time; and how it is set."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
import requests

from lab.cluster.arrangements import ARRANGEMENTS, build_programs, with_engine
from lab.domain.errors import DeadlineExceeded
from lab.scenarios.scenario import Scenario
from lab.scenarios.schema import schema
from lab.scenarios.spec import VariantSpec
from lab.scenarios.switches import variant_problems
from lab.service import deadline
from lab.service.single_server import SingleServer
from tests.support.laboratory import PATIENCE_S, Laboratory, RunningBlog, eventually
from tests.support.small import scenario_text

WORK_MS = 20.0


def in_line(bottleneck: SingleServer, came: list[int], given_up: list[int], number: int) -> None:
    """A caller that takes its turn; number 2's deadline expires before its turn comes."""
    if number == 2:
        deadline._current_at_s.set(perf_counter())
    try:
        bottleneck.serve()
        came.append(number)
    except DeadlineExceeded:
        given_up.append(number)


@pytest.fixture
def passed() -> tuple[SingleServer, float, list[int], list[int]]:
    """Five callers arrive in order: the bottleneck, the start, the numbers passed and given up."""
    bottleneck = SingleServer(WORK_MS)
    came: list[int] = []
    given_up: list[int] = []
    ahead = threading.Event()
    bottleneck._queue.append(ahead)  # a request is being served while they arrive
    threads = []
    for number in range(5):
        threads.append(threading.Thread(target=in_line, args=(bottleneck, came, given_up, number)))
        threads[-1].start()
        eventually(lambda: len(bottleneck._queue) == len(threads) + 1, "the next in line")
    begun_s = bottleneck._free_at_s = perf_counter()
    bottleneck._queue.popleft()
    bottleneck._queue[0].set()
    for thread in threads:
        thread.join()
    return bottleneck, begun_s, came, given_up


def test_each_has_it_alone_in_the_order_of_coming(passed: Any) -> None:
    bottleneck, begun_s, came, _ = passed
    assert came == [0, 1, 3, 4]
    assert perf_counter() >= begun_s + 4 * WORK_MS / 1_000
    assert not bottleneck._queue


def test_a_turn_after_its_deadline_takes_no_time(passed: Any) -> None:
    bottleneck, begun_s, _, given_up = passed
    assert given_up == [2]
    assert bottleneck._free_at_s == pytest.approx(begun_s + 4 * WORK_MS / 1_000)


# ── Running stacks


@pytest.mark.parametrize("arrangement", ["sync-chain", "request-reply"])
def test_only_a_service_with_work_needs_time_for_each_request(
    laboratory: Laboratory, arrangement: str
) -> None:
    with laboratory.blog(arrangement, f"work-{arrangement}", work_ms={"comments": 30}) as blog:
        begun = perf_counter()
        for _ in range(3):
            blog.get("comments", "/comments", post_ids="p")
        assert perf_counter() - begun >= 0.09
        arguments = {
            process: " ".join(program.argv)
            for process, program in zip(
                blog.stack.arrangement.processes, blog.stack.programs, strict=True
            )
        }
        assert [process for process, argv in arguments.items() if "--work-ms" in argv] == [
            "comments"
        ]


def test_a_chain_is_settled_when_no_request_is_under_way(chain_blog: RunningBlog) -> None:
    settled = chain_blog.stack.is_settled
    assert chain_blog.laboratory.run(settled())
    url = f"{chain_blog.stack.urls['comments']}/posts/p/comments"
    with ThreadPoolExecutor() as pool:
        with chain_blog.broken("timeout", "posts"):  # `comments` waits for its answer
            asked = pool.submit(requests.post, url, json={"content": "A comment"})
            eventually(lambda: chain_blog.acted("posts"), "the fault meets a request")
            assert not chain_blog.laboratory.run(settled())
        assert asked.result(PATIENCE_S).status_code >= 500
    eventually(lambda: chain_blog.laboratory.run(settled()), "it to be done")


def test_a_deadline_passed_on_is_at_most_the_timeout(laboratory: Laboratory) -> None:
    with (
        laboratory.blog("sync-chain", "deadline", deadline=True, timeout_ms=200) as blog,
        blog.broken("latency", "comments", ms=900),
    ):
        patient = {"Request-Deadline-Ms": "60000"}

        def comments_gave_up() -> bool:  # not: `posts` was too slow, so no call
            assert blog.ask("GET", "query", "/feed", headers=patient).status_code == 504
            return bool(blog.state("comments")["given_up"])

        eventually(comments_gave_up, "comments to give up")


# ── Configuration


def problems(arrangement: str = "sync-chain", **options: Any) -> list[str]:
    spec = VariantSpec(arrangement=arrangement, options=options)
    return list(variant_problems("variants.v", "v", spec))


def test_work_is_set_for_services_that_are_there() -> None:
    assert problems(work_ms={"comments": 20, "hop-1": 5}, depth=1) == []
    (none,) = problems(work_ms={"hop-1": 5})
    assert "no 'hop-1' here" in none
    (number,) = problems(work_ms=20)
    assert "{ comments = 20 }" in number
    (zero,) = problems(work_ms={"comments": 0})
    assert "variants.v.work_ms.comments: saw 0; expected a whole number" in zero
    (bus,) = problems("async-bus", work_ms={"comments": 20})
    assert "no switch 'work_ms'" in bus


def test_a_hop_gets_the_work_set_for_it(tmp_path: Path) -> None:
    options = {"depth": 2, "work_ms": {"hop-2": 7}}
    arrangement = with_engine(ARRANGEMENTS["sync-chain"], options)
    ports = dict.fromkeys(arrangement.processes, 1)
    started = build_programs("v", arrangement, options, ports, tmp_path, "token")
    assert [program.name for program in started if "--work-ms 7" in " ".join(program.argv)] == [
        "v.hop-2"
    ]


def test_the_schema_knows_work_by_service() -> None:
    work = schema()["$defs"]["sync-chain"]["properties"]["work_ms"]
    assert (work["type"], work["additionalProperties"]) == ("object", False)
    assert work["properties"]["comments"]["minimum"] == 1


def test_a_phase_that_needs_its_time_is_not_halved(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    for halve, during in (("true", 2.0), ("false", 4.0)):
        phases = f"before = 2.0, during = 4.0, after = 2.0, halve = {halve}"
        file.write_text(scenario_text({"fault": "error", "target": "comments"}, phases=phases))
        assert Scenario.load_file(file).quick().phases.during == during
