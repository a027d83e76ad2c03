"""`lab live --terminal`: the console in a terminal, without a browser.

It subscribes to the same messages as the page and acts on the same session; most keys are the
page's. Drawing is a pure function from `Screen` to a Rich renderable. Every state has a word, so no
meaning depends on colour; the screen is readable at 80 columns.
"""

import asyncio
import json
import os
import sys
import termios
import tty
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from lab.cluster.errors import LabCannotRun
from lab.domain.errors import ServiceError
from lab.domain.services import CALLERS_OF
from lab.faults.kinds import CLIENT
from lab.live.blog import BlogClient
from lab.live.broadcast import HISTORY_S, parse_events
from lab.live.commentary import is_stale, reads_fail
from lab.live.figures import FIGURES_WINDOW_S, PaneFigures, measure_pane
from lab.live.panes import Pane
from lab.live.script import Script
from lab.live.session import Session
from lab.live.snapshots import TICK_MS, Tick
from lab.support.text import plain, styled

# ── Screen

TARGETS = ("posts", "comments", "moderation", "query", "event-bus")
SCOPES = ("left", "both", "right")
_TICKS_PER_S = 1_000 // TICK_MS
_BARS = " ▁▂▃▄▅▆▇█"
_LOG_LINES = 5
_WIDTH = 30


@dataclass
class Screen:
    """The state of the screen. `behind`: how many ticks in the past the screen shows, 0 for now;
    `frozen`: the ticks that a paused screen shows, None if it is not paused."""

    panes: Sequence[Pane]
    ticks: deque[Tick] = field(default_factory=lambda: deque(maxlen=HISTORY_S * _TICKS_PER_S))
    faults: Sequence[Mapping[str, Any]] = ()
    seen: Mapping[str, Any] | None = None
    script: Mapping[str, Any] | None = None
    load: Mapping[str, Any] = field(default_factory=dict)
    log: deque[str] = field(default_factory=lambda: deque(maxlen=_LOG_LINES))
    target: str = "comments"
    scope: str = "both"
    ticks_back: int = 0
    frozen: Sequence[Tick] | None = None
    help: bool = False
    prompt: str = ""

    @property
    def visible_ticks(self) -> Sequence[Tick]:
        """The ticks up to the one that the screen shows."""
        if self.frozen is not None:
            return self.frozen
        ticks = list(self.ticks)
        return ticks[: len(ticks) - self.ticks_back] if self.ticks_back else ticks


def render_screen(screen: Screen, key_help: Sequence[tuple[str, str]]) -> RenderableType:
    """Draw the whole screen. `key_help`: each key with what it does."""
    if screen.help or screen.prompt:
        return _render_overlay(screen, key_help)
    ticks = screen.visible_ticks
    panes = Table.grid(expand=True, padding=(0, 1))
    for _ in screen.panes:
        panes.add_column(ratio=1)
    panes.add_row(*(_render_pane(pane, ticks, screen) for pane in screen.panes))
    parts: list[RenderableType] = [_render_header(screen, ticks), panes]
    if screen.seen and screen.frozen is None and not screen.ticks_back:
        claim = f"  [{screen.seen['claim']}]" if screen.seen["claim"] else ""
        parts.append(Text.assemble(styled(screen.seen["says"], "bold"), (claim, "dim")))
    if screen.script:
        parts.append(_render_script(screen.script))
    parts += [styled(line, "dim", limit=160) for line in screen.log]
    return Group(*parts)


def _render_overlay(screen: Screen, key_help: Sequence[tuple[str, str]]) -> RenderableType:
    """A question or the keys, in place of the panes: below them it would be out of sight."""
    if screen.prompt:
        return Panel(Text(screen.prompt, style="bold"), title="Restart", border_style="bold")
    keys = Table.grid(padding=(0, 2))
    for _ in range(2):
        keys.add_column(justify="right", style="bold")
        keys.add_column()
    half = (len(key_help) + 1) // 2
    for left, right in zip_longest(key_help[:half], key_help[half:], fillvalue=("", "")):
        keys.add_row(*left, *right)
    return Panel(keys, title="Keys", subtitle="? closes this")


def _render_header(screen: Screen, ticks: Sequence[Tick]) -> Text:
    state = "now"
    if screen.frozen is not None:
        state = "PAUSED: both halves run on"
    elif screen.ticks_back:
        state = f"REPLAY: {screen.ticks_back / _TICKS_PER_S:.0f} s ago"
    elif not ticks:
        state = "starting"
    rate = f"{screen.load['rate']:g} requests/s each" if screen.load else ""
    scope_note = {"left": " (left only)", "right": " (right only)"}.get(screen.scope, "")
    return Text.assemble(
        ("lab live", "bold"),
        f"   {state}   {rate}   target: ",
        (screen.target, "bold underline"),
        f"{scope_note}   ? shows the keys",
    )


