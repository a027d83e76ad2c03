"""The load against a small blog: what it sends, how it rates the answers, what it observes."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

from lab.load.generator import Heartbeat, run
from lab.load.metrics import endpoint_figures, phase_figures
from lab.load.plan import Plan, PlanPhase, PlanVariant
from lab.load.samples import Sample, read_samples
from lab.load.schedule import Arrival, PhaseClock
from lab.load.sender import Sender
from lab.load.visibility import VisibilityProbe
from lab.support.http_client import HttpOrigin
from tests.support.load_blog import (
    PATIENCE_S,
    FakeClient,
    LoadWorld,
    SilentPeer,
    a_plan,
    a_variant,
    run_peer,
    wait_until,
)


def a_probe(world: LoadWorld, *seed_posts: str, reader_delay_s: float = 0) -> VisibilityProbe:
    feed, now_s = HttpOrigin("127.0.0.1", 1), world.loop.time()
    return VisibilityProbe(world.loop, FakeClient(world), feed, seed_posts, now_s, reader_delay_s)


def a_sender(world: LoadWorld, late_s: float = 0.0, **changed: Any) -> Sender:
    """A variant's sender in a run that began `late_s` seconds ago."""
    started_at_s = world.loop.time() - late_s
    settings: dict[str, Any] = {"timeout_s": PATIENCE_S, "max_in_flight": 10, **changed}
    timeline = PhaseClock([PlanPhase(name="before", seconds=60)])
    watcher = a_probe(world, "000001")
    return Sender(0, a_variant(), FakeClient(world), watcher, timeline, started_at_s, **settings)


def fire_all(world: LoadWorld, sender: Sender, *actions: str) -> list[Sample]:
    """The samples of these actions, all sent now, once none of them is in flight."""

    async def fire() -> None:
        for number, action in enumerate(actions):
            sender.fire(number, Arrival(0.0, action, 0), 0.0)
        await wait_until(lambda: sender.counts.in_flight == sender.probe.pending == 0)

    world.run(fire())
    return sender.samples


def run_plan(world: LoadWorld, plan: Plan) -> dict[str, Any]:
    with plan.progress.open("a") as progress:
        summary: dict[str, Any] = world.run(run(plan, progress, asyncio.Event()))
    return summary


def samples_of(plan: Plan, variant: str) -> list[Sample]:
    return [one for one in read_samples(plan.samples) if one.variant == variant]


def closed_loop_variant(users: int) -> PlanVariant:
    return a_variant("closed", users=users)


def test_readers_wait_for_the_end_of_a_freeze_users_omit(world: LoadWorld, tmp_path: Path) -> None:
    start_at, users = world.loop.time() + 0.1, 3
    plan = a_plan(tmp_path, a_variant("open"), closed_loop_variant(users), start_at=start_at)
    world.frozen_reads = (start_at + 0.5, start_at + 1.5)
    summary = run_plan(world, plan)

    came = [one for one in samples_of(plan, "open") if 0.5 <= one.intended_s < 1.5]
    waited = [(1.5 - one.intended_s) * 1_000 - (one.latency_ms or 0) for one in came]
    assert len(came) > 150
    assert all(abs(ms) < 1 for ms in waited)
    assert (summary["late"], summary["dropped"]) == (0, 0)
    closed = samples_of(plan, "closed")
    assert sum((one.latency_ms or 0) > 10 for one in closed) == users
    assert users < len(closed) < len(samples_of(plan, "open")) - len(came) / 2


def test_users_have_one_request_each_under_way(world: LoadWorld, tmp_path: Path) -> None:
    world.latency_s, users = 0.05, 2
    plan = a_plan(tmp_path, closed_loop_variant(users), rate=500)
    run_plan(world, plan)

    samples = sorted(samples_of(plan, "closed"), key=lambda one: one.intended_s)
    ends_s = [one.intended_s + (one.latency_ms or 0) / 1_000 for one in samples]
    assert len(samples) > 50
    assert all(one.ok for one in samples)
    for number, sample in enumerate(samples):
        assert sum(end_s > sample.intended_s for end_s in ends_s[:number]) < users


def test_latency_counts_from_the_intended_moment(world: LoadWorld) -> None:
    (sample,) = fire_all(world, a_sender(world, late_s=5), "read_feed")
    assert sample.latency_ms is not None
    assert sample.latency_ms > sample.lag_ms >= 5_000
    assert endpoint_figures([sample])["late"] == 1


def test_a_send_over_the_limit_is_dropped_and_counted(world: LoadWorld) -> None:
    figures = endpoint_figures(
        fire_all(world, a_sender(world, max_in_flight=2), *["read_feed"] * 3)
    )
    assert (figures["sent"], figures["ok"], figures["dropped"]) == (2, 2, 1)


def test_a_write_is_visible_when_the_feed_shows_it_decided(world: LoadWorld) -> None:
    world.blog.reads_until_shown = 3
    sender = a_sender(world)
    samples = fire_all(world, sender, "create_post", "create_comment")
    assert sender.probe.probes == len(world.blog.reads) >= 3
    assert all((one.visible_ms or 0) > (one.latency_ms or 0) > 0 for one in samples)


