"""Cards and scores, from ticks that are made up."""

from typing import Any

import pytest

from lab.live.cards import BACK_WITHIN_S, CardMaker
from tests.support.live_world import NODE, pane_tick

LEFT, RIGHT = "sync-chain", "async-bus"
FAULT = {"half": None, "target": "comments", "kind": "down", "options": {}, "since_t": 1.0}
IDLE = {"sent": 0, "ok": 0, "failed": 0, "errors": {}}


def requests(ok: int = 0, failed: int = 0, sent: int | None = None) -> dict[str, Any]:
    return {"sent": ok + failed if sent is None else sent, "ok": ok, "failed": failed, "errors": {}}


def pane(**more: Any) -> dict[str, Any]:
    """One read succeeds and nothing else happens, except what `more` sets."""
    calm = {"reads": requests(1), "posts": IDLE, "comments": IDLE, "waiting": 5}
    return pane_tick(**{**calm, **more})


class Outage:
    """A card maker, its time, and the cards that it publishes."""

    def __init__(self) -> None:
        self.cards: list[Any] = []
        self.maker = CardMaker((LEFT, RIGHT), self.cards.append)
        self.t = 0.0

    def ticks(self, seconds: float, left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
        """Ticks for so long; returns the last one's halves."""
        tick: dict[str, Any] = {}
        for _ in range(round(10 * seconds)):
            self.t = round(self.t + 0.1, 1)
            tick = {"t": self.t, "halves": {LEFT: {**left}, RIGHT: {**right}}}
            self.maker.add_tick(tick)
        halves: dict[str, Any] = tick["halves"]
        return halves

    def faults(self, *faults: dict[str, Any]) -> None:
        self.maker.set_faults(faults, self.t)


@pytest.fixture
def outage() -> Outage:
    outage = Outage()
    outage.ticks(1, pane(), pane())
    outage.faults(FAULT)
    return outage


def test_a_card_counts_what_an_outage_cost(outage: Outage) -> None:
    left = pane(reads=requests(failed=2), posts=requests(1), comments=requests(failed=1))
    right = pane(reads=requests(2), comments=requests(failed=1), feed_age_ms=2_300)
    outage.ticks(9.3, {**left, "feed_ok": False}, right)
    assert outage.cards == []
    outage.faults()
    card = outage.cards[-1]
    assert (card["n"], card["down_s"], card["faults"][0]["target"]) == (1, 9.3, "comments")
    assert card["halves"][LEFT]["reads"] == {"ok": 0, "all": 186}
    assert card["halves"][LEFT]["posts"] == {"ok": 93, "all": 93}
    assert card["halves"][RIGHT]["reads"] == {"ok": 186, "all": 186}
    assert card["halves"][RIGHT]["comments"] == {"ok": 0, "all": 93}
    assert card["halves"][RIGHT]["oldest_s"] == 2.3
    assert [half["had_feed"] for half in card["halves"].values()] == [False, True]
    assert [half["back_s"] for half in card["halves"].values()] == [None, None]


def test_a_card_says_when_each_half_was_back_to_normal(outage: Outage) -> None:
    outage.ticks(2, pane(reads=requests(failed=1)), pane(feed_age_ms=2_000))
    outage.faults()
    outage.ticks(0.5, pane(reads=requests(failed=1)), pane())
    outage.ticks(1, pane(nodes={"query": {**NODE, "queue": 7}}), pane())
    outage.ticks(2, pane(), pane())
    assert [half["back_s"] for half in outage.cards[-1]["halves"].values()] == [1.6, 0.1]
    assert [card["halves"][RIGHT]["back_s"] for card in outage.cards] == [None, 0.1, 0.1]
    assert {card["n"] for card in outage.cards} == {1}


def test_a_read_without_a_response_is_no_success(outage: Outage) -> None:
    outage.ticks(0.3, pane(reads=requests(sent=1)), pane())
    outage.faults()
    assert outage.cards[-1]["halves"][LEFT]["reads"] == {"ok": 0, "all": 3}
    outage.ticks(0.2, pane(reads=requests(ok=1, sent=1)), pane())
    outage.ticks(2, pane(reads=requests(ok=1, failed=1, sent=2)), pane())
    outage.ticks(2, pane(), pane())
    assert outage.cards[-1]["halves"][LEFT]["reads"] == {"ok": 2, "all": 3}


def test_a_slow_heal_adds_nothing_to_the_outage(outage: Outage) -> None:
    outage.ticks(1, pane(reads=requests(failed=1)), pane())
    asked_t = outage.t
    outage.ticks(2, pane(), pane())
    outage.maker.set_faults((), asked_t)
    card = outage.cards[-1]
    assert (card["down_s"], card["halves"][LEFT]["reads"]) == (1.0, {"ok": 0, "all": 10})
    outage.ticks(0.1, pane(), pane())
    assert outage.cards[-1]["halves"][LEFT]["back_s"] == 0.1


def test_the_next_fault_ends_the_card_before(outage: Outage) -> None:
    outage.faults()
    outage.ticks(0.5, pane(reads=requests(failed=1)), pane())
    outage.faults({**FAULT, "target": "query", "since_t": outage.t})
    assert outage.cards[-1]["not_back"] == "not before the next fault"
    outage.ticks(1, pane(), pane())
    outage.faults()
    assert (outage.cards[-1]["n"], outage.cards[-1]["down_s"]) == (2, 1.0)


def test_a_half_that_never_recovers_is_said_to(outage: Outage) -> None:
    outage.faults()
    outage.ticks(BACK_WITHIN_S + 1, pane(reads=requests(failed=1)), pane())
    assert outage.cards[-1]["not_back"] == "not within 60 s"
    assert outage.cards[-1]["halves"][LEFT]["back_s"] is None


QUERY = {**FAULT, "target": "query"}


def test_faults_that_overlap_have_a_card_each(outage: Outage) -> None:
    failing = pane(reads=requests(failed=1))
    outage.ticks(1, failing, pane())
    outage.faults(FAULT, {**QUERY, "since_t": outage.t})
    outage.ticks(2, failing, pane())
    outage.faults({**QUERY, "since_t": 2.0})
    (first,) = outage.cards
    assert (first["n"], first["down_s"], first["not_back"]) == (
        *(1, 3.0, "not before query is healed"),
    )
    assert [fault["target"] for fault in first["faults"]] == ["comments"]
    assert first["halves"][LEFT]["reads"] == {"ok": 0, "all": 30}
    outage.ticks(1, failing, pane())
    outage.faults()
    outage.ticks(2, pane(), pane())
    second = outage.cards[-1]
    assert (second["n"], second["began_t"], second["down_s"]) == (2, 2.0, 3.0)
    assert [fault["target"] for fault in second["faults"]] == ["query"]
    assert second["halves"][LEFT]["reads"] == {"ok": 0, "all": 30}
    assert second["halves"][LEFT]["back_s"] == 0.1


def test_a_fault_in_both_halves_has_one_card_until_both_are_healed() -> None:
    outage = Outage()
    left, right = {**FAULT, "half": LEFT}, {**FAULT, "half": RIGHT, "since_t": 1.2}
    outage.faults(left, right)
    outage.faults(right)
    assert outage.cards == []
    outage.faults()
    (card,) = outage.cards
    assert [fault["half"] for fault in card["faults"]] == [LEFT, RIGHT]


def test_writes_that_are_missing_are_counted_and_not_timed(outage: Outage) -> None:
    outage.faults()
    outage.ticks(2, pane(), pane(missing=4, unseen=4, feed_age_ms=90_000))
    half = outage.cards[-1]["halves"][RIGHT]
    assert (half["missing"], half["oldest_s"], half["back_s"]) == (4, 0.0, 0.0)


def test_the_score_only_grows() -> None:
    outage = Outage()
    halves = outage.ticks(2, pane(reads=requests(failed=3)), pane(feed_age_ms=1_500))
    assert halves[LEFT]["score"] == {"failed": 60, "stale_s": 0, "missing": 0}
    assert halves[RIGHT]["score"] == {"failed": 0, "stale_s": 2.0, "missing": 0}
    assert outage.ticks(1, pane(), pane())[LEFT]["score"]["failed"] == 60