def _render_pane(pane: Pane, ticks: Sequence[Tick], screen: Screen) -> RenderableType:
    pane_ticks = [tick["halves"][pane.name] for tick in ticks if pane.name in tick["halves"]]
    if not pane_ticks:
        return Panel("starting …", title=pane.name)
    figures = measure_pane(pane, pane_ticks[-round(FIGURES_WINDOW_S * _TICKS_PER_S) :])
    rows: list[RenderableType] = [*_render_figures(figures), _render_history(pane_ticks), Text("")]
    is_live = screen.frozen is None and not screen.ticks_back  # faults are known for now only
    broken = {
        fault["target"]: fault["kind"]
        for fault in screen.faults
        if is_live and fault["half"] in (None, pane.name)
    }
    rows += [
        _render_node(name, node, broken.get(name), name == screen.target)
        for name, node in pane_ticks[-1]["nodes"].items()
    ]
    return Panel(Group(*rows), title=Text(pane.name, style="bold"))


def _render_figures(figures: PaneFigures) -> list[Text]:
    return [
        _render_figure("successful reads", _format_share(figures.reads), figures.reads),
        _render_figure("successful posts", _format_share(figures.posts), figures.posts),
        _render_figure("successful comments", _format_share(figures.comments), figures.comments),
        _render_feed_lag(figures),
        Text(
            f"answered {_format_ms(figures.answered_ms)}, "
            f"visible {_format_ms(figures.visible_ms)}, read {_format_ms(figures.read_ms)}",
            style="dim",
        ),
    ]


def _render_feed_lag(figures: PaneFigures) -> Text:
    if figures.missing:
        return _render_figure("feed", f"{figures.missing} writes missing", 0.0)
    if reads_fail(figures):
        return _render_figure("feed lag", "no feed", 0.0)
    lag = f"{figures.feed_age_s:.1f} s" if figures.feed_age_s >= 0.1 else "up to date"
    return _render_figure("feed lag", lag, 0.95 if is_stale(figures) else 1.0)


def _render_figure(name: str, value: str, share: float | None) -> Text:
    style = (
        "bold" if share is None or share >= 0.98 else "bold yellow" if share >= 0.9 else "bold red"
    )
    sign = "" if share is None or share >= 0.9 else " ▼"
    return Text.assemble(f"{name:<20}", (f"{value}{sign}", style))


def _render_history(pane_ticks: Sequence[Mapping[str, Any]]) -> Text:
    """The share of successful reads over the last minute: one bar for two seconds."""
    step = HISTORY_S * _TICKS_PER_S // _WIDTH
    cells = []
    for end in range(len(pane_ticks), 0, -step):
        span = pane_ticks[max(0, end - step) : end]
        ok = sum(tick["reads"]["ok"] for tick in span)
        responses = ok + sum(tick["reads"]["failed"] for tick in span)
        cells.append(_BARS[round(ok / responses * (len(_BARS) - 1))] if responses else "·")
    return Text(f"reads, last minute  {''.join(reversed(cells))}")


_AVAILABILITY = {True: "up", False: "DOWN", "slow": "slow to answer", "hangs": "HANGS"}


def _render_node(name: str, node: Mapping[str, Any], fault_kind: str | None, chosen: bool) -> Text:
    state = _AVAILABILITY[node["up"]]
    words = [state]
    if fault_kind and node["up"] is True:
        words.append(f"broken: {fault_kind}")
    if node["queue"]:
        words.append(f"workers {node['busy']}/{node['workers']}, {node['queue']} wait")
    if node["untold"]:
        words.append(f"outbox {node['untold']}")
    if node["lag"]:
        words.append(f"{node['lag']} events behind")
    style = "bold red" if node["up"] is not True else "yellow" if len(words) > 1 else ""
    return Text.assemble(
        ("▸ " if chosen else "  "), f"{name:<11}", (plain(", ".join(words)), style)
    )


def _render_script(script: Mapping[str, Any]) -> Text:
    steps, at = script["steps"], script["at"]
    current = plain(steps[at - 1]["says"] or steps[at - 1]["does"]) if at else ""
    upcoming = plain(steps[at]["does"] or steps[at]["says"], 60) if at < len(steps) else "the end"
    return Text.assemble(
        (f"{plain(script['title'])} {at}/{len(steps)}  ", "bold"),
        current,
        (f"  next: {upcoming}", "dim"),
    )