def test_a_write_deep_in_the_feed_is_found_page_wise(world: LoadWorld) -> None:
    blog = world.blog
    for number in range(350):
        blog.add_post(f"post {number}")
    oldest = blog.posts[0]
    oldest["comments"].append({"id": "found", "from": 0})
    watcher = a_probe(world, *(post["id"] for post in blog.posts))
    lost, found = (
        Sample("x", "before", "create_comment", 0.0, 0.0, id=name, post_id=oldest["id"])
        for name in ("lost", "found")
    )

    async def look() -> None:
        watcher.track_write(lost)
        watcher.track_write(found)
        await wait_until(lambda: watcher.pending == 1)
        watcher.stop()

    world.run(look())
    assert found.visible_ms is not None
    assert lost.visible_ms is None
    assert max(blog.reads) == 100, "the largest page the services give"


def test_comments_go_to_posts_that_a_reader_has_seen(world: LoadWorld) -> None:
    watcher = a_probe(world, "s1", "s2", reader_delay_s=2.0)
    page = json.dumps([{"id": f"{number:03d}", "comments": []} for number in range(30)]).encode()
    assert [watcher.pick_post(rank) for rank in range(3)] == ["s1", "s2", "s1"]
    now_s = world.loop.time()
    watcher.observe(page, now_s, now_s)
    assert watcher.pick_post(0) == "s1", "shown, but not for long enough"
    world.run(asyncio.sleep(2.0))
    assert {watcher.pick_post(rank) for rank in range(10)} == {f"{n:03d}" for n in range(20, 30)}


def test_a_failed_write_says_whether_it_surely_did_not_happen(world: LoadWorld) -> None:
    world.blog.posts.clear()
    (sample,) = fire_all(world, a_sender(world), "create_comment")
    assert (sample.status, sample.error, sample.definite) == (404, "http_404", True)


def test_an_answer_with_a_pending_comment_is_not_decided(world: LoadWorld, tmp_path: Path) -> None:
    plan = a_plan(tmp_path, a_variant(), settle_s=0)
    run_plan(world, plan)
    assert all(one.decided for one in samples_of(plan, "x"))
    world.blog.posts[0]["comments"].append({"id": "000002", "content": "", "from": 10_000})
    run_plan(world, plan)
    assert not any(one.decided for one in samples_of(plan, "x"))


def test_a_run_writes_its_samples_progress_and_summary(world: LoadWorld, tmp_path: Path) -> None:
    plan = a_plan(tmp_path, mix={"read_feed": 6, "create_post": 1, "create_comment": 3})
    summary = run_plan(world, plan)

    samples = read_samples(plan.samples)
    by_variant = [
        [(s.endpoint, s.token[3:]) for s in samples_of(plan, v.name)] for v in plan.variants
    ]
    assert by_variant[0] == by_variant[1] != [], "both get the same schedule"
    assert all(sample.ok for sample in samples)
    tokens = [sample.token for sample in samples if sample.token]
    stored = json.dumps(world.blog.posts)
    assert len(set(tokens)) == len(tokens)
    assert [stored.count(token) for token in tokens] == [1] * len(tokens)
    assert json.loads(plan.summary.read_text()) == summary
    assert summary["sent"] == len(samples)
    assert 0 <= summary["machine_share"] <= 1
    assert summary["unsettled"] == {"sync-chain": 0, "async-bus": 0}
    assert sum(summary["probes"].values()) > 0
    last = json.loads(plan.progress.read_text().splitlines()[-1])
    assert sum(variant["ok"] for variant in last["variants"].values()) == len(samples)
    figures = phase_figures(samples, {"before": 2})["before"]["endpoints"]
    assert figures["create_comment"]["never_visible"] == 0


async def test_a_terminated_program_keeps_what_it_has(tmp_path: Path) -> None:
    silent = SilentPeer()
    async with run_peer(silent) as origin:
        variant = a_variant(url=f"http://{origin.host}:{origin.port}")
        phases = [{"name": "before", "seconds": 600}]
        plan = a_plan(tmp_path, variant, phases=phases, timeout_s=600)
        (tmp_path / "plan.json").write_text(plan.model_dump_json())
        generator = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "lab.load.generator", str(tmp_path / "plan.json")
        )
        try:
            await wait_until(lambda: silent.opened > 0)
            generator.send_signal(signal.SIGTERM)
            status = await asyncio.wait_for(generator.wait(), PATIENCE_S)
        finally:
            if generator.returncode is None:
                generator.kill()
                await generator.wait()

    assert status == 0
    assert json.loads(plan.summary.read_text())["interrupted"] is True
    sent = [one for one in read_samples(plan.samples) if not one.dropped]
    assert {one.error for one in sent} == {"interrupted"}


async def test_a_loop_that_did_not_run_is_noted() -> None:
    loop = asyncio.get_running_loop()
    started_at_s = perf_counter()
    heartbeat = Heartbeat(loop, started_at_s)
    await asyncio.sleep(0.02)
    from_s = perf_counter() - started_at_s
    time.sleep(0.05)  # noqa: ASYNC251 - nothing else can run meanwhile
    until_s = perf_counter() - started_at_s
    await asyncio.sleep(0.02)
    heartbeat.stop()
    assert any(begin_s <= from_s and until_s <= end_s for begin_s, end_s in heartbeat.stalls)
    assert all(later[0] >= one[1] for one, later in pairwise(heartbeat.stalls))
