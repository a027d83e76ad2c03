"""Each resilience pattern in a running stack: its effect for a client, and its counters."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import pytest
import requests

from lab.report.sections import call_counters, degraded_answers
from lab.results.dependencies import read_call_counts
from lab.results.paths import lookup
from lab.results.result import RunResult, VariantResult
from tests.blog.conftest import BlogWith
from tests.support.laboratory import PATIENCE_S, RunningBlog, eventually

ARRANGEMENTS = ["sync-chain", "request-reply"]
PATIENT = {"timeout_ms": 60_000}  # no client times out while a test delays the answer

PendingResponse = Future[requests.Response]


def read_counters(blog: RunningBlog, caller: str, callee: str) -> dict[str, int]:
    """The counters of `caller` for its calls to `callee`, without zeros."""
    counts = blog.state(caller)["asks"].get(callee, {})
    return {kind: count for kind, count in counts.items() if count}


def read_feed(blog: RunningBlog, **more: Any) -> requests.Response:
    return blog.ask("GET", "query", "/feed", **more)


def send_comment(
    pool: ThreadPoolExecutor, blog: RunningBlog, post_id: str, **headers: str
) -> PendingResponse:
    """Send a comment from another thread, on a new connection."""
    url = f"{blog.stack.urls['comments']}/posts/{post_id}/comments"
    more: dict[str, Any] = {"json": {"content": "meanwhile"}, "timeout": PATIENCE_S}
    return pool.submit(requests.post, url, headers=headers, **more)


# ── Retries, backoff, retry_budget


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_retries_with_backoff_hide_three_failures_in_a_row(
    blog_with: BlogWith, arrangement: str
) -> None:
    with blog_with(arrangement) as blog, blog.broken("error", "comments", first=3):
        assert read_feed(blog).status_code == 502
        assert read_counters(blog, "query", "comments") == {"asked": 1, "attempts": 1}
    with blog_with(arrangement, retries=3, backoff="exponential") as blog:
        with blog.broken("error", "comments", first=3):
            begun_s = perf_counter()
            assert read_feed(blog).status_code == 200
            assert perf_counter() - begun_s >= 0.050 + 0.100 + 0.200
        assert read_counters(blog, "query", "comments") == {"asked": 1, "attempts": 4, "retried": 3}


def test_a_retry_after_a_timeout_does_the_work_twice(blog_with: BlogWith) -> None:
    with blog_with(retries=5, timeout_ms=1_000) as blog:
        post = blog.write_post()
        with blog.broken("latency", "moderation", ms=1_500, first=1):
            assert blog.comment(post["id"], "judged twice").status_code == 201
            eventually(lambda: len(blog.get("moderation", "/verdicts")) >= 2, "the late verdict")
        told = read_counters(blog, "comments", "moderation")
        assert told["timed_out"] >= 1
        assert told["attempts"] == told["asked"] + told["retried"]
        assert len(blog.get("comments", f"/posts/{post['id']}/comments")) == 1


def test_with_a_budget_failing_services_are_hardly_asked_again(blog_with: BlogWith) -> None:
    with blog_with(retries=3, retry_budget=0.1) as blog:
        with blog.broken("error", "comments"):
            for _ in range(50):
                assert read_feed(blog).status_code == 502
        told = read_counters(blog, "query", "comments")
        assert (told["asked"], told["attempts"] - told["retried"]) == (50, 50)
        assert told["retried"] == 10, "a tenth of 50 questions to posts and 50 to comments"
        assert told["budget_denied"] >= 40


# ── Breaker


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_a_breaker_opens_for_a_failing_service_and_closes_again(
    blog_with: BlogWith, arrangement: str
) -> None:
    with blog_with(arrangement, breaker=True) as blog:
        with blog.broken("error", "comments"):
            for _ in range(5):
                assert read_feed(blog).status_code == 502

            def refused() -> dict[str, Any] | None:
                answer = read_feed(blog)  # an open circuit allows a trial call now and then
                return answer.json() if answer.status_code == 503 else None

            told = eventually(refused, "an open circuit")
            assert "circuit breaker for comments is open" in told["detail"]
            assert told["definite"]
            counted = read_counters(blog, "query", "comments")
            assert counted["attempts"] + counted["broken"] == counted["asked"]
            assert counted["opened"] >= 1
        eventually(lambda: read_feed(blog).ok, "the circuit to close")
        assert all(read_feed(blog).ok for _ in range(5))


def test_without_a_breaker_a_dead_service_is_asked_every_time(blog_with: BlogWith) -> None:
    with blog_with() as blog:
        blog.kill("comments")
        for _ in range(8):
            assert read_feed(blog).status_code == 503
        assert read_counters(blog, "query", "comments") == {"asked": 8, "attempts": 8}


# ── Bulkhead


def test_a_bulkhead_keeps_workers_free_of_a_slow_service(blog_with: BlogWith) -> None:
    with (
        blog_with(bulkhead=True, workers=2, **PATIENT) as blog,
        ThreadPoolExecutor(1) as pool,
    ):
        post = blog.write_post()
        with blog.broken("timeout", "moderation"):
            waits = send_comment(pool, blog, post["id"])
            eventually(lambda: blog.acted("moderation"), "moderation to be asked")
            refused = blog.comment(post["id"])
            assert blog.get("comments", f"/posts/{post['id']}/comments") == []
            assert not waits.done()
        assert waits.result(PATIENCE_S).status_code == 502
        assert (refused.status_code, refused.json()["definite"]) == (503, True)
        assert "bulkhead for moderation is full" in refused.json()["detail"]
        assert read_counters(blog, "comments", "moderation")["bulkhead_refused"] == 1


# ── Hedge


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_a_hedge_asks_again_and_the_reader_does_not_wait(
    blog_with: BlogWith, arrangement: str
) -> None:
    with blog_with(arrangement, hedge=50, **PATIENT) as blog:
        with blog.broken("timeout", "comments", first=1):
            assert read_feed(blog).ok
            told = read_counters(blog, "query", "comments")
        assert (told["attempts"], told["hedged"], told["hedge_won"]) == (2, 1, 1)


# ── Fallback


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_with_a_fallback_the_feed_lacks_comments_and_says_so(
    blog_with: BlogWith, arrangement: str
) -> None:
    with blog_with(arrangement, fallback=True, retries=1) as blog:
        post = blog.write_post()
        blog.write_comment(post["id"])
        whole = read_feed(blog)
        assert (len(whole.json()[0]["comments"]), "Feed-Degraded" in whole.headers) == (1, False)
        with blog.broken("error", "comments"):
            told = read_feed(blog)
        assert (told.status_code, told.headers["Feed-Degraded"]) == (200, "comments")
        assert told.json() == [{**post, "comments": []}]
        with blog.broken("error", "posts"):
            assert read_feed(blog).status_code == 502, "a feed without posts is none"
        assert "Feed-Degraded" not in read_feed(blog).headers
        asks = blog.laboratory.run(read_call_counts(blog.stack))
    variant = VariantResult.model_validate({"name": "mine", "arrangement": arrangement, **asks})
    result = RunResult(scenario="x", seed=7, started="", variants=[variant])
    seen = [
        lookup(f"mine.asks.{figure}", result) for figure in ("fell_back", "retried", "given_up")
    ]
    assert seen == [1, 2, 0]
    assert "2 of them repeated after a failure; 1 went on with less" in str(call_counters(variant))


def test_answers_without_a_part_are_counted_by_phase() -> None:
    figures = {"sent": 4, "ok": 4, "failed": 0, "degraded": 3}
    phases = {"during": {"seconds": 1, "endpoints": {"read_feed": figures}}}
    kinds = {"name": "mine", "arrangement": "sync-chain"}
    assert "3 during." in str(
        degraded_answers(VariantResult.model_validate({**kinds, "phases": phases}))
    )
    assert degraded_answers(VariantResult.model_validate(kinds)) is None
    assert call_counters(VariantResult.model_validate(kinds)) is None


# ── Deadline


@contextmanager
def queued(blog: RunningBlog, patience_ms: int) -> Iterator[PendingResponse]:
    """A comment whose request has waited in the queue for the only worker."""
    post = blog.write_post()
    with ThreadPoolExecutor(2) as pool:
        with blog.broken("timeout", "moderation", first=1):
            busy = send_comment(pool, blog, post["id"])
            eventually(lambda: blog.acted("moderation"), "the worker to be busy")
            headers = {"Request-Deadline-Ms": str(patience_ms)}
            late = send_comment(pool, blog, post["id"], **headers)
            eventually(lambda: blog.state("comments")["under_way"] == 2, "one more in the queue")
        assert busy.result(PATIENCE_S).status_code == 502
        yield late


def test_with_deadlines_expired_requests_are_not_begun(blog_with: BlogWith) -> None:
    with blog_with(deadline=True, workers=1, **PATIENT) as blog:
        with queued(blog, patience_ms=0) as late:
            told = late.result(PATIENCE_S)
        assert (told.status_code, told.json()["definite"]) == (504, True)
        assert blog.state("comments")["given_up"] == 1
        assert read_counters(blog, "comments", "moderation")["asked"] == 1
        with queued(blog, patience_ms=60_000) as late:
            assert late.result(PATIENCE_S).status_code == 201
        refused = blog.ask("GET", "posts", "/posts", headers={"Request-Deadline-Ms": "soon"})
        assert (refused.status_code, refused.json()["field"]) == (400, "Request-Deadline-Ms")


def test_without_deadlines_expired_requests_are_done_anyway(blog_with: BlogWith) -> None:
    with blog_with(workers=1, **PATIENT) as blog:
        with queued(blog, patience_ms=0) as late:
            assert late.result(PATIENCE_S).status_code == 201
        assert blog.state("comments")["given_up"] == 0


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_a_deadline_is_passed_on_to_the_asked_service(
    blog_with: BlogWith, arrangement: str
) -> None:
    with blog_with(arrangement, deadline=True) as blog:
        with blog.broken("latency", "comments", ms=1_200):

            def given_up() -> bool:
                answer = read_feed(blog, headers={"Request-Deadline-Ms": "700"})
                assert answer.status_code == 504
                return "comments did not answer within 0." in answer.json()["detail"]

            eventually(given_up, "a deadline that expires while comments is asked")
            # `comments` was slow for longer than that, and then did not begin the work.
            eventually(lambda: blog.state("comments")["given_up"], "comments to give up")
        assert read_counters(blog, "query", "comments")["timed_out"] >= 1
