"""The continuous load: it reports, applies changes at once, and keeps nothing."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any

import pytest
from pydantic import ValidationError

from lab.load.anomalies import FeedRequest
from lab.load.continuous import MAX_TRACKED_POSTS, ContinuousLoad, ContinuousPlan, LoadChange
from lab.load.live_stats import AGES_S, RecentStats, median_and_max
from lab.load.samples import Sample
from tests.support.load_blog import LoadWorld, a_variant, wait_until

MIX = {"read_feed": 6, "create_post": 1, "create_comment": 3}
HALVES = ("left", "right")
Reports = list[dict[str, Any]]


@asynccontextmanager
async def run_load(world: LoadWorld) -> AsyncIterator[ContinuousLoad]:
    variants = [a_variant(name) for name in HALVES]
    plan = ContinuousPlan(seed=7, rate=200, mix=MIX, variants=variants, reader_delay_s=0)
    load = ContinuousLoad(world.loop, plan)
    try:
        yield load
    finally:
        load.stop()


async def collect_reports(load: ContinuousLoad, enough: Callable[[Reports], bool]) -> Reports:
    """All reports until `enough` is true of them."""
    reports: Reports = []

    def report() -> bool:
        reports.append(load.report())
        return enough(reports)

    await wait_until(report)
    return reports


def total(reports: Reports, kind: str, what: str) -> list[int]:
    return [sum(report["halves"][name][kind][what] for report in reports) for name in HALVES]


def test_each_request_answer_and_visible_write_is_reported_once(world: LoadWorld) -> None:
    world.blog.reads_until_shown = 1

    async def watch() -> Reports:
        async with run_load(world) as load:
            reports = await collect_reports(
                load, lambda so_far: min(total(so_far, "writes", "ok")) >= 20
            )
            load.apply_change(LoadChange(rate=0))
            drawn = load.pieces + 2  # the piece that was scheduled before the change is still sent

            def all_is_over(so_far: Reports) -> bool:
                halves = so_far[-1]["halves"].values()
                return load.pieces > drawn and not any(
                    half["waiting"] or half["unseen"] for half in halves
                )

            return reports + await collect_reports(load, all_is_over)

    reports = world.run(watch())
    assert reports[-1]["halves"]["left"]["looked_s"] > 0
    for kind in ("reads", "writes", "posts", "comments"):
        sent, ok = total(reports, kind, "sent"), total(reports, kind, "ok")
        assert sent == ok
        assert sent[0] == sent[1] > 0
        assert total(reports, kind, "failed") == [0, 0]
    assert any(report["halves"]["left"]["visible_ms"] for report in reports)
    assert reports[-1]["halves"]["left"]["feed_age_ms"] == 0
    assert reports[-1]["schedule_p99_ms"] < 1


def test_a_frozen_feed_grows_old(world: LoadWorld) -> None:
    async def watch() -> Reports:
        async with run_load(world) as load:
            await collect_reports(load, lambda so_far: total(so_far, "writes", "ok")[0] > 0)
            frozen_at_s = world.loop.time()
            world.frozen_reads = (frozen_at_s, frozen_at_s + 1)
            return await collect_reports(load, lambda _: world.loop.time() > frozen_at_s + 1.5)

    halves = [report["halves"]["left"] for report in world.run(watch())]
    assert max(half["feed_age_ms"] for half in halves) == pytest.approx(1_000, abs=100)
    assert max(half["unseen"] for half in halves) > 40
    assert halves[-1]["feed_age_ms"] < 100
    assert halves[-1]["unseen"] < 5


def test_a_refused_request_is_a_failure_with_its_name(world: LoadWorld) -> None:
    world.script = ["refused"]

    async def watch() -> Reports:
        async with run_load(world) as load:
            return await collect_reports(
                load, lambda so_far: min(total(so_far, "reads", "failed")) > 3
            )

    halves = [report["halves"]["left"] for report in world.run(watch())]
    assert not halves[-1]["feed_ok"]
    assert {error for half in halves for error in half["reads"]["errors"]} == {"refused"}
    assert halves[-1]["read_ms"] is None


def test_another_mix_holds_from_the_next_piece_on(world: LoadWorld) -> None:
    async def watch() -> Reports:
        async with run_load(world) as load:
            load.apply_change(LoadChange(mix={"create_post": 1}))
            drawn = load.pieces + 2  # those scheduled before
            await wait_until(lambda: load.pieces > drawn)
            load.report()
            return await collect_reports(
                load, lambda so_far: total(so_far, "writes", "sent")[0] > 10
            )

    assert total(world.run(watch()), "reads", "sent") == [0, 0]


def test_nothing_is_kept_of_what_is_over(world: LoadWorld) -> None:
    async def forget() -> None:
        async with run_load(world) as load:
            sender = load.senders[0]
            watcher = sender.probe
            for number in range(MAX_TRACKED_POSTS + 500):
                one = Sample("left", "steady", "create_post", 0.0, 0.0, ok=True, id=f"{number:06d}")
                watcher._register_post(one.id)
                watcher._monotonic_reads.record_shown(one, 0.0)
                watcher._shown_posts.add(one.id)
            lost = Sample("left", "steady", "create_comment", 0.0, 0.0, ok=True, id="x")
            lost.post_id = "000002"
            sender.recent_stats.record_sent(lost)
            sender.recent_stats.record_outcome(lost, "comments", "POST /comments")
            watcher._pending_comments[lost.id] = lost
            assert sender.recent_stats.take_snapshot()["unseen"] == 1
            load.prune()
            assert len(watcher._known_keys) == MAX_TRACKED_POSTS
            assert len(watcher._shown_posts) <= MAX_TRACKED_POSTS
            assert len(watcher._monotonic_reads._posts) <= MAX_TRACKED_POSTS
            assert lost.id not in watcher._pending_comments
            assert sender.samples == []

    world.run(forget())


def test_a_page_that_unknown_posts_fill_shows_nothing_of_older_ones(world: LoadWorld) -> None:
    """A post whose 201 came too late is unknown to the load, but in the feed."""

    def feed(*ids: str) -> bytes:
        return json.dumps([{"id": post_id, "comments": []} for post_id in ids]).encode()

    async def look() -> None:
        async with run_load(world) as load:
            probe = load.senders[0].probe
            probe.looked_s, probe._pass_began_s = 0.0, None
            probe._oldest_key = probe._order.key("000002")
            for at_s, ids, looked_s in (
                (1.0, ("000009", "000008"), 0.0),
                (2.0, ("000009",), 2.0),
                (3.0, ("000003", "000002"), 3.0),
                (4.0, (), 3.0),
            ):
                probe._last_request = FeedRequest(at_s, limit=2)
                probe._process_feed(feed(*ids), at_s, probe._last_request, False)
                assert probe.looked_s == looked_s
            others = FeedRequest(9.0, limit=2)
            probe._process_feed(feed("000001"), 9.0, others, False)
            assert probe.looked_s == 3.0

    world.run(look())


@pytest.mark.parametrize(
    "wish",
    [{"rate": -1}, {"rate": 1e9}, {"mix": {"read_feed": 0}}, {"mix": {"fly": 1}}, {"speed": 1}],
)
def test_a_wish_that_makes_no_sense_is_refused(wish: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LoadChange.model_validate(wish)


def test_failures_are_told_one_by_one_before_what_went_well() -> None:
    lately = RecentStats()
    for number in range(50):
        sample = Sample("x", "steady", "read_feed", 0.0, 0.0, latency_ms=1.0, ok=number % 2 == 0)
        sample.error = "" if sample.ok else "timeout"
        lately.record_sent(sample)
        lately.record_outcome(sample, "query", "GET /feed")
    told = lately.take_snapshot()
    assert told["calls_total"] == 50
    assert len(told["calls"]) == 12
    assert {call[4] for call in told["calls"]} == {True, False}
    assert told["reads"] == {"sent": 50, "ok": 25, "failed": 25, "errors": {"timeout": 25}}
    assert lately.take_snapshot()["reads"]["sent"] == 0


def test_posts_and_comments_are_counted_apart_and_together() -> None:
    lately = RecentStats()
    for kind, ok in (("create_post", True), ("create_comment", False), ("create_comment", False)):
        sample = Sample("x", "steady", kind, 0.0, 0.0, latency_ms=1.0, ok=ok, id="w")
        sample.error = "" if ok else "refused"
        lately.record_sent(sample)
        lately.record_outcome(sample, "posts", "POST /posts")
    report = lately.take_snapshot()
    assert report["posts"] == {"sent": 1, "ok": 1, "failed": 0, "errors": {}}
    assert report["comments"] == {"sent": 2, "ok": 0, "failed": 2, "errors": {"refused": 2}}
    assert report["writes"] == {"sent": 3, "ok": 1, "failed": 2, "errors": {"refused": 2}}


def test_unseen_writes_are_counted_by_their_age() -> None:
    lately = RecentStats()
    ages_s = (1_000.0, 4.5, 1.2, 0.1)
    now_s = perf_counter()
    write = Sample("half", "steady", "create_post", 0.0, 0.0, 5.0, token="w-1-000431;", trace="t")
    lately._unseen.update((str(age), (now_s - age, write)) for age in ages_s)
    report = lately.take_snapshot()
    counts = report["unseen_by_age"]
    assert report["oldest_unseen"]["acknowledged_s"] == now_s - 1_000
    assert report["oldest_unseen"]["number"] == 431
    assert counts == [4, 3, 2, 2, 2, *[1] * (AGES_S - 5)]


def test_a_spread_of_nothing_is_none() -> None:
    assert median_and_max([]) is None
    assert median_and_max([3.0, 1.0, 2.0]) == {"p50": 2.0, "max": 3.0}
