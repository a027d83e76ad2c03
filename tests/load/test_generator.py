"""The load against a small blog: what it sends, what it makes of the answers, what it can see."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from lab.load.client import Client
from lab.load.generator import run
from lab.load.metrics import endpoint_figures, phase_figures
from lab.load.pacer import Arrival, Timeline
from lab.load.plan import Origin, Phase, Plan, Variant
from lab.load.samples import Sample, read_samples
from lab.load.sender import Sender
from lab.load.watcher import Watcher
from tests.support.load_blog import PATIENCE_S, Blog, a_client, until


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with a_client() as client:
        yield client


def a_plan(folder: Path, url: str, **changed: Any) -> Plan:
    services = ("posts", "comments", "query")
    return Plan.model_validate(
        {
            **{"seed": 7, "rate": 200.0, "mix": {"read_feed": 6}, "timeout_s": PATIENCE_S},
            "phases": [{"name": "before", "seconds": 0.3}],
            "variants": [
                {"name": name, "urls": dict.fromkeys(services, url), "seed_posts": ["000001"]}
                for name in ("sync-chain", "async-bus")
            ],
            **{name: folder / name for name in ("samples", "progress", "summary")},
            **changed,
        }
    )


def a_sender(client: Client, url: str, started_at_s: float, **changed: Any) -> Sender:
    services = ("posts", "comments", "query")
    urls = dict.fromkeys(services, url)
    variant = Variant.model_validate({"name": "x", "urls": urls, "seed_posts": ["000001"]})
    feed = variant.origin("query")
    watcher = Watcher(client.loop, client, feed, variant.seed_posts, started_at_s, reader_delay_s=0)
    settings: dict[str, Any] = {"timeout_s": PATIENCE_S, "max_in_flight": 10, **changed}
    timeline = Timeline([Phase(name="before", seconds=60)])
    return Sender(0, variant, client, watcher, timeline, started_at_s, **settings)


async def run_plan(plan: Plan) -> dict[str, Any]:
    with plan.progress.open("a") as progress:
        return await run(plan, progress, asyncio.Event())


async def test_a_freeze_is_felt_by_everybody_who_came_meanwhile(tmp_path: Path) -> None:
    blog = Blog()
    async with blog.serving() as url:
        plan = a_plan(tmp_path, url)
        blog.thawed.clear()
        running = asyncio.create_task(run_plan(plan))
        await until(lambda: blog.frozen > 0)
        frozen_at_s = perf_counter()
        await until(lambda: blog.frozen >= 40)
        frozen_ms = (perf_counter() - frozen_at_s) * 1000
        blog.thawed.set()
        summary = await running

    figures = endpoint_figures(read_samples(plan.samples))
    # A closed loop would have sent one request to each variant, and waited.
    assert figures["ok"] == figures["sent"] == summary["sent"] > 40
    assert figures["latency_ms"]["max"] is not None
    assert figures["latency_ms"]["max"] >= frozen_ms


async def test_latency_counts_from_the_intended_moment(client: Client) -> None:
    async with Blog().serving() as url:
        sender = a_sender(client, url, started_at_s=perf_counter() - 5)
        sender.fire(0, Arrival(0.0, "read_feed", 0), 0.0)
        await until(lambda: sender.counts.ok == 1)

    (sample,) = sender.samples
    assert sample.latency_ms is not None
    assert sample.latency_ms > sample.lag_ms > 5000
    assert endpoint_figures(sender.samples)["late"] == 1, "it left five seconds late"


async def test_a_send_over_the_limit_is_dropped_and_counted(client: Client) -> None:
    blog = Blog()
    blog.thawed.clear()
    async with blog.serving() as url:
        sender = a_sender(client, url, perf_counter(), max_in_flight=2)
        for number in range(3):
            sender.fire(number, Arrival(0.0, "read_feed", 0), 0.0)
        blog.thawed.set()
        await until(lambda: sender.counts.ok == 2)

    figures = endpoint_figures(sender.samples)
    assert (figures["sent"], figures["ok"], figures["dropped"]) == (2, 2, 1)


async def test_a_write_is_visible_when_the_feed_shows_it_decided(client: Client) -> None:
    blog = Blog()
    blog.add_post("the seed")
    blog.looks_until_seen = 3
    async with blog.serving() as url:
        sender = a_sender(client, url, perf_counter())
        for number, action in enumerate(("create_post", "create_comment")):
            sender.fire(number, Arrival(0.0, action, 0), 0.0)
        await until(lambda: sender.counts.ok == 2 and sender.watcher.pending == 0)

    assert sender.watcher.probes == len(blog.looks) >= 3
    for sample in sender.samples:
        assert sample.latency_ms is not None
        assert sample.visible_ms is not None
        assert sample.visible_ms > sample.latency_ms


async def test_a_write_far_down_the_feed_is_found_page_by_page(client: Client) -> None:
    blog = Blog()
    oldest = blog.add_post("oldest")["id"]
    for number in range(350):
        blog.add_post(f"post {number}")
    async with blog.serving() as url:
        feed = Origin.of(url)
        watcher = Watcher(client.loop, client, feed, [p["id"] for p in blog.posts], perf_counter())
        lost = Sample("x", "before", "create_comment", 0.0, 0.0, id="lost", post_id=oldest)
        blog.posts[0]["comments"].append({"id": "found", "from": 0})
        found = Sample("x", "before", "create_comment", 0.0, 0.0, id="found", post_id=oldest)
        watcher.acknowledged(lost)
        watcher.acknowledged(found)
        await until(lambda: watcher.pending == 1)
        watcher.stop()

    assert found.visible_ms is not None
    assert lost.visible_ms is None
    assert max(blog.looks) == 100, "the largest page the services give"


async def test_comments_go_to_posts_that_a_reader_has_seen(client: Client) -> None:
    feed = Origin("127.0.0.1", 1)
    watcher = Watcher(client.loop, client, feed, ["s1", "s2"], 0.0, reader_delay_s=2.0)
    page = [{"id": f"{number:03d}", "comments": []} for number in range(30)]
    assert [watcher.target(rank) for rank in range(3)] == ["s1", "s2", "s1"]

    watcher.glance(json.dumps(page).encode(), perf_counter(), perf_counter())
    assert watcher.target(0) == "s1", "shown, but not for long enough"

    older = Watcher(client.loop, client, feed, ["s1"], 0.0, reader_delay_s=2.0)
    long_ago_s = perf_counter() - 2.0
    older.glance(json.dumps(page).encode(), long_ago_s, long_ago_s)
    assert {older.target(rank) for rank in range(10)} == {f"{n:03d}" for n in range(20, 30)}


async def test_a_failed_write_says_whether_it_surely_did_not_happen(client: Client) -> None:
    async with Blog().serving() as url:
        sender = a_sender(client, url, perf_counter())
        sender.fire(0, Arrival(0.0, "create_comment", 0), 0.0)
        await until(lambda: sender.counts.failed == 1)

    (sample,) = sender.samples
    assert (sample.status, sample.error, sample.definite) == (404, "http_404", True)


async def test_a_run_writes_its_samples_progress_and_summary(tmp_path: Path) -> None:
    blog = Blog()
    blog.add_post("the seed")
    async with blog.serving() as url:
        mix = {"read_feed": 6, "create_post": 1, "create_comment": 3}
        plan = a_plan(tmp_path, url, mix=mix, reader_delay_s=0)
        summary = await run_plan(plan)

    samples = read_samples(plan.samples)
    by_variant = [
        [(s.endpoint, s.token[3:]) for s in samples if s.variant == v.name] for v in plan.variants
    ]
    assert by_variant[0] == by_variant[1] != [], "both get the same schedule"
    assert all(sample.ok for sample in samples)
    tokens = [sample.token for sample in samples if sample.token]
    stored = json.dumps(blog.posts)
    assert len(set(tokens)) == len(tokens)
    assert [stored.count(token) for token in tokens] == [1] * len(tokens)
    assert json.loads(plan.summary.read_text()) == summary
    assert summary["sent"] == len(samples)
    assert 0 < summary["machine_share"] <= 1
    assert summary["unsettled"] == {"sync-chain": 0, "async-bus": 0}
    assert sum(summary["probes"].values()) > 0
    last = json.loads(plan.progress.read_text().splitlines()[-1])
    assert sum(variant["ok"] for variant in last["variants"].values()) == len(samples)
    figures = phase_figures(samples, {"before": 0.3})["before"]["endpoints"]
    assert figures["create_comment"]["never_visible"] == 0


async def test_a_terminated_run_keeps_what_it_has(tmp_path: Path) -> None:
    blog = Blog()
    blog.thawed.clear()
    async with blog.serving() as url:
        plan = a_plan(tmp_path, url, phases=[{"name": "before", "seconds": 600}])
        (tmp_path / "plan.json").write_text(plan.model_dump_json())
        generator = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "lab.load.generator", str(tmp_path / "plan.json")
        )
        try:
            await until(lambda: blog.frozen > 0)
            generator.send_signal(signal.SIGTERM)
            status = await asyncio.wait_for(generator.wait(), PATIENCE_S)
        finally:
            if generator.returncode is None:
                generator.kill()
                await generator.wait()

    assert status == 0
    assert json.loads(plan.summary.read_text())["interrupted"] is True
    sent = [sample for sample in read_samples(plan.samples) if not sample.dropped]
    assert {sample.error for sample in sent} == {"interrupted"}
