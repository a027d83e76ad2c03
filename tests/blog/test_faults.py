"""Each kind of fault has its effect, proves it, and is gone after its removal."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from lab.cluster.injector import FaultFailed, Injection
from lab.domain import headers
from lab.faults.kinds import KINDS
from tests.support.laboratory import PATIENCE_S, RunningBlog, eventually

LISTS = {"posts": "/posts", "comments": "/comments?post_ids=a", "query": "/feed"}
TARGETS = list(LISTS)
REQUEST_FAULTS = {"latency", "error", "timeout", "reset_peer"}
TESTED_WITH_EVENTS = {"partition", "drop", "duplicate", "reorder", "new_version"}


def probe(blog: RunningBlog, target: str, timeout_s: float = PATIENCE_S) -> int | str:
    """The status of a GET, or the error in a word."""
    try:
        return blog.ask("GET", target, LISTS[target], timeout=timeout_s).status_code
    except requests.ReadTimeout:
        return "timeout"
    except requests.ConnectionError as error:
        return "refused" if "refused" in str(error) else "broken off"


def evidence_now(blog: RunningBlog, target: str) -> dict[str, Any]:
    with_token = {headers.TOKEN: blog.stack.token}
    evidence: dict[str, Any] = blog.ask("GET", target, "/_lab/faults", headers=with_token).json()
    return evidence


def assert_removed(blog: RunningBlog, injection: Injection, target: str) -> None:
    assert injection.removed
    assert evidence_now(blog, target) == {}
    assert probe(blog, target) == 200


# ── Faults in the fault filter


def test_every_kind_at_the_door_is_looked_at_here() -> None:
    at_the_door = {kind for kind, fault in KINDS.items() if fault.acts_on == "door"}
    assert at_the_door == REQUEST_FAULTS | TESTED_WITH_EVENTS


@pytest.mark.parametrize("target", TARGETS)
def test_latency_holds_each_visitor_as_long_as_it_says(blog: RunningBlog, target: str) -> None:
    without = blog.ask("GET", target, LISTS[target])
    with blog.broken("latency", target, ms=30, jitter_ms=10) as injection:
        assert [probe(blog, target) for _ in range(5)] == [200] * 5
    told = injection.evidence
    assert (injection.acted, told["visitors"], told["acted"]) == (True, 5, 5)
    assert 20 <= told["delayed_ms_min"] <= told["delayed_ms_mean"] <= told["delayed_ms_max"]
    assert told["delayed_ms_max"] > told["delayed_ms_min"]  # there is jitter
    assert_removed(blog, injection, target)
    with blog.broken("latency", target, ms=0) as injection:
        with_it = blog.ask("GET", target, LISTS[target])
    assert (with_it.status_code, with_it.content) == (without.status_code, without.content)
    assert injection.evidence["acted"] == 1
    assert "delayed_ms_max" not in injection.evidence


@pytest.mark.parametrize("target", TARGETS)
def test_an_error_is_answered_at_the_door(blog: RunningBlog, target: str) -> None:
    for status in (503, 429, 500):
        with blog.broken("error", target, status=status) as injection:
            response = blog.ask("GET", target, LISTS[target])
            assert blog.ask("GET", target, "/health").ok
        assert response.status_code == response.json()["status"] == status
        assert response.headers["Content-Type"] == "application/problem+json"
        assert response.json()["definite"] is True
        assert injection.acted
        assert_removed(blog, injection, target)


def test_what_an_injected_error_refuses_is_not_done(blog: RunningBlog) -> None:
    post = blog.write_post()
    before = blog.all_of("posts", "/posts")
    with blog.broken("error", "posts"):
        assert blog.ask("POST", "posts", "/posts", json={"title": "no"}).status_code == 503
    with blog.broken("error", "comments"):
        assert blog.comment(post["id"]).status_code == 503
    assert blog.all_of("posts", "/posts") == before
    assert blog.get("comments", f"/posts/{post['id']}/comments") == []


@pytest.mark.parametrize("target", TARGETS)
def test_a_timeout_holds_its_visitors_until_it_is_healed(blog: RunningBlog, target: str) -> None:
    url = blog.stack.urls[target] + LISTS[target]
    with ThreadPoolExecutor(3) as pool:
        with blog.broken("timeout", target) as injection:
            waiting = [pool.submit(requests.get, url, timeout=PATIENCE_S) for _ in range(3)]
            eventually(lambda: blog.acted(target) == 3, "three waiting")
            assert not any(request.done() for request in waiting)
        assert all(isinstance(r.exception(PATIENCE_S), requests.ConnectionError) for r in waiting)
    assert injection.evidence["acted"] == 3
    assert_removed(blog, injection, target)


@pytest.mark.parametrize("target", TARGETS)
def test_reset_peer_tears_the_connection_down(blog: RunningBlog, target: str) -> None:
    with blog.broken("reset_peer", target) as injection:
        assert [probe(blog, target) for _ in range(3)] == ["broken off"] * 3
        assert blog.ask("GET", target, "/health").ok
    assert injection.evidence["acted"] >= 3
    assert_removed(blog, injection, target)


def test_the_same_seed_hits_the_same_share_of_visitors(blog: RunningBlog) -> None:
    runs = []
    for _ in range(2):
        with blog.broken("error", "posts", probability=0.3) as injection:
            runs.append([probe(blog, "posts") for _ in range(50)])
        assert injection.evidence["visitors"] == 50
        assert injection.evidence["acted"] == runs[-1].count(503)
    assert runs[0] == runs[1]
    assert 5 < runs[0].count(503) < 25


def test_first_limits_how_many_are_hit(blog: RunningBlog) -> None:
    with blog.broken("error", "posts", first=2) as injection:
        assert [probe(blog, "posts") for _ in range(4)] == [503, 503, 200, 200]
    assert (injection.evidence["visitors"], injection.evidence["acted"]) == (4, 2)


@pytest.mark.parametrize("options", [{"probability": 0}, {}], ids=["hits nobody", "met nobody"])
def test_a_fault_that_hit_no_visitor_has_not_acted(
    blog: RunningBlog, options: dict[str, Any]
) -> None:
    with blog.broken("error", "posts", **options) as injection:
        if options:
            assert [probe(blog, "posts") for _ in range(20)] == [200] * 20
    assert not injection.acted
    assert injection.evidence["acted"] == 0
    assert_removed(blog, injection, "posts")


def test_two_faults_at_one_door_both_act(blog: RunningBlog) -> None:
    with (
        blog.broken("latency", "posts", "slow", ms=5) as slow,
        blog.broken("latency", "posts", "slower", ms=20) as slower,
    ):
        assert probe(blog, "posts") == 200
    assert slow.evidence["delayed_ms_min"] >= 5
    assert slower.evidence["delayed_ms_min"] >= 20


# ── Faults of the process


@pytest.mark.parametrize(("kind", "meets"), [("down", "refused"), ("hang", "timeout")])
@pytest.mark.parametrize("target", TARGETS)
def test_a_killed_process_refuses_and_a_suspended_one_hangs(
    blog: RunningBlog, target: str, kind: str, meets: str
) -> None:
    pid = blog.pid(target)
    with blog.broken(kind, target) as injection:
        assert probe(blog, target, timeout_s=0.05) == meets
    assert injection.acted
    assert injection.removed
    assert injection.evidence["pid"] == pid
    assert (blog.pid(target) == pid) is (kind == "hang")
    if kind == "down":
        assert injection.evidence["gone"]
        assert injection.evidence["new_pid"] == blog.pid(target)
    assert probe(blog, target) == 200


def test_a_fault_on_a_dead_process_is_an_error(blog: RunningBlog) -> None:
    with blog.broken("down", "posts"), pytest.raises(FaultFailed, match="no fault filter"):
        blog.broken("error", "posts").__enter__()


def test_a_fault_that_ended_with_its_process_is_an_error(blog: RunningBlog) -> None:
    breaking = blog.broken("error", "posts")
    breaking.__enter__()
    blog.restart("posts")
    with pytest.raises(FaultFailed, match="restarted meanwhile"):
        breaking.__exit__(None, None, None)
