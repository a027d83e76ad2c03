"""The parts of the console that need no running stack: queues, tails, scripts, panes."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lab.cluster.arrangements import ARRANGEMENTS
from lab.live.broadcast import (
    MAX_PRESENTERS,
    MAX_QUEUED,
    MAX_SPECTATORS,
    ScreenSubscriber,
    ScreenSubscribers,
    parse_events,
)
from lab.live.panes import Pane, list_edges, make_panes
from lab.live.script import (
    build_steps,
    list_demonstrations,
    panes_of,
    situation_after,
    unsupported_parts,
)
from lab.live.snapshots import FileTail
from lab.scenarios.catalogue import builtin_scenarios, find

# ── Spectators


async def test_a_watcher_that_reads_loses_nothing() -> None:
    watcher = ScreenSubscriber(shared=False)
    for number in range(3 * MAX_QUEUED):
        watcher.enqueue("tick", b'{"t":%d}' % number)
        assert list(parse_events(await watcher.next_messages())) == [("tick", {"t": number})]
    watcher.enqueue("done", b"{}")
    watcher.end()
    assert list(parse_events(await watcher.next_messages())) == [("done", {})]
    assert await watcher.next_messages() == b""


def test_watchers_can_not_take_the_presenters_place() -> None:
    watchers = ScreenSubscribers()
    with ExitStack() as held:
        for _ in range(MAX_SPECTATORS):
            held.enter_context(watchers.subscribe(shared=True))
        assert watchers.is_full(shared=True)
        assert not watchers.is_full(shared=False)
    assert MAX_PRESENTERS > 1
    assert len(watchers) == 0


# ── Spans


@pytest.fixture
def spans(tmp_path: Path) -> Iterator[tuple[Path, FileTail]]:
    tail = FileTail(tmp_path / "spans")
    assert tail.read_new_lines() == ([], 0)
    yield tmp_path / "spans", tail
    tail.close()


def test_a_tail_reads_only_new_and_whole_lines(spans: tuple[Path, FileTail]) -> None:
    path, tail = spans
    path.write_bytes(b"1\n2\n3")
    assert tail.read_new_lines() == ([b"1", b"2"], 2)
    with path.open("ab") as file:
        file.write(b"3\n")
    assert tail.read_new_lines() == ([b"33"], 1)
    assert tail.read_new_lines() == ([], 0)


def test_a_tail_reads_the_newest_lines_and_counts_the_rest(spans: tuple[Path, FileTail]) -> None:
    path, tail = spans
    path.write_bytes(b"".join(b"%d\n" % number for number in range(1_000)))
    lines, count = tail.read_new_lines()
    assert count == 1_000
    assert lines[-1] == b"999"
    assert len(lines) < 100


def test_a_tail_does_not_read_what_lies_far_back(spans: tuple[Path, FileTail]) -> None:
    path, tail = spans
    path.write_bytes((b"x" * 999 + b"\n") * 5_000)
    lines, count = tail.read_new_lines()
    assert count < 1_000
    assert all(len(line) == 999 for line in lines)


def test_a_large_file_is_emptied_under_its_writer(
    spans: tuple[Path, FileTail], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.live.snapshots._TRUNCATE_ABOVE_BYTES", 10)
    path, tail = spans
    with path.open("a") as writer:
        writer.write("12345\n67890\n")
        writer.flush()
        assert tail.read_new_lines()[1] == 2
        assert tail.read_new_lines()[1] == 0
        assert path.stat().st_size == 0
        writer.write("more\n")
        writer.flush()
        assert tail.read_new_lines() == ([b"more"], 1)


# ── Panes


@pytest.mark.parametrize("name", ARRANGEMENTS)
def test_every_arrangement_can_be_drawn(name: str) -> None:
    half = make_panes([name, name], None)[1]
    assert half.name == f"{name}-2"
    pane_json = half.to_json()
    assert {end for edge in pane_json["edges"] for end in edge} <= set(pane_json["nodes"])
    assert all(node in pane_json["nodes"] for node in ("posts", "comments", "moderation", "query"))


def test_hops_are_drawn_between_query_and_comments() -> None:
    drawn = list_edges(Pane("x", "sync-chain", {"depth": 2}).resolved_arrangement)
    assert {("query", "hop-1"), ("hop-1", "hop-2"), ("hop-2", "comments")} <= set(drawn)
    assert ("query", "comments") not in drawn


# ── Scripts


@pytest.mark.parametrize("scenario", builtin_scenarios(), ids=lambda scenario: scenario.name)
def test_every_built_in_scenario_can_be_a_script(scenario: Any) -> None:
    steps = build_steps(scenario)
    chosen = panes_of(scenario)
    assert 1 <= len(chosen) <= 2
    assert steps[0].text
    done = [action for step in steps for action in step.actions]
    broken = [(action.fault, action.pane) for action in done if action.operation == "break"]
    mended = [(action.fault, action.pane) for action in done if action.operation == "mend"]
    assert sorted(map(str, broken)) == sorted(map(str, mended))
    assert all(action.pane in (None, *(half.name for half in chosen)) for action in done)
    assert isinstance(unsupported_parts(scenario), list)


def test_an_end_and_a_beginning_together_are_one_step() -> None:
    steps = build_steps(find("blast-radius"))
    words = [step.to_json() for step in steps]
    assert words[0]["does"] == ""
    assert all(step["says"] or step["does"] for step in words)


def test_a_step_back_leads_to_the_faults_and_the_load_of_the_steps_before() -> None:
    scenario = find("downed-service")
    steps = build_steps(scenario)
    breaks = next(i for i, step in enumerate(steps) if step.actions)
    assert situation_after(steps[:breaks], 20.0).faults == ()
    ((fault, pane),) = situation_after(steps[: breaks + 1], 20.0).faults
    assert (fault.kind, fault.target, pane) == ("down", "comments", None)
    assert situation_after(steps[: breaks + 2], 20.0).faults == ()
    assert situation_after(steps, 20.0).rate == 20.0


@pytest.mark.parametrize("scenario", builtin_scenarios(), ids=lambda scenario: scenario.name)
def test_at_its_end_a_script_leaves_nothing_broken(scenario: Any) -> None:
    situation = situation_after(build_steps(scenario), scenario.load.rate)
    assert situation.rate == scenario.load.rate
    assert not situation.faults


def test_each_demonstration_has_a_question_and_its_length() -> None:
    demonstrations = list_demonstrations()
    assert len(demonstrations) > 20
    for one in demonstrations:
        assert one["question"]
        assert one["steps"] >= 2
        assert one["seconds"] > 0
