"""The loop that waits for answers: what it sends, what it leaves out, and what answers say."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import perf_counter

import pytest

from lab.load.metrics import endpoint_figures
from lab.load.pacer import schedule
from lab.load.samples import Sample, read_samples, text_of, token
from lab.scenarios.spec import VariantSpec
from tests.load.test_generator import a_plan, run_plan
from tests.load.test_metrics import A_SAMPLE, PHASES
from tests.support.load_blog import Blog, until

SERVICES = ("posts", "comments", "query")
FREEZE_S = 1.0


def variants(url: str, users: int) -> list[dict[str, object]]:
    both = {"urls": dict.fromkeys(SERVICES, url), "seed_posts": ["000001"]}
    return [{"name": "open", **both}, {"name": "closed", **both, "users": users}]


def of(samples: list[Sample], variant: str) -> list[Sample]:
    return [sample for sample in samples if sample.variant == variant]


@pytest.mark.parametrize("users", [1, 3])
async def test_a_freeze_costs_each_user_of_a_closed_loop_one_sample(
    tmp_path: Path, users: int
) -> None:
    blog = Blog()
    async with blog.serving() as url:
        phases = [{"name": "before", "seconds": 1.5 * FREEZE_S}]
        plan = a_plan(tmp_path, url, phases=phases, variants=variants(url, users))
        blog.thawed.clear()
        running = asyncio.create_task(run_plan(plan))
        await until(lambda: blog.frozen > 0)
        frozen_at_s = perf_counter()
        # Long beside what a busy machine may hold up anybody.
        await until(lambda: blog.frozen >= 40 + users and perf_counter() > frozen_at_s + FREEZE_S)
        blog.thawed.set()
        await running

    samples = read_samples(plan.samples)
    longest_ms = max(one.latency_ms or 0 for one in samples)
    waited = {
        name: sum((one.latency_ms or 0) >= longest_ms / 2 for one in of(samples, name))
        for name in ("open", "closed")
    }
    assert waited["closed"] <= users < waited["open"]
    assert len(of(samples, "closed")) < len(of(samples, "open"))


async def test_a_closed_loop_never_has_more_under_way_than_it_has_users(tmp_path: Path) -> None:
    blog = Blog()
    async with blog.serving() as url:
        phases = [{"name": "before", "seconds": FREEZE_S}]
        plan = a_plan(tmp_path, url, rate=500, phases=phases, variants=variants(url, 2)[1:])
        blog.thawed.clear()
        running = asyncio.create_task(run_plan(plan))
        await until(lambda: blog.frozen == 2)
        blog.thawed.set()
        await running

    samples = sorted(read_samples(plan.samples), key=lambda one: one.intended_s)
    for number, sample in enumerate(samples):
        under_way = [
            one
            for one in samples[:number]
            if one.intended_s + (one.latency_ms or 0) / 1_000 > sample.intended_s
        ]
        assert len(under_way) < 2
    assert len(samples) > 2
    assert all(one.ok for one in samples)


async def test_a_closed_loop_never_sends_more_than_an_open_one(
    tmp_path: Path,
) -> None:
    blog = Blog()
    async with blog.serving() as url:
        plan = a_plan(tmp_path, url, rate=50, variants=variants(url, 1))
        await run_plan(plan)

    samples = read_samples(plan.samples)
    assert 0 < len(of(samples, "closed")) <= len(of(samples, "open"))


def test_users_are_only_counted_in_a_closed_loop() -> None:
    assert VariantSpec().in_the_loop is None
    assert VariantSpec(loop="closed").in_the_loop == 1
    assert VariantSpec(loop="closed", users=4).in_the_loop == 4
    with pytest.raises(ValueError, match='Add loop = "closed"'):
        VariantSpec(users=4)


# ── What the load asks to be rejected, and what answers say of it ─────────────────────────────


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 1.0])
def test_the_share_of_comments_with_the_forbidden_word_is_kept(share: float) -> None:
    arrivals = schedule(7, 2_000, PHASES, {"create_comment": 1})
    oranges = sum("orange" in text_of(one, token(0, 1), share) for one in arrivals)
    assert oranges / len(arrivals) == pytest.approx(share, abs=0.02)


def test_who_carries_the_word_at_a_small_share_also_carries_it_at_a_larger_one() -> None:
    arrivals = schedule(7, 500, PHASES, {"create_comment": 1})
    assert all(one.is_among(0.4) for one in arrivals if one.is_among(0.1))


async def test_an_answer_with_a_pending_comment_is_not_decided(tmp_path: Path) -> None:
    blog = Blog(looks_until_seen=10_000)
    post = blog.add_post("the first")
    post["from"] = 0
    async with blog.serving() as url:
        plan = a_plan(tmp_path, url, variants=variants(url, 1)[:1], settle_s=0)
        await run_plan(plan)
        assert all(one.decided for one in read_samples(plan.samples))

        post["comments"].append({"id": "000002", "content": "not judged", "from": 10_000})
        await run_plan(plan)
    assert not any(one.decided for one in read_samples(plan.samples))


def test_of_the_good_answers_the_decided_ones_are_counted() -> None:
    decided = Sample("x", "before", "read_feed", 1.0, 0.0, 5.0, 200, ok=True, decided=True)
    assert endpoint_figures([decided, decided, A_SAMPLE])["decided"] == 2
