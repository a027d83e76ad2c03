"""The search finds the smallest outage of each switch that is off, and none with all of them on."""

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from typer.testing import CliRunner

from lab.bus.log.server import LogServer
from lab.commands.app import app
from lab.simulation.histories.disk import Disk
from lab.simulation.histories.history import WRITES, Deed, History
from lab.simulation.histories.judge import Goal, judge
from lab.simulation.histories.loop import VirtualLoop
from lab.simulation.histories.search import (
    Generator,
    Outcome,
    laboratory,
    parse_seed,
    search,
    shrink,
    size_of,
)
from lab.simulation.histories.variant import Variant, parse_variant
from lab.simulation.histories.world import World

SHIPPED = "idempotency=on"
CHAIN = (
    "lost + missing + duplicated + refused_kept + refused_judged + misjudged + stuck > 0 "
    "or undecided > 0"
)
"""What never happens in the chain. A crash may leave a verdict without its comment there."""


def sized(history: History | None) -> tuple[int, int]:
    """How many deeds, and how many writes."""
    assert history is not None
    deeds, writes, *_ = size_of(history.deeds)
    return deeds, writes


# ── What is found


@pytest.mark.parametrize(
    ("goal", "variant"),
    [
        ("lost", "outbox=off"),
        ("doubled", "dedupe=off"),
        ("lost", "bus=course"),
        ("missing > 1", "outbox=off"),
        ("orphaned > 0", "sync-chain"),
        ("stale:5s", "async-bus"),
    ],
)
def test_each_broken_promise_has_a_small_history(goal: str, variant: str) -> None:
    outcome = search(Goal(goal), parse_variant([variant]), histories=3_000)
    deeds, writes = sized(outcome.history)
    assert deeds <= 3
    assert writes <= 2
    assert outcome.history is not None
    assert outcome.history.verdict.reached


def test_a_log_that_acknowledges_before_it_commits_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def commit(server: LogServer, envelopes: list[Any]) -> list[int]:
        server._waiting.append((envelopes, _nobody_waits()))
        server._work_available.set()
        return list(range(server._head + 1, server._head + 1 + len(envelopes)))

    monkeypatch.setattr(LogServer, "commit", commit)
    outcome = search(Goal("lost"), Variant(), histories=3_000)
    assert sized(outcome.history)[0] <= 3


def _nobody_waits() -> Any:
    import asyncio

    return asyncio.get_running_loop().create_future()


