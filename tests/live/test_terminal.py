"""The console in a terminal: readable at 80 columns, and every key has its effect."""

from typing import Any, cast

import pytest
from rich.console import Console as Paper

from lab.domain.errors import Conflict
from lab.live.broadcast import Show, event
from lab.live.panes import TWO
from lab.live.session import Session
from lab.live.terminal import MOST_RATE, Keys, Screen, drawn, events_in, take_in
from tests.support.live_world import NODE, tenth


def tick(t: float = 0.0, **left: Any) -> dict[str, Any]:
    return {"t": t, "halves": {TWO[0].name: tenth(**left), TWO[1].name: tenth()}}


def on_paper(screen: Screen, columns: int = 80) -> str:
    paper = Paper(width=columns, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    paper.print(drawn(screen, [("k", "kill")]))
    paper.file.close()
    return paper.export_text()


class Recorded:
    """Replaces the session and its switches, and records each call."""

    def __init__(self) -> None:
        self.done: list[tuple[Any, ...]] = []
        self.halves, self.rate, self.show = TWO, 40.0, Show()
        self.board, self.is_up = self, True

    def require_up(self) -> None:
        if not self.is_up:
            raise Conflict("Both halves are just starting.")

    async def put(self, kind: str, target: str, options: dict[str, Any], half: str) -> None:
        self.done.append((kind, target, options, half))

    async def heal(self, target: str | None, kind: str | None, half: str | None) -> None:
        self.done.append(("heal", target, half))

    def set_load(self, rate: float | None, mix: Any) -> None:
        self.rate = self.rate if rate is None else rate
        self.done.append(("load", rate, mix))

    async def begin(self, halves: Any, says: str) -> None:
        self.done.append(("reset",))


@pytest.fixture
def session() -> Recorded:
    return Recorded()


@pytest.fixture
def keys(session: Recorded) -> Keys:
    return Keys(Screen(TWO), cast(Session, session), None)


async def press(keys: Keys, each: str) -> None:
    for key in each:
        await keys.press(key)


def test_it_is_readable_at_80_columns() -> None:
    screen = Screen(TWO)
    screen.ticks.append(tick())
    text = on_paper(screen)
    assert max(map(len, text.splitlines())) <= 80
    for word in ("sync-chain", "async-bus", "reads that succeed", "100 %", "fresh", "▸ comments"):
        assert word in text


@pytest.mark.parametrize(
    ("node", "word"),
    [
        ({"up": False}, "DOWN"),
        ({"up": "hangs"}, "HANGS"),
        ({"busy": 8, "queue": 7}, "workers 8/8, 7 wait"),
        ({"untold": 31}, "outbox 31"),
        ({"lag": 12}, "12 events behind"),
    ],
)
def test_what_is_wrong_has_a_word_besides_its_colour(node: dict[str, Any], word: str) -> None:
    screen = Screen(TWO)
    screen.ticks.append(tick(nodes={"comments": {**NODE, **node}}))
    assert word in on_paper(screen, 120)


def test_a_fault_at_the_door_is_shown_where_it_is() -> None:
    screen = Screen(TWO, faults=[{"half": TWO[0].name, "target": "posts", "kind": "latency"}])
    screen.ticks.append(tick())
    assert on_paper(screen, 120).count("broken: latency") == 1


def test_hostile_text_drives_no_terminal() -> None:
    screen = Screen(TWO, seen={"says": "\x1b]0;gone\x07[red]x\u202e", "claim": None, "rule": "x"})
    screen.ticks.append(tick())
    screen.log.append("\x1b[2J[bold]title\u202e")
    text = on_paper(screen)
    assert "[red]x" in text
    assert "\x1b" not in text
    assert "\u202e" not in text


@pytest.mark.parametrize(
    ("pressed", "done"),
    [
        ("k", ("down", "comments", {}, TWO[0].name)),
        ("1h", ("hang", "posts", {}, TWO[0].name)),
        ("s", ("latency", "comments", {"ms": 300}, TWO[0].name)),
        ("f", ("error", "comments", {"probability": 0.5}, TWO[0].name)),
        ("x", ("partition", "comments", {"from": "query"}, TWO[0].name)),
        ("ex", ("partition", "comments", {"from": "event-bus"}, TWO[1].name)),
        ("5k", ("down", "event-bus", {}, TWO[1].name)),
        ("u", ("heal", "comments", None)),
        ("0", ("heal", None, None)),
        ("qu", ("heal", "comments", TWO[0].name)),
        ("+", ("load", 60, None)),
        ("-", ("load", 27, None)),
        ("rr", ("reset",)),
    ],
)
async def test_every_key_does_what_it_says(
    keys: Keys, session: Recorded, pressed: str, done: tuple[Any, ...]
) -> None:
    await press(keys, pressed)
    assert session.done[0] == done


async def test_a_reset_needs_its_key_twice(keys: Keys, session: Recorded) -> None:
    await press(keys, "r?")
    assert session.done == []
    assert keys.screen.asks == ""


@pytest.mark.parametrize(
    ("is_up", "pressed", "says"),
    [(True, "5qk", "no event-bus"), (False, "k+0zZ\x1b", "just starting")],
)
async def test_a_key_that_can_not_act_says_why(
    keys: Keys, session: Recorded, is_up: bool, pressed: str, says: str
) -> None:
    session.is_up = is_up
    await press(keys, pressed)
    assert session.done == []
    assert says in keys.screen.log[-1]


async def test_the_load_has_an_upper_limit(keys: Keys, session: Recorded) -> None:
    await press(keys, "+" * 20)
    assert session.rate == MOST_RATE


async def test_pausing_stops_the_screen_and_nothing_else(keys: Keys) -> None:
    screen = keys.screen
    screen.ticks.append(tick(1.0))
    await keys.press(" ")
    screen.ticks.append(tick(2.0))
    assert [one["t"] for one in screen.shown] == [1.0]
    assert "PAUSED" in on_paper(screen)
    await keys.press(".")
    assert [one["t"] for one in screen.shown] == [1.0, 2.0]


async def test_the_last_minute_is_replayed_at_its_original_pace(keys: Keys) -> None:
    screen = keys.screen
    for number in range(5):
        screen.ticks.append(tick(float(number)))
    await keys.press("b")
    assert [one["t"] for one in screen.shown] == [0.0]
    screen.ticks.append(tick(5.0))
    assert [one["t"] for one in screen.shown] == [0.0, 1.0]
    assert "REPLAY" in on_paper(screen)
    await keys.press("b")
    assert screen.shown[-1]["t"] == 5.0


def test_it_shows_the_same_events_as_every_screen() -> None:
    screen, show = Screen(TWO), Show()
    data = event("hello", show.hello("presenter")) + event("tick", b'{"t":1,"halves":{}}')
    data += event("done", b'{"t":1.5,"half":"left","says":"killed"}') + event("faults", b"[]")
    for name, told in events_in(data):
        take_in(screen, name, told)
    assert len(screen.ticks) == 1
    assert screen.log[-1].split() == ["1.5", "s", "left", "killed"]
