"""The continuous load: it reports, applies changes at once, and keeps nothing."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import ValidationError

from lab.load.continuous import KEPT_POSTS, SteadyLoad, SteadyPlan, Wish
from lab.load.live_stats import Lately, spread
from lab.load.samples import Sample
from tests.support.load_blog import World, a_variant, until

MIX = {"read_feed": 6, "create_post": 1, "create_comment": 3}
HALVES = ("left", "right")
Reports = list[dict[str, Any]]


@asynccontextmanager
async def a_load(world: World) -> AsyncIterator[SteadyLoad]:
    variants = [a_variant(name) for name in HALVES]
    plan = SteadyPlan(seed=7, rate=200, mix=MIX, variants=variants, reader_delay_s=0)
    load = SteadyLoad(world.loop, plan)
    try:
        yield load
    finally:
        load.stop()


async def reported(load: SteadyLoad, enough: Callable[[Reports], bool]) -> Reports:
    """All reports until `enough` is true of them."""
    reports: Reports = []

    def report() -> bool:
        reports.append(load.report())
        return enough(reports)

    await until(report)
    return reports


def total(reports: Reports, kind: str, what: str) -> list[int]:
    return [sum(report["halves"][name][kind][what] for report in reports) for name in HALVES]


def test_each_request_answer_and_visible_write_is_reported_once(world: World) -> None:
    world.blog.looks_until_seen = 1

    async def watch() -> Reports:
        async with a_load(world) as load:
            reports = await reported(load, lambda so_far: min(total(so_far, "writes", "ok")) >= 20)
            load.wish(Wish(rate=0))
            drawn = load.pieces + 2  # the piece that was scheduled before the change is still sent

            def all_is_over(so_far: Reports) -> bool:
                halves = so_far[-1]["halves"].values()
                return load.pieces > drawn and not any(
                    half["waiting"] or half["unseen"] for half in halves
                )

            return reports + await reported(load, all_is_over)

    reports = world.run(watch())
    for kind in ("reads", "writes"):
        sent, ok = total(reports, kind, "sent"), total(reports, kind, "ok")
        assert sent == ok
        assert sent[0] == sent[1] > 0
        assert total(reports, kind, "failed") == [0, 0]
    assert any(report["halves"]["left"]["visible_ms"] for report in reports)
    assert reports[-1]["halves"]["left"]["feed_age_ms"] == 0
    assert reports[-1]["schedule_p99_ms"] < 1


def test_a_frozen_feed_grows_old(world: World) -> None:
    async def watch() -> Reports:
        async with a_load(world) as load:
            await reported(load, lambda so_far: total(so_far, "writes", "ok")[0] > 0)
            frozen_at_s = world.loop.time()
            world.frozen = (frozen_at_s, frozen_at_s + 1)
            return await reported(load, lambda _: world.loop.time() > frozen_at_s + 1.5)

    halves = [report["halves"]["left"] for report in world.run(watch())]
    assert max(half["feed_age_ms"] for half in halves) == pytest.approx(1_000, abs=100)
    assert max(half["unseen"] for half in halves) > 40
    assert halves[-1]["feed_age_ms"] < 100
    assert halves[-1]["unseen"] < 5


def test_a_refused_request_is_a_failure_with_its_name(world: World) -> None:
    world.script = ["refused"]

    async def watch() -> Reports:
        async with a_load(world) as load:
            return await reported(load, lambda so_far: min(total(so_far, "reads", "failed")) > 3)

    halves = [report["halves"]["left"] for report in world.run(watch())]
    assert not halves[-1]["feed_ok"]
    assert {error for half in halves for error in half["reads"]["errors"]} == {"refused"}
    assert halves[-1]["read_ms"] is None


def test_another_mix_holds_from_the_next_piece_on(world: World) -> None:
    async def watch() -> Reports:
        async with a_load(world) as load:
            load.wish(Wish(mix={"create_post": 1}))
            drawn = load.pieces + 2  # those scheduled before
            await until(lambda: load.pieces > drawn)
            load.report()
            return await reported(load, lambda so_far: total(so_far, "writes", "sent")[0] > 10)

    assert total(world.run(watch()), "reads", "sent") == [0, 0]


def test_nothing_is_kept_of_what_is_over(world: World) -> None:
    async def forget() -> None:
        async with a_load(world) as load:
            sender = load.senders[0]
            watcher = sender.watcher
            for number in range(KEPT_POSTS + 500):
                one = Sample("left", "steady", "create_post", 0.0, 0.0, ok=True, id=f"{number:06d}")
                watcher._learn(one.id)
                watcher._seen.note(one, 0.0)
                watcher._shown.add(one.id)
            lost = Sample("left", "steady", "create_comment", 0.0, 0.0, ok=True, id="x")
            lost.post_id = "000002"
            sender.lately.sent(lost)
            sender.lately.answered(lost, "comments", "POST /comments")
            watcher._comments[lost.id] = lost
            assert sender.lately.told()["unseen"] == 1
            load.forget()
            assert len(watcher._known) == KEPT_POSTS
            assert len(watcher._shown) <= KEPT_POSTS
            assert len(watcher._seen._posts) <= KEPT_POSTS
            assert lost.id not in watcher._comments
            assert sender.samples == []

    world.run(forget())


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
