"""Stale reads: feeds that lack a write acknowledged before they were requested."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from lab.load.anomalies import MARGIN, StaleReads
from lab.load.metrics import endpoint_figures
from lab.load.samples import Sample, read_samples
from lab.results.paths import lookup
from lab.results.result import EndpointResult, PhaseResult, RunResult, VariantResult
from tests.load.test_generator import run_plan
from tests.support.load_blog import LoadWorld, a_plan, a_variant

PAGE_SIZE, TIMEOUT_S = 20, 2.0


def a_write(name: str, post_id: str = "") -> Sample:
    endpoint = "create_comment" if post_id else "create_post"
    return Sample("v", "during", endpoint, 1.0, 0.0, ok=True, id=name, post_id=post_id)


def a_feed(entries: Mapping[str, Sequence[str]], status: str = "approved") -> bytes:
    feed = [
        {"id": post, "comments": [{"id": one, "post_id": post, "status": status} for one in of]}
        for post, of in entries.items()
    ]
    return json.dumps(feed).encode()


def reads_after(*writes: Sample, at_s: float = 1.0) -> StaleReads:
    reads = StaleReads(PAGE_SIZE, TIMEOUT_S)
    for one in writes:
        reads.record_acknowledged(one, at_s)
    return reads


def is_stale(
    reads: StaleReads, body: bytes, sent_at_s: float = 2.0, depth: int = 1, degraded: bool = False
) -> bool:
    return reads.is_stale(body, sent_at_s, lambda post_id: depth, degraded)


POST, COMMENT = a_write("p2"), a_write("c1", "p1")


@pytest.mark.parametrize(
    ("body", "sent_at_s", "stale"),
    [
        (a_feed({"p1": ["c1"]}), 2.0, True),
        (a_feed({"p2": [], "p1": []}), 2.0, True),
        (a_feed({"p2": [], "p1": ["c1"]}), 2.0, False),
        (a_feed({"p2": [], "p1": ["c1"]}, "pending"), 2.0, False),  # shown, though not decided
        (a_feed({"p2": []}), 2.0, False),  # the page does not reach back to the commented post
        (a_feed({}), 1.0, False),  # requested before the 201
        (a_feed({"p22": [], "p1": ["c1"]}), 2.0, True),  # an id that only begins alike
    ],
)
def test_a_feed_is_stale_when_it_lacks_an_acknowledged_write(
    body: bytes, sent_at_s: float, stale: bool
) -> None:
    assert is_stale(reads_after(POST, COMMENT), body, sent_at_s) is stale


def test_an_answer_is_judged_by_what_it_holds_itself() -> None:
    reads = reads_after(POST)
    assert not is_stale(reads, a_feed({"p2": []}), 1.5), "though no other answer has shown it yet"
    reads.record_shown({"p2"}, 3.0)
    assert is_stale(reads, a_feed({}), 2.0), "requested before the other answer came"
    assert not is_stale(reads, a_feed({}), 3.5), "that is a write that vanished"
    assert is_stale(reads_after(POST), a_feed({}), 900.0), "whatever was never shown"


def test_a_degraded_answer_lacks_posts_and_no_comments() -> None:
    reads = reads_after(COMMENT)
    assert is_stale(reads, a_feed({"p1": []}))
    assert not is_stale(reads, a_feed({"p1": []}), degraded=True)
    assert is_stale(reads_after(POST), a_feed({"p1": []}), degraded=True)


@pytest.mark.parametrize(
    ("depth", "stale"),
    [(1, True), (PAGE_SIZE - MARGIN, True), (PAGE_SIZE - MARGIN + 1, False), (PAGE_SIZE, False)],
)
def test_only_posts_well_inside_the_page_are_missed(depth: int, stale: bool) -> None:
    assert is_stale(reads_after(POST), a_feed({}), depth=depth) is stale


@pytest.mark.parametrize("depth", [1, PAGE_SIZE - MARGIN + 1, PAGE_SIZE, PAGE_SIZE + 5])
def test_a_comment_is_missed_wherever_its_post_is_shown(depth: int) -> None:
    assert is_stale(reads_after(COMMENT), a_feed({"p1": []}), depth=depth)
    assert not is_stale(reads_after(COMMENT), a_feed({"p2": []}), depth=depth)


def test_writes_to_posts_far_behind_the_page_are_forgotten() -> None:
    reads = reads_after(POST)
    assert not is_stale(reads, a_feed({}), depth=10 * PAGE_SIZE)
    assert not is_stale(reads, a_feed({}), depth=1)


def test_a_chain_that_answers_at_once_is_never_stale(world: LoadWorld, tmp_path: Path) -> None:
    mix = {"read_feed": 6, "create_post": 1, "create_comment": 3}
    feeds = {}
    for late in (0, 3):
        world.blog.reads_until_shown = late
        folder = tmp_path / str(late)
        folder.mkdir()
        plan = a_plan(folder, a_variant(), mix=mix, rate=500.0)
        run_plan(world, plan)
        feeds[late] = [one for one in read_samples(plan.samples) if one.endpoint == "read_feed"]
    assert len(feeds[0]) > 100
    assert not any(one.stale for one in feeds[0])
    assert any(one.stale for one in feeds[3])


def test_the_share_of_stale_feeds_is_a_figure() -> None:
    feeds = [
        Sample("v", "during", "read_feed", 1.0, 0.0, 1.0, ok=True, stale=stale)
        for stale in (False, False, True, True)
    ]
    told = EndpointResult.model_validate(endpoint_figures(feeds))
    phases = {"during": PhaseResult(seconds=4, endpoints={"read_feed": told})}
    variant = VariantResult(name="v", arrangement="async-bus", phases=phases)
    result = RunResult(scenario="s", seed=7, started="now", variants=[variant])
    assert lookup("v.during.read_feed.stale", result) == 0.5
