"""Each protection in a running stack: what it does for a client, and what the service counted."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from lab.report.questions import questions, without_a_part
from lab.scenarios.figures import measured
from lab.scenarios.result import Result
from lab.scenarios.runner import Run
from lab.scenarios.scenario import Scenario
from tests.support.laboratory import Blog, Laboratory, eventually
from tests.support.small import LATE, TRIES, scenario_text

CARRIERS = ["sync-chain", "request-reply"]
A_LONG_TIME_MS = 1_200


@pytest.fixture
def blog_with(request: pytest.FixtureRequest, laboratory: Laboratory) -> Callable[..., Any]:
    """`blog_with("sync-chain", breaker=True)`: a fresh stack with these switches."""

    @contextmanager
    def make(arrangement: str = "sync-chain", **switches: Any) -> Iterator[Blog]:
        name = f"{request.node.originalname}-{arrangement}-{len(switches)}"
        with laboratory.blog(arrangement, name.removeprefix("test_"), **switches) as blog:
            yield blog

    return make


def counts(blog: Blog, who: str, whom: str) -> dict[str, int]:
    """What `who` counted of its questions to `whom`, without the zeros."""
    told = blog.state(who)["asks"].get(whom, {})
    return {kind: count for kind, count in told.items() if count}


def feed(blog: Blog, **more: Any) -> requests.Response:
    return blog.ask("GET", "query", "/feed", **more)


def acted(blog: Blog, target: str) -> int:
    """How often the one fault on the door of `target` has acted so far."""
    told = blog.laboratory.run(blog.stack.call("GET", blog.stack.urls[target], "/_lab/faults"))
    return sum(of["acted"] for of in told.data.values())


@contextmanager
def meanwhile(ask: Callable[[], requests.Response]) -> Iterator[list[requests.Response]]:
    """Somebody else asks; their answer is there behind the block."""
    answers: list[requests.Response] = []
    somebody = threading.Thread(target=lambda: answers.append(ask()))
    somebody.start()
    try:
        yield answers
    finally:
        somebody.join()


# ── retries, backoff, retry_budget ────────────────────────────────────────


@pytest.mark.parametrize("carrier", CARRIERS)
def test_with_retries_three_failures_in_a_row_are_not_noticed(blog_with: Any, carrier: str) -> None:
    for switches, status in (({}, 502), ({"retries": 3}, 200)):
        with blog_with(carrier, **switches) as blog:
            with blog.broken("error", "comments", first=3):
                assert feed(blog).status_code == status
            told = counts(blog, "query", "comments")
            tried_again = {"retried": 3} if switches else {}
            assert told == {"asked": 1, "attempts": 1 + len(tried_again) * 3, **tried_again}


def test_a_post_that_timed_out_is_asked_again_and_so_done_twice(blog_with: Any) -> None:
    with blog_with(retries=1, timeout_ms=300) as blog:
        post = blog.write_post()
        with blog.broken("latency", "moderation", ms=900, first=1):
            assert blog.comment(post["id"], "judged twice").status_code == 201
            eventually(lambda: len(blog.get("moderation", "/verdicts")) == 2, "the first verdict")
        told = counts(blog, "comments", "moderation")
        assert told == {"asked": 1, "attempts": 2, "timed_out": 1, "retried": 1}
        assert len(blog.get("comments", f"/posts/{post['id']}/comments")) == 1


def test_with_backoff_the_attempts_are_further_and_further_apart(blog_with: Any) -> None:
    with blog_with(retries=3, backoff="exponential") as blog:
        with blog.broken("error", "comments", first=3):
            assert feed(blog).status_code == 200

        def waited_ms() -> list[float]:
            lines = map(json.loads, blog.spans_file("query").read_text().splitlines())
            return [ask["ms"] for line in lines for ask in line.get("asked", [])]

        feed(blog)
        feed(blog)
        slowest = eventually(lambda: max(waited_ms(), default=0), "the spans of query")
        assert slowest >= 50 + 100 + 200


def test_with_a_budget_a_service_that_is_down_is_hardly_asked_again(blog_with: Any) -> None:
    with blog_with(retries=3, retry_budget=0.1) as blog:
        with blog.broken("error", "comments"):
            for _ in range(50):
                assert feed(blog).status_code == 502
        told = counts(blog, "query", "comments")
        assert (told["asked"], told["attempts"] - told["retried"]) == (50, 50)
        assert told["retried"] == 10, "a tenth of 50 questions to posts and 50 to comments"
        assert told["budget_denied"] >= 40


# ── breaker ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_breaker_opens_when_a_service_fails_and_closes_when_it_is_well(
    blog_with: Any, carrier: str
) -> None:
    with blog_with(carrier, breaker=True) as blog:
        with blog.broken("error", "comments"):
            for _ in range(5):
                assert feed(blog).status_code == 502
            refused = feed(blog)
            assert refused.status_code == 503
            assert "circuit breaker for comments is open" in refused.json()["detail"]
            assert refused.json()["definite"]
            told = counts(blog, "query", "comments")
            assert told == {"asked": 6, "attempts": 5, "opened": 1, "broken": 1}
        eventually(lambda: feed(blog).ok, "the circuit to close")
        assert all(feed(blog).ok for _ in range(5))


def test_without_a_breaker_who_is_down_is_asked_every_time(blog_with: Any) -> None:
    with blog_with() as blog:
        blog.kill("comments")
        for _ in range(8):
            assert feed(blog).status_code == 503
        assert counts(blog, "query", "comments") == {"asked": 8, "attempts": 8}


# ── bulkhead ──────────────────────────────────────────────────────────────


def test_a_bulkhead_keeps_workers_for_those_who_need_nothing_from_the_slow_one(
    blog_with: Any,
) -> None:
    with blog_with(bulkhead=True, workers=2) as blog:
        post = blog.write_post()
        slow = blog.broken("latency", "moderation", ms=A_LONG_TIME_MS, first=1)
        with slow, requests.Session() as other:
            url = f"{blog.stack.urls['comments']}/posts/{post['id']}/comments"
            with meanwhile(lambda: other.post(url, json={"content": "slow"})) as answers:
                eventually(lambda: acted(blog, "moderation"), "moderation to be slow")
                refused = blog.comment(post["id"])
                assert blog.get("comments", f"/posts/{post['id']}/comments") == []
                assert not answers, "somebody still waits"
            assert answers[0].status_code == 201
        assert (refused.status_code, refused.json()["definite"]) == (503, True)
        assert "bulkhead for moderation is full" in refused.json()["detail"]
        assert counts(blog, "comments", "moderation")["bulkhead_refused"] == 1


# ── hedge ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_hedge_asks_again_and_the_reader_does_not_wait(blog_with: Any, carrier: str) -> None:
    with blog_with(carrier, hedge=50) as blog:
        with blog.broken("latency", "comments", ms=A_LONG_TIME_MS, first=1):
            assert feed(blog).ok
            told = counts(blog, "query", "comments")
        assert (told["attempts"], told["hedged"], told["hedge_won"]) == (2, 1, 1)


# ── fallback ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize("carrier", CARRIERS)
def test_with_a_fallback_there_is_a_feed_without_comments_and_it_says_so(
    blog_with: Any, carrier: str
) -> None:
    with blog_with(carrier, fallback=True) as blog:
        post = blog.write_post()
        blog.write_comment(post["id"])
        whole = feed(blog)
        assert (len(whole.json()[0]["comments"]), "Feed-Degraded" in whole.headers) == (1, False)
        with blog.broken("error", "comments"):
            told = feed(blog)
        assert (told.status_code, told.headers["Feed-Degraded"]) == (200, "comments")
        assert told.json() == [{**post, "comments": []}]
        assert counts(blog, "query", "comments")["fell_back"] == 1
        with blog.broken("error", "posts"):
            assert feed(blog).status_code == 502, "a feed without posts is none"
        assert "Feed-Degraded" not in feed(blog).headers


# ── deadline ──────────────────────────────────────────────────────────────


def queued_behind_a_slow_one(blog: Blog, patience_ms: int) -> requests.Response:
    """What becomes of a post that waits for the only worker, which is busy."""
    slow = blog.broken("latency", "posts", ms=A_LONG_TIME_MS, first=1)
    with slow, requests.Session() as other:
        with meanwhile(lambda: other.get(f"{blog.stack.urls['posts']}/posts")) as answers:
            eventually(lambda: acted(blog, "posts"), "the worker to be busy")
            headers = {"Request-Deadline-Ms": str(patience_ms)}
            late = blog.ask("POST", "posts", "/posts", json={"title": "Late"}, headers=headers)
        assert answers[0].ok
    return late


def test_with_deadlines_what_nobody_waits_for_any_more_is_not_begun(blog_with: Any) -> None:
    with blog_with(deadline=True, workers=1) as blog:
        late = queued_behind_a_slow_one(blog, patience_ms=1)
        assert (late.status_code, late.json()["definite"]) == (504, True)
        assert (blog.get("posts", "/posts"), blog.state("posts")["given_up"]) == ([], 1)
        assert queued_behind_a_slow_one(blog, patience_ms=60_000).status_code == 201
        refused = blog.ask("GET", "posts", "/posts", headers={"Request-Deadline-Ms": "soon"})
        assert (refused.status_code, refused.json()["field"]) == (400, "Request-Deadline-Ms")


def test_without_it_the_work_is_done_for_nobody(blog_with: Any) -> None:
    with blog_with(workers=1) as blog:
        assert queued_behind_a_slow_one(blog, patience_ms=1).status_code == 201
        assert blog.state("posts")["given_up"] == 0


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_deadline_is_passed_on_to_those_who_are_asked(blog_with: Any, carrier: str) -> None:
    with blog_with(carrier, deadline=True) as blog:
        with blog.broken("latency", "comments", ms=A_LONG_TIME_MS):
            given_up = feed(blog, headers={"Request-Deadline-Ms": "700"})
            assert given_up.status_code == 504
            assert "comments did not answer within 0." in given_up.json()["detail"]
            # Comments was slow for longer than anybody waited, and then didn't begin at all.
            eventually(lambda: blog.state("comments")["given_up"] == 1, "comments to give up")
        assert counts(blog, "query", "comments")["timed_out"] == 1


# ── and in a whole run ────────────────────────────────────────────────────

VARIANTS = """
[variants.naive]
arrangement = "sync-chain"
[variants.protected]
arrangement = "sync-chain"
fallback = true
retries = 1
retry_budget = 0.5
deadline = true
"""


async def ran(folder: Path) -> Result:
    text = scenario_text(
        {"fault": "error", "target": "comments"},
        rate=30,
        variants=(),
        phases="before = 0.8, during = 1.0, after = 0.8",
        expect="protected.asks.retried > 0 and naive.during.read_feed.degraded == 0",
    ).replace("[[expect]]", f"{VARIANTS}[[expect]]")
    (folder / "own.toml").write_text(text)
    for number in range(TRIES):
        (folder / f"try-{number}").mkdir()
        result = await Run(Scenario.load_file(folder / "own.toml"), folder / f"try-{number}")()
        if LATE not in " ".join(result.problems):
            break
    return result


def test_a_run_shows_what_a_switch_did_and_what_it_cost(tmp_path: Path) -> None:
    result = asyncio.run(ran(tmp_path))
    assert [problem for problem in result.problems if LATE not in problem] == []
    assert result.expectations[0].verdict == "holds"
    naive, protected = result.variants
    during = {one.name: one.phases["during"].endpoints["read_feed"] for one in result.variants}
    before = protected.phases["before"].endpoints["read_feed"]
    # Not quite all and none: who asks in the last moment of a phase is answered in the next one.
    assert (during["naive"].success or 0) <= 0.3
    assert during["protected"].success == 1
    assert during["protected"].degraded >= 0.7 * during["protected"].ok
    assert before.degraded <= 0.3 * before.ok
    asked = {path: measured(f"naive.asks.{path}", result) for path in ("asked", "attempts")}
    assert asked["asked"] == asked["attempts"]
    assert measured("protected.asks.fell_back", result)
    assert measured("protected.asks.given_up", result) == 0
    assert protected.data is not None
    assert protected.data.resurrected == 0, "what was said to be left out has not come and gone"
    assert questions(naive) is None
    assert "went on with less" in str(questions(protected))
    assert "during" in str(without_a_part(protected))
    assert without_a_part(naive) is None
