"""The load without an end: it reports what came in, does as it is told at once, keeps nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import ValidationError

from lab.load.lately import Lately, spread
from lab.load.samples import Sample
from lab.load.steady import SteadyLoad
from lab.load.steady_plan import SteadyPlan, Wish
from lab.load.steady_sender import KEPT_POSTS
from tests.support.load_blog import Blog, until

MIX = {"read_feed": 6, "create_post": 1, "create_comment": 3}


def plan(urls: dict[str, str], rate: float = 200, mix: Any = MIX) -> SteadyPlan:
    variants = [
        {
            "name": name,
            "urls": dict.fromkeys(("posts", "comments", "query"), url),
            "seed_posts": ["000001"],
        }
        for name, url in urls.items()
    ]
    return SteadyPlan.model_validate(
        {"seed": 7, "rate": rate, "mix": mix, "variants": variants, "reader_delay_s": 0}
    )


@asynccontextmanager
async def a_load(blog: Blog, **more: Any) -> AsyncIterator[SteadyLoad]:
    blog.add_post("the first")
    async with blog.serving() as url:
        load = SteadyLoad(asyncio.get_running_loop(), plan({"left": url, "right": url}, **more))
        try:
            yield load
        finally:
            load.stop()
            for sender in load.senders:
                await until(lambda one=sender: one.client.connections == 0)


def total(reports: list[dict[str, Any]], kind: str, what: str) -> dict[str, int]:
    return {
        name: sum(report["halves"][name][kind][what] for report in reports)
        for name in ("left", "right")
    }


async def test_what_was_sent_came_back_and_became_visible_is_reported_once() -> None:
    blog = Blog(looks_until_seen=1)
    async with a_load(blog) as load:
        reports: list[dict[str, Any]] = []

        def enough() -> bool:
            reports.append(load.report())
            return min(total(reports, "writes", "ok").values()) >= 20

        await until(enough)
        load.wish(Wish(rate=0))

        drawn = load.pieces + 2  # the piece that was drawn before the wish is still sent

        def all_is_over() -> bool:
            reports.append(load.report())
            halves = reports[-1]["halves"].values()
            is_idle = all(not half["waiting"] and not half["unseen"] for half in halves)
            return is_idle and load.pieces > drawn

        await until(all_is_over)
    for kind in ("reads", "writes"):
        sent, ok = total(reports, kind, "sent"), total(reports, kind, "ok")
        assert sent == ok
        assert sent["left"] == sent["right"] > 0
        assert total(reports, kind, "failed") == {"left": 0, "right": 0}
    seen = [report["halves"]["left"]["visible_ms"] for report in reports]
    assert any(seen)
    assert reports[-1]["halves"]["left"]["feed_age_ms"] == 0
    assert reports[-1]["schedule_p99_ms"] is not None


async def test_a_feed_that_stands_still_grows_old() -> None:
    blog = Blog()
    async with a_load(blog) as load:
        await until(lambda: load.report()["halves"]["left"]["writes"]["ok"] > 0)
        blog.thawed.clear()
        ages: list[int] = []

        def grows() -> bool:
            half = load.report()["halves"]["left"]
            ages.append(half["feed_age_ms"])
            return half["unseen"] > 3 and half["feed_age_ms"] > 50

        await until(grows)
        blog.thawed.set()
        await until(lambda: load.report()["halves"]["left"]["unseen"] < 3)


async def test_a_refused_request_is_a_failure_with_its_name() -> None:
    loop = asyncio.get_running_loop()
    async with Blog().serving() as url:
        pass
    load = SteadyLoad(loop, plan({"left": url, "right": url}))
    reports: list[dict[str, Any]] = []

    def failed() -> bool:
        reports.append(load.report())
        return min(total(reports, "reads", "failed").values()) > 3

    await until(failed)
    load.stop()
    half = reports[-1]["halves"]["left"]
    assert not half["feed_ok"]
    errors = {error for report in reports for error in report["halves"]["left"]["reads"]["errors"]}
    assert errors == {"refused"}
    assert half["read_ms"] is None


async def test_another_mix_holds_from_the_next_piece_on() -> None:
    async with a_load(Blog()) as load:
        load.wish(Wish(mix={"create_post": 1}))
        drawn = load.pieces + 2  # those that were drawn before
        await until(lambda: load.pieces > drawn)
        load.report()
        reports: list[dict[str, Any]] = []

        def enough() -> bool:
            reports.append(load.report())
            return total(reports, "writes", "sent")["left"] > 10

        await until(enough)
        assert total(reports, "reads", "sent") == {"left": 0, "right": 0}


async def test_nothing_is_kept_of_what_is_over() -> None:
    blog = Blog()
    async with a_load(blog) as load:
        sender = load.senders[0]
        watcher = sender.watcher
        for number in range(KEPT_POSTS + 500):
            sample = Sample("left", "steady", "create_post", 0.0, 0.0, ok=True, id=f"{number:06d}")
            watcher._learn(sample.id)
            watcher._seen.note(sample, 0.0)
            watcher._shown.add(sample.id)
        lost = Sample("left", "steady", "create_comment", 0.0, 0.0, ok=True, id="x")
        lost.post_id = "000002"
        sender.lately.sent(lost)
        sender.lately.answered(lost, "comments", "POST /comments")
        watcher._comments[lost.id] = lost
        assert sender.lately.told()["unseen"] >= 1
        load.forget()
        assert len(watcher._known) == KEPT_POSTS
        assert len(watcher._shown) <= KEPT_POSTS
        assert len(watcher._seen._posts) <= KEPT_POSTS
        assert lost.id not in watcher._comments
        assert sender.samples == []


@pytest.mark.parametrize(
    "wish",
    [{"rate": -1}, {"rate": 1e9}, {"mix": {"read_feed": 0}}, {"mix": {"fly": 1}}, {"speed": 1}],
)
def test_a_wish_that_makes_no_sense_is_refused(wish: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Wish.model_validate(wish)


def test_failures_are_told_one_by_one_before_what_went_well() -> None:
    lately = Lately()
    for number in range(50):
        sample = Sample("x", "steady", "read_feed", 0.0, 0.0, latency_ms=1.0, ok=number % 2 == 0)
        sample.error = "" if sample.ok else "timeout"
        lately.sent(sample)
        lately.answered(sample, "query", "GET /feed")
    told = lately.told()
    assert told["calls_total"] == 50
    assert len(told["calls"]) == 12
    assert {call[4] for call in told["calls"]} == {True, False}
    assert told["reads"] == {"sent": 50, "ok": 25, "failed": 25, "errors": {"timeout": 25}}
    assert lately.told()["reads"]["sent"] == 0


def test_a_spread_of_nothing_is_none() -> None:
    assert spread([]) is None
    assert spread([3.0, 1.0, 2.0]) == {"p50": 2.0, "max": 3.0}
