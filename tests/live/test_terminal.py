"""The console in a terminal: readable at 80 columns, and every key has its effect."""

from collections.abc import Sequence
from typing import Any, cast

import pytest
from rich.console import Console as Paper

from lab.domain.errors import Conflict
from lab.live.broadcast import Broadcast, encode_event, parse_events
from lab.live.panes import TWIN_PANES
from lab.live.script import Script
from lab.live.session import Session
from lab.live.terminal import (
    MAX_RATE,
    KeyBindings,
    Screen,
    apply_event,
    render_screen,
)
from tests.support.live_world import NODE, pane_tick


def tick(t: float = 0.0, **left: Any) -> dict[str, Any]:
    return {
        "t": t,
        "halves": {TWIN_PANES[0].name: pane_tick(**left), TWIN_PANES[1].name: pane_tick()},
    }


def render_text(
    screen: Screen, columns: int = 80, key_help: Sequence[tuple[str, str]] = (("k", "kill"),)
) -> str:
    paper = Paper(width=columns, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    paper.print(render_screen(screen, key_help))
    paper.file.close()
    return paper.export_text()


class RecordingSession:
    """Replaces the session and its switches, and records each call."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.panes, self.rate, self.broadcast = TWIN_PANES, 40.0, Broadcast()
        self.fault_controller, self.is_up = self, True

    def require_up(self) -> None:
        if not self.is_up:
            raise Conflict("Both halves are just starting.")

    async def inject(self, kind: str, target: str, options: dict[str, Any], half: str) -> None:
        self.calls.append((kind, target, options, half))

    async def heal(self, target: str | None, kind: str | None, half: str | None) -> None:
        self.calls.append(("heal", target, half))

    def set_load(self, rate: float | None, mix: Any) -> None:
        self.rate = self.rate if rate is None else rate
        self.calls.append(("load", rate, mix))

    async def start_panes(self, halves: Any, says: str) -> None:
        self.calls.append(("reset",))


@pytest.fixture
def session() -> RecordingSession:
    return RecordingSession()


@pytest.fixture
def keys(session: RecordingSession) -> KeyBindings:
    return KeyBindings(Screen(TWIN_PANES), cast(Session, session), Script(cast(Session, session)))


async def press(keys: KeyBindings, typed_keys: str) -> None:
    for key in typed_keys:
        await keys.press(key)


def test_it_is_readable_at_80_columns() -> None:
    screen = Screen(TWIN_PANES)
    screen.ticks.append(tick())
    text = render_text(screen)
    assert max(map(len, text.splitlines())) <= 80
    for word in (
        "sync-chain",
        "async-bus",
        "successful reads",
        "100 %",
        "up to date",
        "▸ comments",
    ):
        assert word in text


@pytest.mark.parametrize(
    ("node", "word"),
    [
        ({"up": False}, "DOWN"),
        ({"up": "hangs"}, "HANGS"),
        ({"up": "slow"}, "slow to answer"),
        ({"busy": 8, "queue": 7}, "workers 8/8, 7 wait"),
        ({"untold": 31}, "outbox 31"),
        ({"lag": 12}, "12 events behind"),
    ],
)
def test_what_is_wrong_has_a_word_besides_its_colour(node: dict[str, Any], word: str) -> None:
    screen = Screen(TWIN_PANES)
    screen.ticks.append(tick(nodes={"comments": {**NODE, **node}}))
    assert word in render_text(screen, 120)


def test_a_fault_at_the_door_is_shown_where_it_is() -> None:
    screen = Screen(
        TWIN_PANES, faults=[{"half": TWIN_PANES[0].name, "target": "posts", "kind": "latency"}]
    )
    screen.ticks.append(tick())
    assert render_text(screen, 120).count("broken: latency") == 1


def test_hostile_text_drives_no_terminal() -> None:
    screen = Screen(
        TWIN_PANES, seen={"says": "\x1b]0;gone\x07[red]x\u202e", "claim": None, "rule": "x"}
    )
    screen.ticks.append(tick())
    screen.log.append("\x1b[2J[bold]title\u202e")
    text = render_text(screen)
    assert "[red]x" in text
    assert "\x1b" not in text
    assert "\u202e" not in text


@pytest.mark.parametrize(
    ("pressed", "done"),
    [
        ("k", ("down", "comments", {}, TWIN_PANES[0].name)),
        ("1h", ("hang", "posts", {}, TWIN_PANES[0].name)),
        ("s", ("latency", "comments", {"ms": 300}, TWIN_PANES[0].name)),
        ("f", ("error", "comments", {"probability": 0.5}, TWIN_PANES[0].name)),
        ("x", ("partition", "comments", {"from": "query"}, TWIN_PANES[0].name)),
        ("ex", ("partition", "comments", {"from": "event-bus"}, TWIN_PANES[1].name)),
        ("5k", ("down", "event-bus", {}, TWIN_PANES[1].name)),
        ("u", ("heal", "comments", None)),
        ("0", ("heal", None, None)),
        ("qu", ("heal", "comments", TWIN_PANES[0].name)),
        ("+", ("load", 60, None)),
        ("-", ("load", 27, None)),
        ("rr", ("reset",)),
    ],
)
async def test_every_key_does_what_it_says(
    keys: KeyBindings, session: RecordingSession, pressed: str, done: tuple[Any, ...]
) -> None:
    await press(keys, pressed)
    assert session.calls[0] == done


@pytest.mark.parametrize(("key", "text"), [("r", "Press r again"), ("?", "last minute again")])
async def test_a_question_and_the_keys_fit_in_24_rows(
    keys: KeyBindings, key: str, text: str
) -> None:
    keys.screen.ticks.append(tick())
    keys.screen.log.extend(["a line"] * 5)
    await keys.press(key)
    lines = render_text(keys.screen, 80, keys.help_entries).splitlines()
    assert text in " ".join(lines)
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80


def test_a_replay_shows_no_fault_of_today() -> None:
    faults = [{"half": TWIN_PANES[0].name, "target": "posts", "kind": "latency"}]
    screen = Screen(TWIN_PANES, faults=faults, frozen=[tick()])
    assert "broken" not in render_text(screen, 120)


async def test_a_reset_needs_its_key_twice(keys: KeyBindings, session: RecordingSession) -> None:
    await press(keys, "r?")
    assert session.calls == []
    assert keys.screen.prompt == ""


@pytest.mark.parametrize(
    ("is_up", "pressed", "says"),
    [(True, "5qk", "no event-bus"), (False, "k+0zZ\x1b", "just starting")],
)
async def test_a_key_that_can_not_act_says_why(
    keys: KeyBindings, session: RecordingSession, is_up: bool, pressed: str, says: str
) -> None:
    session.is_up = is_up
    await press(keys, pressed)
    assert session.calls == []
    assert says in keys.screen.log[-1]


async def test_the_load_has_an_upper_limit(keys: KeyBindings, session: RecordingSession) -> None:
    await press(keys, "+" * 20)
    assert session.rate == MAX_RATE


async def test_pausing_stops_the_screen_and_nothing_else(keys: KeyBindings) -> None:
    screen = keys.screen
    screen.ticks.append(tick(1.0))
    await keys.press(" ")
    screen.ticks.append(tick(2.0))
    assert [tick["t"] for tick in screen.visible_ticks] == [1.0]
    assert "PAUSED" in render_text(screen)
    await keys.press(".")
    assert [tick["t"] for tick in screen.visible_ticks] == [1.0, 2.0]


async def test_the_last_minute_is_replayed_at_its_original_pace(keys: KeyBindings) -> None:
    screen = keys.screen
    for number in range(5):
        screen.ticks.append(tick(float(number)))
    await keys.press("b")
    assert [tick["t"] for tick in screen.visible_ticks] == [0.0]
    screen.ticks.append(tick(5.0))
    assert [tick["t"] for tick in screen.visible_ticks] == [0.0, 1.0]
    assert "REPLAY" in render_text(screen)
    await keys.press("b")
    assert screen.visible_ticks[-1]["t"] == 5.0


def test_it_shows_the_same_events_as_every_screen() -> None:
    screen, show = Screen(TWIN_PANES), Broadcast()
    data = encode_event("hello", show.hello_message("presenter")) + encode_event(
        "tick", b'{"t":1,"halves":{}}'
    )
    data += encode_event("done", b'{"t":1.5,"half":"left","says":"killed"}') + encode_event(
        "faults", b"[]"
    )
    for name, event in parse_events(data):
        apply_event(screen, name, event)
    assert len(screen.ticks) == 1
    assert screen.log[-1].split() == ["1.5", "s", "left", "killed"]