@pytest.mark.parametrize(("goal", "variant"), [("any", SHIPPED), (CHAIN, f"sync-chain {SHIPPED}")])
@pytest.mark.parametrize(
    "histories",
    [
        60,
        pytest.param(3_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
        pytest.param(500_000, marks=[pytest.mark.soak, pytest.mark.timeout(0)]),
    ],
)
def test_with_everything_on_none_is_found(goal: str, variant: str, histories: int) -> None:
    """In `make soak`, a million histories: half of them of each twin."""
    outcome = search(Goal(goal), parse_variant([variant]), histories=histories)
    assert outcome.history is None, outcome.history and outcome.history.verdict.sentence
    assert outcome.tried == histories


# ── The same seed


def a_find(seed: int = 1) -> Outcome:
    return search(Goal("lost"), parse_variant(["outbox=off"]), seed=seed, histories=3_000)


def test_a_seed_gives_the_same_history_in_every_process() -> None:
    here = a_find().history
    assert here is not None
    there = subprocess.run(
        [sys.executable, "-m", "lab", "search", "lost", "--variant", "outbox=off", "--json"],
        env={**os.environ, "PYTHONHASHSEED": "4711"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert there.returncode == 1, there.stderr
    assert there.stdout.rstrip("\n") == here.to_json()


def test_the_printed_seed_finds_the_history_at_once() -> None:
    first = a_find(seed=3)
    assert first.history is not None
    seed, number = parse_seed(first.history.seed)
    again = search(Goal("lost"), parse_variant(["outbox=off"]), seed=seed, first=number)
    assert again.tried == 1
    assert again.history == first.history


def test_a_history_survives_its_json() -> None:
    history = a_find().history
    assert history is not None
    assert History.from_json(history.to_json()) == history
    assert {moment.kind for moment in history.moments} >= {"commit", "crash", "acknowledged"}
    assert any(holding.lifeline == "comments" for holding in history.holdings)


# ── The world

CRASH_AFTER_COMMIT = Deed(0.0, "crash", "comments", point="after commit")
COMMENT = Deed(1.0, "comment", "comments", write=1)


def figures(deeds: Sequence[Deed], variant: str = "async-bus") -> dict[str, float]:
    """The figures of a history that are not 0; `asked` only if it is more than is usual."""
    with laboratory(parse_variant([variant])) as lab:
        seen = {name: value for name, value in lab.judge(deeds).figures.items() if value}
        usual = 1 if "retries" not in variant else 0
        return {name: value for name, value in seen.items() if name != "asked" or value > usual}


def test_a_crash_behind_the_commit_loses_no_event_with_an_outbox() -> None:
    seen = figures([CRASH_AFTER_COMMIT, COMMENT])
    assert seen == {"unknown": 1, "unknown_kept": 1}
    assert "diverged" in figures([CRASH_AFTER_COMMIT, COMMENT], "outbox=off")


def test_a_crash_before_the_commit_keeps_nothing() -> None:
    crash = Deed(0.0, "crash", "comments", point="before commit")
    assert figures([crash, COMMENT]) == {"unknown": 1}


def test_a_service_that_is_down_refuses() -> None:
    seen = figures([Deed(0.0, "crash", "comments", point="now"), COMMENT])
    assert seen == {}


def test_a_partition_of_six_seconds_lets_a_call_time_out() -> None:
    partition = Deed(0.0, "partition", "comments", peer="moderation")
    late_read = Deed(6_000.0, "read", "query")
    seen = figures([partition, COMMENT, late_read], "sync-chain")
    assert seen.get("unknown") == 1


def test_a_dropped_event_is_read_again() -> None:
    drop = Deed(0.0, "drop", "query", count=2)
    assert figures([drop, COMMENT]) == {"acknowledged": 1, "visible": 1}
    assert "missing" in figures([drop, COMMENT], "dedupe=off")


def test_a_power_cut_removes_what_was_not_synced(monkeypatch: pytest.MonkeyPatch) -> None:
    deeds = [COMMENT, Deed(4.0, "power cut", "comments")]
    assert figures(deeds) == {"acknowledged": 1, "visible": 1}
    monkeypatch.setattr(Disk, "loses_commits", True)
    assert "lost" in figures(deeds)


@pytest.mark.parametrize("target", ["comments", "moderation", "query", "event-bus"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_full_disk_loses_nothing(target: str, count: int) -> None:
    seen = figures([Deed(0.0, "full disk", target, count=count), COMMENT])
    assert seen in ({"acknowledged": 1, "visible": 1}, {"unknown": 1})


def test_a_write_that_is_sent_again_under_its_key_counts_once() -> None:
    deeds = [COMMENT, Deed(20.0, "repeat", "comments", write=1)]
    assert figures(deeds, "idempotency=on") == {"acknowledged": 1, "visible": 1}
    assert "duplicated" in figures(deeds)


def test_a_lost_answer_is_had_by_asking_again() -> None:
    deeds = [
        CRASH_AFTER_COMMIT,
        COMMENT,
        Deed(20.0, "restart", "comments"),
        Deed(40.0, "repeat", "comments", write=1),
    ]
    assert figures(deeds, "idempotency=on") == {"acknowledged": 1, "visible": 1}


@pytest.mark.parametrize("variant", ["async-bus", "sync-chain"])
def test_a_clock_that_goes_back_changes_no_order(variant: str) -> None:
    back = Deed(100.0, "clock", "posts", ms=1_000.0)
    posts = [Deed(0.0, "post", "posts", write=1), Deed(200.0, "post", "posts", write=2)]
    seen = figures([posts[0], back, posts[1]], variant)
    assert seen == {"acknowledged": 2, "visible": 2}


def test_a_comment_on_no_post_is_refused_and_not_judged() -> None:
    nowhere = Deed(0.0, "comment", "comments", write=1, post=-1)
    assert figures([nowhere]) == figures([nowhere], "sync-chain") == {}


def test_a_service_asks_once_more_for_each_retry() -> None:
    down = Deed(0.0, "crash", "moderation", point="now")
    for retries in (0, 1, 2):
        assert figures([down, COMMENT], f"sync-chain retries={retries}") == {"asked": retries + 1}


def test_time_that_is_skipped_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    crash = Deed(3_000.0, "crash", "moderation", point="now")
    later = Deed(9_000.0, "comment", "comments", write=2)
    deeds = [COMMENT, crash, Deed(3_100.0, "restart", "moderation"), later]
    with_skips = figures(deeds)
    monkeypatch.setattr("lab.simulation.histories.loop.VirtualLoop.skip", lambda *_: None)
    assert figures(deeds) == with_skips == {"acknowledged": 2, "visible": 2}


def test_a_history_leaves_nothing_for_the_next_one() -> None:
    with laboratory(Variant()) as lab:
        generator = Generator(Variant(), 1, Goal("any"))
        seen = [lab.judge(generator.draw(6, 4)).figures for _ in range(10)]
        alone = lab.judge([COMMENT]).figures
        assert len(seen) == 10
        world = World(lab.stage, [])
        world.close()
        lab.stage.restore()
        assert {name: n for name, n in alone.items() if n} == {"acknowledged": 1, "visible": 1}
        world = World(lab.stage, [])
        try:
            world.live()
            assert not any(judge(world).figures.values())
        finally:
            world.close()


def test_a_loop_without_an_end_is_left() -> None:
    loop = VirtualLoop(lambda state: None)  # type: ignore[abstract]

    def again() -> None:
        loop.call_soon(again)

    loop.call_soon(again)
    assert not loop.run(lambda: False)


# ── Shrinking


def test_shrinking_leaves_out_all_that_is_not_needed() -> None:
    generator = Generator(Variant(), 5, Goal("lost"))
    drawn = generator.draw(8, 4)
    deeds = [*drawn, Deed(drawn[-1].at_ms + 90, "crash", "query", point="now")]

    def has_a_crash_behind_a_write(some: Sequence[Deed]) -> bool:
        kinds = [deed.kind if deed.kind not in WRITES else "write" for deed in some]
        return "crash" in kinds and "write" in kinds[: kinds.index("crash")]

    smallest = shrink(deeds, has_a_crash_behind_a_write)
    assert [deed.kind in WRITES for deed in smallest] == [True, False]
    assert smallest[-1].at_ms == 0.0


# ── The command


def run(*words: str) -> Any:
    return CliRunner().invoke(app, ["search", *words])


def test_the_command_says_what_happened() -> None:
    found = run("lost", "--variant", "outbox=off")
    assert found.exit_code == 1
    assert "Comment 1 was acknowledged; `comments` has it" in " ".join(found.stdout.split())
    assert "lab search lost --variant outbox=off --seed 1:" in " ".join(found.stdout.split())
    none = run("lost", "--histories", "20")
    assert none.exit_code == 0
    assert "20 histories of async-bus were tried" in none.stdout


def test_a_history_is_written_to_a_file(tmp_path: Any) -> None:
    file = tmp_path / "lost.json"
    assert run("lost", "--variant", "outbox=off", "-o", str(file)).exit_code == 1
    assert History.from_json(file.read_text()).verdict.reached


def test_a_file_that_cannot_be_written_is_named_before_the_search(tmp_path: Any) -> None:
    for file in (tmp_path, tmp_path / "none" / "lost.svg"):
        outcome = run("lost", "--histories", "1", "--svg", str(file))
        assert (outcome.exit_code, "can't be written" in outcome.output) == (3, True)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["losst"], "'losst' is neither a goal nor a figure"),
        (["missing + 1"], "is no goal"),
        (["lost", "--variant", "outbox=of"], "outbox is on or off, not 'of'"),
        (["lost", "--variant", "monolith"], "no arrangement that can be searched"),
        (["lost", "--variant", "sync-chain outbox=off"], "sync-chain has no outbox"),
        (["lost", "--seed", "x"], "'x' is no seed"),
        (["stale:5"], "expected seconds, as in stale:5s"),
        (["lost", "--variant", "outbx=off"], "retries. Did you mean 'outbox'?"),
        (["lost", "--ladder"], "--ladder has its own goals"),
        (["lost", "--prove", "1", "--json"], "Leave out one of them"),
    ],
)
def test_a_wrong_word_is_named(words: list[str], sentence: str) -> None:
    outcome = run(*words)
    assert outcome.exit_code == 2
    assert sentence in outcome.output