def _format_share(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


def _format_ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} ms"


# ── Keys

SLOW_MS, FAIL_SHARE = 300, 0.5
RATE_FACTOR = 1.5
MAX_RATE = 300.0

MIXES: tuple[dict[str, float], ...] = (
    {"read_feed": 6, "create_post": 1, "create_comment": 3},
    {"read_feed": 9, "create_post": 0.3, "create_comment": 0.7},
    {"read_feed": 2, "create_post": 2, "create_comment": 6},
)

KeyAction = Callable[[], Awaitable[None] | None]


class KeyBindings:
    """The keys, and the action of each."""

    def __init__(self, screen: Screen, session: Session, script: Script) -> None:
        self.screen, self._session, self._script = screen, session, script
        self._blog = BlogClient(session)
        self._mix = 0
        self._post_ids: dict[str, str] = {}
        self.bindings: dict[str, tuple[str, KeyAction]] = {
            **{str(n): (name, self._target_chooser(name)) for n, name in enumerate(TARGETS, 1)},
            "k": ("kill", lambda: self._inject("down", lambda pane: {})),
            "h": ("hang", lambda: self._inject("hang", lambda pane: {})),
            "s": ("slow", lambda: self._inject("latency", lambda pane: {"ms": SLOW_MS})),
            "f": ("fail", lambda: self._inject("error", lambda pane: {"probability": FAIL_SHARE})),
            "x": ("cut off", lambda: self._inject("partition", self._partition_options)),
            "u": ("heal", lambda: self._heal(self.screen.target)),
            "0": ("heal all", lambda: self._heal(None)),
            "q": ("left only", lambda: self._set_scope("left")),
            "w": ("both", lambda: self._set_scope("both")),
            "e": ("right only", lambda: self._set_scope("right")),
            "+": ("more load", lambda: self._scale_rate(RATE_FACTOR)),
            "-": ("less load", lambda: self._scale_rate(1 / RATE_FACTOR)),
            "m": ("another mix", self._next_mix),
            "n": ("write a post", self._write_post),
            "c": ("write a comment", self._write_comment),
            "r": ("reset", self._reset),
            " ": ("next step, or pause", self._space),
            ".": ("pause", self._pause),
            "b": ("the last minute again", self._replay),
            "?": ("these keys", self._help),
        }

    @property
    def help_entries(self) -> list[tuple[str, str]]:
        return [("Space" if key == " " else key, says) for key, (says, _) in self.bindings.items()]

    async def press(self, key: str) -> None:
        """Run the action of the key; an error goes to the log of the screen."""
        screen = self.screen
        pending_prompt, screen.prompt = screen.prompt, ""
        if pending_prompt and key == "r":
            key = "R"
        try:
            if key == "R":
                panes = self._session.panes
                await self._session.start_panes(panes, "Both blogs restarted with no data.")
            elif key.lower() in self.bindings:
                awaitable = self.bindings[key.lower()][1]()
                if awaitable is not None:
                    await awaitable
        except ServiceError as error:
            screen.log.append(error.detail)
        except LabCannotRun as error:
            screen.log.append(str(error))

    def _target_chooser(self, name: str) -> KeyAction:
        def choose() -> None:
            self.screen.target = name

        return choose

    def _set_scope(self, scope: str) -> None:
        self.screen.scope = scope

    def _affected_panes(self) -> list[str]:
        """The names of the selected panes that have the target."""
        scope_index = SCOPES.index(self.screen.scope)
        panes = list(self._session.panes)
        selected = panes if scope_index == 1 else [panes[scope_index // 2]]
        return [
            pane.name
            for pane in selected
            if self.screen.target in pane.resolved_arrangement.targets
        ]

    async def _inject(self, kind: str, options: Callable[[str], dict[str, Any]]) -> None:
        self._session.require_up()
        pane_names, target = self._affected_panes(), self.screen.target
        if not pane_names:
            self.screen.log.append(f"There is no {target} here. Choose another target.")
        inject = self._session.fault_controller.inject
        await asyncio.gather(*(inject(kind, target, options(pane), pane) for pane in pane_names))

    def _partition_options(self, pane: str) -> dict[str, Any]:
        if self.screen.target == "event-bus":
            return {"from": "comments"}
        arrangement = next(
            one.resolved_arrangement for one in self._session.panes if one.name == pane
        )
        tells = arrangement.ask_by is None
        callers = CALLERS_OF[self.screen.target] or (CLIENT,)
        return {"from": "event-bus" if tells else callers[-1]}

    async def _heal(self, target: str | None) -> None:
        self._session.require_up()
        panes = [None] if self.screen.scope == "both" else self._affected_panes()
        for pane in panes:
            await self._session.fault_controller.heal(target, None, pane)

    def _scale_rate(self, factor: float) -> None:
        self._session.require_up()
        self._session.set_load(min(MAX_RATE, round(self._session.rate * factor) or 1), None)

    def _next_mix(self) -> None:
        self._session.require_up()
        self._mix = (self._mix + 1) % len(MIXES)
        self._session.set_load(None, MIXES[self._mix])

    async def _write_post(self) -> None:
        for pane in self._selected_panes():
            response = await self._blog.post(pane, "A post from the terminal")
            self._post_ids[pane] = (response.get("body") or {}).get("id", "")
            self.screen.log.append(f"{pane}: a post: {response.get('error') or response['status']}")

    async def _write_comment(self) -> None:
        for pane in self._selected_panes():
            response = await self._blog.comment(
                pane, self._post_ids.get(pane) or "none", "A comment"
            )
            self.screen.log.append(
                f"{pane}: a comment: {response.get('error') or response['status']}"
            )

    def _selected_panes(self) -> list[str]:
        scope_index = SCOPES.index(self.screen.scope)
        names = [pane.name for pane in self._session.panes]
        return names if scope_index == 1 else [names[scope_index // 2]]

    def _reset(self) -> None:
        self.screen.prompt = (
            "Restart both blogs with no data? Press r again; any other key cancels."
        )

    async def _space(self) -> None:
        if self._script.source is None:
            self._pause()
        else:
            await self._script.advance()

    def _pause(self) -> None:
        screen = self.screen
        screen.frozen = None if screen.frozen is not None else list(screen.visible_ticks)

    def _replay(self) -> None:
        self.screen.frozen = None
        self.screen.ticks_back = 0 if self.screen.ticks_back else max(0, len(self.screen.ticks) - 1)

    def _help(self) -> None:
        self.screen.help = not self.screen.help


# ── Main loop

DRAW_EVERY_S = 0.2


def apply_event(screen: Screen, name: str, data: Any) -> None:
    """Apply one event of the stream to the screen."""
    if name == "hello":
        screen.ticks.clear()
        screen.log.clear()
        screen.ticks_back, screen.frozen = 0, None
        for key in ("faults", "seen", "script", "load"):
            setattr(screen, key, data[key])
    elif name == "tick":
        screen.ticks.append(data)
        screen.load = data.get("load", screen.load)
    elif name == "done":
        where = f"{data['half']} " if data["half"] else ""
        screen.log.append(f"{data['t']:6.1f} s  {where}{data['says']}")
    else:
        setattr(screen, name, data)


async def run_terminal(session: Session, script: Script) -> None:
    """Draw the screen and handle keys until cancelled. Raises LabCannotRun without a terminal."""
    if not sys.stdin.isatty() or not sys.stdout.isatty():
        raise LabCannotRun("--terminal needs a terminal, for its keys. Try lab live --no-open.")
    screen = Screen(session.panes)
    bindings = KeyBindings(screen, session, script)
    pressed: asyncio.Queue[str] = asyncio.Queue()
    with (
        _read_keys(pressed),
        session.broadcast.subscribers.subscribe(shared=False) as subscriber,
        Live(console=Console(), screen=True, auto_refresh=False) as live,
    ):
        apply_event(screen, "hello", json.loads(session.broadcast.hello_message("presenter")))

        async def receive_events() -> None:
            while data := await subscriber.next_messages():
                for name, event_data in parse_events(data):
                    apply_event(screen, name, event_data)
                    screen.panes = session.panes

        async def handle_keys() -> None:
            while True:
                await bindings.press(await pressed.get())
                live.update(render_screen(screen, bindings.help_entries), refresh=True)

        async def draw() -> None:
            while True:
                live.update(render_screen(screen, bindings.help_entries), refresh=True)
                await asyncio.sleep(DRAW_EVERY_S)

        await asyncio.gather(receive_events(), handle_keys(), draw())


@contextmanager
def _read_keys(pressed: asyncio.Queue[str]) -> Iterator[None]:
    """Put each key into the queue at once, without echo; Ctrl-C still interrupts."""
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    loop = asyncio.get_running_loop()

    def read() -> None:
        with suppress(OSError, UnicodeDecodeError):
            for key in os.read(fd, 64).decode():
                pressed.put_nowait(key)

    tty.setcbreak(fd)
    loop.add_reader(fd, read)
    try:
        yield
    finally:
        loop.remove_reader(fd)
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
