"""Nothing acknowledged is ever lost, nothing is doubled, and all settles: whoever dies, whenever.

The short storms are for every day, the long ones for `make soak`. `make bench` prints the figures.
"""

from pathlib import Path

import pytest

from tests.support.laboratory import Laboratory
from tests.support.nats_lab import needs_nats
from tests.support.storm import Weather, go_through

SHORT = Weather(rate=80, rounds=1, every_s=0.5)
LONG = Weather(rounds=7)
FEW_KILLS, MANY_KILLS = 8, 60
MANY_WRITES = 10_000
FEW_UNHEARD = 3  # posts, of the 60 a second

engines = pytest.mark.parametrize("engine", ["log", pytest.param("nats", marks=needs_nats)])


@engines
async def test_the_bus_side_loses_nothing_whoever_is_killed_whenever(
    tmp_path: Path, engine: str
) -> None:
    came_of_it = await go_through(SHORT, tmp_path, bus=engine)
    assert came_of_it.wrong() == {}
    assert len(came_of_it.kills) >= FEW_KILLS
    assert came_of_it.data.acknowledged > 0


async def test_the_chain_loses_nothing_acknowledged_and_keeps_nothing_refused(
    tmp_path: Path,
) -> None:
    came_of_it = await go_through(SHORT, tmp_path, "sync-chain")
    assert came_of_it.wrong() == {}
    assert len(came_of_it.kills) >= FEW_KILLS
    assert came_of_it.data.acknowledged > 0
    # Posts answers alone; comments can't while somebody it asks is gone.
    assert any(one.definite for one in came_of_it.samples)


def test_what_is_written_while_the_bus_is_down_arrives_however_much_it_is(
    laboratory: Laboratory,
) -> None:
    longest = "\x01" * 2_000  # 12,000 bytes as JSON
    with laboratory.blog("async-bus", "much-is-written") as blog:
        post = blog.write_post()
        with blog.broken("down", "event-bus"):
            for number in range(600):
                blog.write_comment(post["id"], f"{number:04d}{longest}"[:2_000])
            assert blog.state("comments")["untold"] == 600
        blog.settle()
        entry = blog.feed_entry(post["id"])
        assert entry is not None
        assert [comment["content"][:4] for comment in entry["comments"]] == [
            f"{number:04d}" for number in range(600)
        ]
        assert {comment["status"] for comment in entry["comments"]} == {"approved"}


@pytest.mark.soak
@engines
async def test_a_long_storm_loses_nothing_either(tmp_path: Path, engine: str) -> None:
    came_of_it = await go_through(LONG, tmp_path, bus=engine)
    assert came_of_it.wrong() == {}
    assert came_of_it.kills_under_load >= MANY_KILLS
    assert came_of_it.data.acknowledged >= MANY_WRITES


@pytest.mark.soak
@pytest.mark.parametrize("outage_s", [10, 180])
@engines
async def test_a_long_outage_of_the_bus_stops_no_writer_and_a_storm_after_it_loses_nothing(
    tmp_path: Path, engine: str, outage_s: float
) -> None:
    weather = Weather(rate=120, calm_s=18, outage_s=outage_s, drain_s=60, rounds=7)
    came_of_it = await go_through(weather, tmp_path, bus=engine)
    assert came_of_it.wrong() == {}
    assert came_of_it.kills_under_load >= MANY_KILLS
    # A post that readers had heard of and comments not yet, when the bus died, gets no comments.
    refused = [one for one in came_of_it.samples if one.phase == "outage" and not one.ok]
    assert {one.error for one in refused} <= {"http_404"}
    assert len({one.post_id for one in refused}) <= FEW_UNHEARD
