"""No acknowledged write is lost or duplicated, and all settles, in any order of kills.

Short storms run every day, long ones with `make soak`; `make bench` prints the figures. On a busy
machine a short storm may outlast its load; all assertions hold even then.
"""

from pathlib import Path

import pytest

from tests.blog.conftest import BlogWith
from tests.support.nats_lab import needs_nats
from tests.support.patience import patience  # noqa: F401 (a fixture)
from tests.support.storm import StormPlan, run_storm

SHORT = StormPlan(rate=60, rounds=1, every_s=0.4)
FEW_KILLS, MANY_KILLS = 8, 60
STORMS, KILLS_OF_EACH, WRITES_OF_EACH = 10, 100, 20_000  # 1,000 kills over 200,000 writes
FEW_UNKNOWN = 3  # posts, of the 60 written per second
TOO_MUCH_AT_ONCE = 400  # of the longest comments: more than the bus accepts in one request

engines = pytest.mark.parametrize("engine", ["log", pytest.param("nats", marks=needs_nats)])


@pytest.mark.parametrize(
    ("arrangement", "options"),
    [
        ("async-bus", {}),
        ("sync-chain", {}),
        pytest.param("async-bus", {"bus": "nats"}, marks=[needs_nats, pytest.mark.slow]),
    ],
)
async def test_a_storm_of_kills_loses_nothing_acknowledged(
    tmp_path: Path, arrangement: str, options: dict[str, str]
) -> None:
    aftermath = await run_storm(SHORT, tmp_path, arrangement, **options)
    assert aftermath.violations() == {}
    assert len(aftermath.kills) >= FEW_KILLS
    assert aftermath.data.acknowledged > 0


def test_all_that_is_written_while_the_bus_is_down_arrives(blog_with: BlogWith) -> None:
    longest = "\x01" * 2_000  # 12,000 bytes as JSON
    numbers = [f"{number:04d}" for number in range(TOO_MUCH_AT_ONCE)]
    with blog_with("async-bus") as blog:
        post = blog.write_post()
        with blog.broken("down", "event-bus"):
            for number in numbers:
                blog.write_comment(post["id"], f"{number}{longest}"[:2_000])
            assert blog.state("comments")["untold"] == TOO_MUCH_AT_ONCE
        blog.settle()
        entry = blog.feed_entry(post["id"]) or {}
        assert [comment["content"][:4] for comment in entry["comments"]] == numbers
        assert {comment["status"] for comment in entry["comments"]} == {"approved"}


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(STORMS))
@engines
async def test_a_long_storm_of_kills_loses_nothing_acknowledged(
    tmp_path: Path, engine: str, seed: int
) -> None:
    storm = StormPlan(rounds=13, every_s=2.4, suspended=0.3, seed=seed)
    aftermath = await run_storm(storm, tmp_path, bus=engine)
    assert aftermath.violations() == {}
    assert aftermath.kills_under_load >= KILLS_OF_EACH
    assert aftermath.data.acknowledged >= WRITES_OF_EACH


@pytest.mark.soak
@pytest.mark.parametrize("outage_s", [10, 180])
@engines
async def test_a_long_outage_and_a_storm_after_it_lose_nothing(
    tmp_path: Path, engine: str, outage_s: float
) -> None:
    storm = StormPlan(rate=120, calm_s=18, outage_s=outage_s, drain_s=60, rounds=7)
    aftermath = await run_storm(storm, tmp_path, bus=engine)
    assert aftermath.violations() == {}
    assert aftermath.kills_under_load >= MANY_KILLS
    # A post that readers knew and `comments` did not, when the bus was killed, gets no comments.
    refused = [one for one in aftermath.samples if one.phase == "outage" and not one.ok]
    assert {one.error for one in refused} <= {"http_404"}
    assert len({one.post_id for one in refused}) <= FEW_UNKNOWN
