"""The parts of the console that need no running stack: queues, tails, rules, scripts, halves."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.cluster.topology import ARRANGEMENTS
from lab.live.halves import TWO, Half, edges, halves
from lab.live.hops import Tail
from lab.live.picture import Picture, picture
from lab.live.rules import ALIKE, RULES
from lab.live.script import halves_of, left_out, steps_of
from lab.live.seen import Seer, what_is_seen
from lab.live.show import Show
from lab.live.watchers import MOST_HERE, MOST_SHARED, MOST_WAITING, Watcher, Watchers
from lab.scenarios.catalogue import built_in, find
from lab.scenarios.claims import CLAIMS

# ── Who looks on ──


async def read(watcher: Watcher) -> list[tuple[str, Any]]:
    events = (await watcher.next()).decode().split("\n\n")[:-1]
    pairs = [event.split("\n") for event in events]
    return [
        (name.removeprefix("event: "), json.loads(data.removeprefix("data: ")))
        for name, data in pairs
    ]


async def test_who_does_not_read_loses_the_oldest_ticks_and_is_told_how_many() -> None:
    watcher = Watcher(shared=True)
    watcher.put("done", b'{"says":"first"}')
    for number in range(MOST_WAITING + 20):
        watcher.put("tick", b'{"t":%d}' % number)
    events = await read(watcher)
    assert len(events) == MOST_WAITING
    assert events[0] == ("done", {"says": "first"})
    assert events[1] == ("tick", {"t": 21, "dropped": 21})
    assert events[-1] == ("tick", {"t": MOST_WAITING + 19, "dropped": 21})


async def test_who_reads_loses_nothing() -> None:
    watcher = Watcher(shared=False)
    for number in range(3 * MOST_WAITING):
        watcher.put("tick", b'{"t":%d}' % number)
        assert await read(watcher) == [("tick", {"t": number})]


async def test_one_who_is_let_go_gets_what_waits_and_then_nothing() -> None:
    watcher = Watcher(shared=False)
    watcher.put("done", b"{}")
    watcher.end()
    assert await read(watcher) == [("done", {})]
    assert await watcher.next() == b""


def test_lookers_on_can_not_take_the_place_of_who_controls() -> None:
    watchers = Watchers()
    held = [watchers.one_more(shared=True) for _ in range(MOST_SHARED)]
    for one in held:
        one.__enter__()
    assert watchers.full(shared=True)
    assert not watchers.full(shared=False)
    assert MOST_HERE > 1
    for one in held:
        one.__exit__(None, None, None)
    assert len(watchers) == 0


# ── What is read of the spans ──


def test_only_what_is_new_and_whole_is_read_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "spans"
    tail = Tail(path)
    assert tail.lines() == ([], 0)
    path.write_bytes(b"1\n2\n3")
    assert tail.lines() == ([b"1", b"2"], 2)
    with path.open("ab") as file:
        file.write(b"3\n")
    assert tail.lines() == ([b"33"], 1)
    assert tail.lines() == ([], 0)
    tail.close()


def test_of_much_that_is_new_the_newest_is_read_and_the_rest_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "spans"
    path.write_bytes(b"".join(b"%d\n" % number for number in range(1_000)))
    tail = Tail(path)
    lines, count = tail.lines()
    assert count == 1_000
    assert lines[-1] == b"999"
    assert len(lines) < 100
    tail.close()


def test_what_lies_far_back_is_not_read_at_all(tmp_path: Path) -> None:
    path = tmp_path / "spans"
    path.write_bytes(b"x" * 999 + b"\n")
    with path.open("ab") as file:
        file.writelines(b"x" * 999 + b"\n" for _ in range(5_000))
    tail = Tail(path)
    lines, count = tail.lines()
    assert count < 1_000
    assert all(len(line) == 999 for line in lines)
    tail.close()


def test_a_file_that_has_grown_large_is_emptied_under_its_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.live.hops._TOO_LONG", 10)
    path = tmp_path / "spans"
    with path.open("a") as writer:
        tail = Tail(path)
        writer.write("12345\n67890\n")
        writer.flush()
        assert tail.lines()[1] == 2
        assert tail.lines()[1] == 0
        assert path.stat().st_size == 0
        writer.write("more\n")
        writer.flush()
        assert tail.lines() == ([b"more"], 1)
    tail.close()


# ── The halves ──


@pytest.mark.parametrize("name", ARRANGEMENTS)
def test_every_arrangement_can_be_drawn(name: str) -> None:
    half = halves([name, name], None)[1]
    assert half.name == f"{name}-2"
    told = half.hello()
    assert {end for edge in told["edges"] for end in edge} <= set(told["nodes"])
    assert all(one in told["nodes"] for one in ("posts", "comments", "moderation", "query"))


def test_hops_stand_where_the_questions_go_through() -> None:
    drawn = edges(Half("x", "sync-chain", {"depth": 2}).built)
    assert {("query", "hop-1"), ("hop-1", "hop-2"), ("hop-2", "comments")} <= set(drawn)
    assert ("query", "comments") not in drawn


# ── What is seen ──

WELL = Picture(
    name="sync-chain",
    tells=False,
    by_events=False,
    reads=1.0,
    writes=1.0,
    read_ms=5.0,
    answered_ms=6.0,
    visible_ms=10.0,
    feed_age_s=0.0,
    down=(),
    hangs=(),
    full=None,
    untold=("", 0),
    lag=("", 0),
    errors=(),
)
TELLS = replace(WELL, name="async-bus", tells=True)


@pytest.mark.parametrize(
    ("ask", "tell", "rule", "claim"),
    [
        ({}, {}, "calm", None),
        ({"reads": 0.0, "down": ("comments",)}, {}, "one-down", "one-down"),
        ({"reads": 0.7}, {}, "whole-fails", "whole-fails"),
        ({"reads": None, "hangs": ("comments",)}, {}, "one-down", "one-down"),
        (
            {"reads": None, "hangs": ("comments",), "full": ("query", 9)},
            {},
            "askers-wait",
            "dependencies",
        ),
        ({"read_ms": 320.0}, {}, "slowest-hop", "slowest-hop"),
        ({"answered_ms": 320.0}, {}, "writes-slow", "slowest-hop"),
        (
            {"reads": 0.0},
            {"reads": 0.0, "down": ("query",)},
            "reads-fail-everywhere",
            "independent",
        ),
        ({"writes": 0.5}, {"writes": 0.5}, "writes-fail-everywhere", "independent"),
        ({"writes": 0.5}, {}, "writes-fail-asking", "dependencies"),
        ({}, {"untold": ("comments", 99)}, "outbox", "bus-passes-on"),
        ({}, {"lag": ("query", 99)}, "lag", "bus-passes-on"),
        ({}, {"feed_age_s": 3.0}, "late-feed", "sharing-is-hard"),
    ],
)
def test_what_is_measured_decides_what_is_said(
    ask: dict[str, Any], tell: dict[str, Any], rule: str, claim: str | None
) -> None:
    one, other = replace(WELL, **ask), replace(TELLS, **tell)
    for pair in ((one, other), (other, one)):
        seen = what_is_seen(*pair)
        assert seen is not None
        assert (seen[0].name, seen[2]) == (rule, claim)
        assert "None" not in seen[1]


def test_a_fault_without_an_effect_is_not_said_to_have_one() -> None:
    seen = what_is_seen(replace(WELL, down=("comments",)), TELLS)
    assert seen is not None
    assert seen[0].name == "calm"


def test_questions_that_travel_as_events_bear_on_the_claim_about_them() -> None:
    seen = what_is_seen(replace(WELL, by_events=True, reads=0.0, down=("comments",)), TELLS)
    assert seen is not None
    assert seen[2] == "events-like-calls"


def test_two_that_both_ask_are_compared_without_a_word_on_copies() -> None:
    seen = what_is_seen(replace(WELL, reads=0.1), replace(WELL, name="monolith"))
    assert seen is not None
    assert seen[0].name == "reads-differ"
    assert "copy" not in seen[1]


def test_each_claim_that_a_rule_names_is_one_of_the_course() -> None:
    for rule in (*RULES, *ALIKE):
        assert rule.claim is None or rule.claim in CLAIMS


def tenth(**more: Any) -> dict[str, Any]:
    kind = {"sent": 2, "ok": 2, "failed": 0, "errors": {}}
    node = {"up": True, "busy": 0, "workers": 8, "queue": 0, "untold": 0, "lag": 0}
    return {
        **{"reads": kind, "writes": kind, "waiting": 0, "unseen": 0, "feed_ok": True},
        **{key: {"p50": 4.0, "max": 5.0} for key in ("answered_ms", "read_ms", "visible_ms")},
        **{"feed_age_ms": 0, "nodes": {"query": node}},
        **more,
    }


def test_a_picture_of_much_is_of_the_last_half_second() -> None:
    failing = {"sent": 3, "ok": 0, "failed": 3, "errors": {"http_503": 3}}
    busy = {"sent": 3, "ok": 3, "failed": 0, "errors": {}}
    was_ill = [tenth(reads=failing)] * 15 + [tenth(reads=busy)] * 5
    assert picture(TWO[0], was_ill).reads == 1.0
    few = [tenth(reads={**failing, "failed": 1})] * 15 + [tenth(reads={**busy, "ok": 1})] * 5
    assert picture(TWO[0], few).reads == pytest.approx(5 / 12)


async def test_the_same_sentence_is_not_said_ten_times_a_second() -> None:
    show = Show()
    said: list[Any] = []
    show.change = lambda name, value: said.append(value)  # type: ignore[method-assign]
    seer = Seer(TWO, show)
    for number in range(200):
        ms = {"p50": 4.0 + number, "max": 9.0}
        halves = {half.name: tenth(read_ms={**ms, "p50": 4 + number / 10}) for half in TWO}
        seer.look({"t": number / 10, "halves": halves})
    assert {one["rule"] for one in said} == {"calm"}
    assert 2 < len(said) < 8


# ── Scripts ──


@pytest.mark.parametrize("scenario", built_in(), ids=lambda one: one.name)
def test_every_built_in_scenario_can_be_gone_through(scenario: Any) -> None:
    steps = steps_of(scenario)
    chosen = halves_of(scenario)
    assert 1 <= len(chosen) <= 2
    assert steps[0].says
    done = [action for step in steps for action in step.actions]
    broken = [(one.fault, one.half) for one in done if one.do == "break"]
    mended = [(one.fault, one.half) for one in done if one.do == "mend"]
    assert sorted(map(str, broken)) == sorted(map(str, mended))
    assert all(one.half in (None, *(half.name for half in chosen)) for one in done)
    assert isinstance(left_out(scenario), list)


def test_what_ends_when_something_begins_is_one_step() -> None:
    steps = steps_of(find("blast-radius"))
    words = [step.told() for step in steps]
    assert words[0]["does"] == ""
    assert all(step["says"] or step["does"] for step in words)
