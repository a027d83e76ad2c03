"""The sentences of `lab live`: each is held against what was true when its figures were measured.

The states are recordings of every fault in every arrangement (`tests/live/states.ndjson`). Each
state is paired with each other one under the same fault, as two panes show them.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from lab.live.broadcast import Broadcast
from lab.live.commentary import Commentator, describe, is_calm
from lab.live.figures import ObservedFault, PaneFigures, measure_pane
from lab.live.panes import TWIN_PANES, make_panes
from lab.results.claims import CLAIMS
from tests.support.live_states import PaneState, recorded_states
from tests.support.live_world import NODE, pane_tick

# ── Recorded states

STATES = recorded_states()
MOMENTS = list(dict.fromkeys((state.phase, *state.fault) for state in STATES if state.fault[0]))
MOMENTS += [("calm", "", "")]
CLIENT_GAVE_UP_MS = 1_900
"""The client waited 2 s; the load of the recordings waited longer, and saw slow reads succeed."""
READ_NEEDS = {
    "sync-chain": {"query", "posts", "comments"},
    "request-reply": {"query", "posts", "comments", "event-bus"},
    "monolith": {"query", "posts", "comments", "moderation"},
    "async-bus": {"query"},
}


def pairs_at(moment: tuple[str, str, str]) -> Iterator[tuple[PaneState, PaneState]]:
    """Every two panes that show this moment, one of them twice included."""
    there = [state for state in STATES if (state.phase, *state.fault) == moment]
    calm = [state for state in STATES if state.phase == "calm"]
    yield from product(there, there)
    yield from product(there, calm)  # the fault is in one pane only


def say(left: PaneState, right: PaneState) -> tuple[dict[str, str], str, str | None]:
    """The parts of the sentence by `left` and `right`, all of it, and the claim."""
    figures = replace(left.figures, name="LEFT"), replace(right.figures, name="RIGHT")
    _, text, claim = describe(*figures)
    parts = dict(re.findall(r"(LEFT|RIGHT): (.*?\.)(?= (?:LEFT|RIGHT):|$)", text))
    return parts, text, claim


def falsehoods(part: str, state: PaneState) -> list[str]:
    """The statements of the part that were not so."""
    kind, target = state.fault
    tells = state.arrangement == "async-bus"
    may_be_gone = {target} if state.active or state.phase == "just healed" else set()
    wrong = []

    def check(pattern: str, is_true: object) -> None:
        if re.search(pattern, part) and not is_true:
            wrong.append(pattern)

    check("missing", state.bus == "course" or kind in ("drop", "poison"))
    is_too_slow = (state.figures.read_ms or 0) > CLIENT_GAVE_UP_MS
    check("reads succeed", state.client_share > 0.5 or not state.ok + state.failed or is_too_slow)
    check("reads fail|no read is", state.failed > 0 or state.phase == "just healed")
    check(r"\d+ % of the reads", state.failed > 0 or state.phase == "just healed")
    check("although `query` itself is up", target != "query" and state.arrangement != "monolith")
    check("its one process", state.arrangement == "monolith" and kind in ("down", "hang"))
    check("get a 404", tells)
    check("outbox|events behind|for a verdict|its verdict|oldest write", tells)
    check("healed .* ago", not state.active)
    for name in re.findall(r"`([\w-]+)` (?:is down|hangs|is degraded)", part):
        check(f"`{name}`", name in may_be_gone)
    check(" is down", kind == "down")
    check(" hangs", kind == "hang")
    for waiting, on in re.findall(r"every worker of `([\w-]+)` waits for `([\w-]+)`", part):
        check("every worker", waiting != on and on == target and kind == "hang" and not tells)
    for on in re.findall(r"(?:because it waits for|a read needs) `([\w-]+)`", part):
        check("waits for|needs", on in READ_NEEDS[state.arrangement] and on == target)
    for cause in re.findall(r"`([\w-]+)` (?:is down|hangs), so (?:reads fail|no read)", part):
        check("so reads", cause in READ_NEEDS[state.arrangement])
    check("None|never", False)
    return wrong


@pytest.mark.parametrize("moment", MOMENTS, ids=" ".join)
def test_every_sentence_is_true_of_its_pane(moment: tuple[str, str, str]) -> None:
    for left, right in pairs_at(moment):
        parts, text, claim = say(left, right)
        assert len(text) <= 420, text
        assert claim is None or claim in CLAIMS
        for side, state in (("LEFT", left), ("RIGHT", right)):
            assert falsehoods(parts.get(side, ""), state) == [], (text, state)


@pytest.mark.parametrize("moment", MOMENTS, ids=" ".join)
def test_two_panes_do_the_same_work_only_when_both_are_well(moment: tuple[str, str, str]) -> None:
    for left, right in pairs_at(moment):
        if not say(left, right)[1].startswith("Both do the same work"):
            continue
        for state in (left, right):
            assert not state.active
            assert state.failed == 0
            assert state.figures.missing == 0
            assert state.figures.feed_age_s < 1


@pytest.mark.parametrize("moment", MOMENTS, ids=" ".join)
def test_an_outage_that_a_client_sees_is_said(moment: tuple[str, str, str]) -> None:
    for left, right in pairs_at(moment):
        parts = say(left, right)[0]
        for side, state in (("LEFT", left), ("RIGHT", right)):
            is_too_slow = (state.figures.read_ms or 0) > CLIENT_GAVE_UP_MS
            if is_too_slow and state.client_share < 0.5:
                assert f"{state.figures.read_ms:.0f} ms" in parts[side]
            elif state.active and state.client_share < 0.5:
                assert re.search("reads fail|no read is|of the reads|nothing is", parts[side])
            if state.figures.missing and state.client_share == 1:
                assert "missing" in parts[side]


def test_every_fault_was_recorded_in_every_arrangement() -> None:
    recorded = {(state.arrangement, state.bus, *state.fault) for state in STATES if state.active}
    for kind, target in product(("down", "hang", "latency", "error"), READ_NEEDS["monolith"]):
        for name, bus in (*((name, "") for name in READ_NEEDS), ("async-bus", "course")):
            assert (name, bus, kind, target) in recorded
    assert any(state.bus == "course" and state.figures.missing for state in STATES)


# ── Sentences that were not so

SYNC, ASYNC = (measure_pane(pane, [pane_tick()]) for pane in TWIN_PANES)
MONOLITH, REQUEST_REPLY = (
    measure_pane(pane, [pane_tick()]) for pane in make_panes(("monolith", "request-reply"), None)
)
DOWN = {"faults": (ObservedFault("down", "comments"),), "down": ("comments",)}
ALL = ("posts", "comments", "moderation", "query")


def sentence(left: PaneFigures, right: PaneFigures) -> str:
    return describe(left, right)[1]


def test_a_monolith_is_one_process_and_no_healthy_query() -> None:
    gone = replace(MONOLITH, reads=0.0, posts=0.0, comments=0.0, down=ALL)
    _, text, claim = describe(gone, ASYNC)
    assert "its one process is down" in text
    assert "query" not in text
    assert claim is None


def test_two_panes_without_copies_hear_nothing_of_copies() -> None:
    chain = replace(SYNC, reads=0.0, comments=0.0, **DOWN)
    text = sentence(chain, replace(MONOLITH, reads=0.0, down=ALL))
    assert "`comments` is down, so reads fail, although `query` itself is up" in text
    assert "copy" not in text


def test_no_service_waits_for_itself_or_for_one_it_never_calls() -> None:
    hanging = {"reads": None, "waiting": 9, "queues": (("query", 9),)}
    text = sentence(replace(SYNC, hanging=("comments", "query"), **hanging), ASYNC)
    assert "every worker of `query` waits for `comments`, and 9" in text
    text = sentence(replace(SYNC, hanging=("moderation",), **hanging), ASYNC)
    assert "waits for" not in text
    assert "9 requests wait for a worker of `query`" in text


def test_refused_comments_on_unknown_posts_are_said() -> None:
    refused = replace(ASYNC, comments=0.4, comment_error="http_404")
    text = sentence(SYNC, refused)
    assert "60 % of comments get a 404, because `comments` has not heard of those posts yet" in text


def test_the_first_second_of_an_outage_says_how_much_failed() -> None:
    text = sentence(replace(SYNC, reads=0.71, **DOWN), ASYNC)
    assert "29 % of the reads of the last seconds failed" in text
    assert "succeed)" not in text


def test_missing_writes_are_never_called_late() -> None:
    lost = replace(ASYNC, missing=97, unseen=97, feed_age_s=30.0)
    text = sentence(SYNC, lost)
    assert "97 acknowledged writes are missing" in text
    assert "old" not in text
    assert not is_calm(lost)


@pytest.mark.parametrize(
    "trouble",
    [
        {"feed_age_s": 8.3},
        {"missing": 1},
        {"faults": (ObservedFault("latency", "moderation", ms=300.0),)},
        {"down": ("event-bus",)},
        {"fullest_outbox": ("comments", 99)},
        {"slowest_consumer": ("query", 99)},
        {"queues": (("query", 9),)},
        {"comments": 0.9},
    ],
)
def test_trouble_in_both_panes_is_not_called_the_same_work(trouble: dict[str, Any]) -> None:
    assert "same work" in sentence(ASYNC, ASYNC)
    hurt = replace(ASYNC, **trouble)
    for pair in ((hurt, hurt), (SYNC, hurt), (hurt, SYNC)):
        assert "same work" not in sentence(*pair)


def test_a_queue_after_a_heal_is_explained() -> None:
    text = sentence(replace(SYNC, queues=(("query", 140),), healed_ago_s=4.2), ASYNC)
    assert "healed 4 s ago, but 140 requests still wait at `query`" in text


# ── Claims

SLOW = {"faults": (ObservedFault("latency", "comments", ms=300.0),), "read_ms": 320.0}
HANGS = {"reads": None, "waiting": 9, "hanging": ("comments",)}


@pytest.mark.parametrize(
    ("figures", "claim"),
    [
        (SYNC, None),
        (replace(SYNC, reads=0.0, **DOWN), "one-down"),
        (replace(REQUEST_REPLY, reads=0.0, **DOWN), "events-like-calls"),
        (replace(SYNC, reads=0.0, down=("query",)), None),
        (replace(SYNC, reads=0.5, faults=(ObservedFault("error", "posts"),)), "whole-fails"),
        (replace(SYNC, reads=0.5, faults=(ObservedFault("error", "query"),)), None),
        (replace(SYNC, **HANGS), "one-down"),
        (replace(SYNC, **HANGS, queues=(("query", 9),)), "dependencies"),
        (replace(SYNC, **SLOW), "slowest-hop"),
        (replace(MONOLITH, **SLOW), None),
        (replace(SYNC, comments=0.0, down=("moderation",)), "dependencies"),
        (replace(ASYNC, comments=0.0, **DOWN), None),
        (replace(ASYNC, fullest_outbox=("comments", 99)), "bus-passes-on"),
        (replace(ASYNC, slowest_consumer=("query", 99)), "bus-passes-on"),
        (replace(ASYNC, feed_age_s=3.0), "sharing-is-hard"),
        (replace(ASYNC, feed_age_s=3.0, missing=4), None),
    ],
)
def test_a_claim_is_named_where_the_figures_bear_on_it(
    figures: PaneFigures, claim: str | None
) -> None:
    for pair in ((figures, ASYNC), (ASYNC, figures)):
        assert describe(*pair)[2] == claim


# ── Figures


def test_posts_and_comments_are_counted_by_themselves() -> None:
    refused = {"sent": 3, "ok": 0, "failed": 3, "errors": {"refused": 3}}
    figures = measure_pane(TWIN_PANES[0], [pane_tick(comments=refused)])
    assert (figures.reads, figures.posts, figures.comments) == (1.0, 1.0, 0.0)
    assert figures.comment_error == "refused"


def test_a_slow_answer_to_a_probe_is_no_outage() -> None:
    nodes = {"comments": {**NODE, "up": "slow"}}
    assert measure_pane(TWIN_PANES[0], [pane_tick(nodes=nodes)]).unavailable == ()


# ── Commentator


def tick(t: float, **left: Any) -> dict[str, Any]:
    panes = {TWIN_PANES[0].name: pane_tick(**left), TWIN_PANES[1].name: pane_tick()}
    return {"t": t, "halves": panes}


@pytest.fixture
def comments() -> list[Any]:
    return []


@pytest.fixture
def commentator(comments: list[Any]) -> Commentator:
    show = Broadcast()
    set_state = show.set_state

    def record(name: str, value: Any) -> None:
        comments.append(value)
        set_state(name, value)

    show.set_state = record  # type: ignore[method-assign]
    return Commentator(TWIN_PANES, show)


async def test_the_same_sentence_is_rarely_said_again(
    commentator: Commentator, comments: list[Any]
) -> None:
    for number in range(200):
        commentator.add_tick(tick(number / 10, read_ms={"p50": 4 + number / 10, "max": 50.0}))
    assert {comment["rule"] for comment in comments} == {"calm"}
    assert 2 < len(comments) < 8


async def test_figures_from_before_a_fault_are_not_counted(
    commentator: Commentator, comments: list[Any]
) -> None:
    for number in range(40):
        commentator.add_tick(tick(number / 10))
    fault = {"half": TWIN_PANES[0].name, "target": "comments", "kind": "down", "options": {}}
    commentator._broadcast.current_state["faults"] = [fault]
    failing = {"sent": 1, "ok": 0, "failed": 1, "errors": {"http_503": 1}}
    nodes = {**dict.fromkeys(ALL, NODE), "comments": {**NODE, "up": False}}
    for number in range(40, 43):
        commentator.add_tick(tick(number / 10, reads=failing, nodes=nodes))
    assert "`comments` is down, so reads fail" in comments[-1]["says"]
