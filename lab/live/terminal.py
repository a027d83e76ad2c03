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
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from lab.cluster.errors import LabCannotRun
from lab.domain.errors import ServiceError
from lab.live.blog import Blog
from lab.live.broadcast import WINDOW_S
from lab.live.commentary import OVER_S, Picture, picture
from lab.live.panes import Half
from lab.live.script import Script
from lab.live.session import Session
from lab.live.snapshots import EVERY_MS, Tick
from lab.support.text import plain, styled

# ── Screen

TARGETS = ("posts", "comments", "moderation", "query", "event-bus")
SCOPES = ("left", "both", "right")
_A_SECOND = 1_000 // EVERY_MS
_BARS = " ▁▂▃▄▅▆▇█"
_LOG_LINES = 5
_WIDTH = 30


@dataclass
class Screen:
    """The state of the screen. `behind`: how many ticks in the past the screen shows, 0 for now;
    `frozen`: the ticks that a paused screen shows, None if it is not paused."""

    halves: Sequence[Half]
    ticks: deque[Tick] = field(default_factory=lambda: deque(maxlen=WINDOW_S * _A_SECOND))
    faults: Sequence[Mapping[str, Any]] = ()
    seen: Mapping[str, Any] | None = None
    script: Mapping[str, Any] | None = None
    load: Mapping[str, Any] = field(default_factory=dict)
    log: deque[str] = field(default_factory=lambda: deque(maxlen=_LOG_LINES))
    target: str = "comments"
    scope: str = "both"
    behind: int = 0
    frozen: Sequence[Tick] | None = None
    help: bool = False
    asks: str = ""

    @property
    def shown(self) -> Sequence[Tick]:
        """The ticks up to the one that the screen shows."""
        if self.frozen is not None:
            return self.frozen
        ticks = list(self.ticks)
        return ticks[: len(ticks) - self.behind] if self.behind else ticks


def drawn(screen: Screen, keys: Sequence[tuple[str, str]]) -> RenderableType:
    """Draw the whole screen. `keys`: each key with what it does, for the help."""
    ticks = screen.shown
    halves = Table.grid(expand=True, padding=(0, 1))
    for _ in screen.halves:
        halves.add_column(ratio=1)
    halves.add_row(*(_half(half, ticks, screen) for half in screen.halves))
    parts: list[RenderableType] = [_head(screen, ticks), halves]
    if screen.seen and screen.frozen is None and not screen.behind:
        claim = f"  [{screen.seen['claim']}]" if screen.seen["claim"] else ""
        parts.append(Text.assemble(styled(screen.seen["says"], "bold"), (claim, "dim")))
    if screen.script:
        parts.append(_script(screen.script))
    parts += [styled(line, "dim", limit=160) for line in screen.log]
    if screen.help:
        parts.append(Text("   ".join(f"{key} {says}" for key, says in keys)))
    if screen.asks:
        parts.append(Text(screen.asks, style="bold reverse"))
    return Group(*parts)


def _head(screen: Screen, ticks: Sequence[Tick]) -> Text:
    state = "now"
    if screen.frozen is not None:
        state = "PAUSED: both halves run on"
    elif screen.behind:
        state = f"REPLAY: {screen.behind / _A_SECOND:.0f} s ago"
    elif not ticks:
        state = "starting"
    rate = f"{screen.load['rate']:g} requests/s each" if screen.load else ""
    where = {"left": " (left only)", "right": " (right only)"}.get(screen.scope, "")
    return Text.assemble(
        ("lab live", "bold"),
        f"   {state}   {rate}   target: ",
        (screen.target, "bold underline"),
        f"{where}   ? shows the keys",
    )


def _half(half: Half, ticks: Sequence[Tick], screen: Screen) -> RenderableType:
    own = [tick["halves"][half.name] for tick in ticks if half.name in tick["halves"]]
    if not own:
        return Panel("starting …", title=half.name)
    now = picture(half, own[-round(OVER_S * _A_SECOND) :])
    rows: list[RenderableType] = [*_figures(now), _history(own), Text("")]
    broken = {
        one["target"]: one["kind"] for one in screen.faults if one["half"] in (None, half.name)
    }
    rows += [
        _node(name, node, broken.get(name), name == screen.target)
        for name, node in own[-1]["nodes"].items()
    ]
    return Panel(Group(*rows), title=Text(half.name, style="bold"))


def _figures(now: Picture) -> list[Text]:
    age = f"{now.feed_age_s:.1f} s" if now.feed_age_s >= 0.1 else "fresh"
    return [
        _figure("reads that succeed", _share(now.reads), now.reads),
        _figure("writes that succeed", _share(now.writes), now.writes),
        _figure("how old the feed is", age, 1.0 if now.feed_age_s < 1 else 0.95),
        Text(
            f"answered {_ms(now.answered_ms)}, visible {_ms(now.visible_ms)}, "
            f"read {_ms(now.read_ms)}",
            style="dim",
        ),
    ]


def _figure(name: str, value: str, well: float | None) -> Text:
    style = "bold" if well is None or well >= 0.98 else "bold yellow" if well >= 0.9 else "bold red"
    sign = "" if well is None or well >= 0.9 else " ▼"
    return Text.assemble(f"{name:<20}", (f"{value}{sign}", style))


def _history(tenths: Sequence[Mapping[str, Any]]) -> Text:
    """The share of successful reads over the last minute: one bar for two seconds."""
    step = WINDOW_S * _A_SECOND // _WIDTH
    cells = []
    for end in range(len(tenths), 0, -step):
        part = tenths[max(0, end - step) : end]
        ok = sum(one["reads"]["ok"] for one in part)
        answers = ok + sum(one["reads"]["failed"] for one in part)
        cells.append(_BARS[round(ok / answers * (len(_BARS) - 1))] if answers else "·")
    return Text(f"reads, last minute  {''.join(reversed(cells))}")


def _node(name: str, node: Mapping[str, Any], broken: str | None, chosen: bool) -> Text:
    state = {True: "up", False: "DOWN", "hangs": "HANGS"}[node["up"]]
    words = [state]
    if broken and node["up"] is True:
        words.append(f"broken: {broken}")
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


def _script(script: Mapping[str, Any]) -> Text:
    steps, at = script["steps"], script["at"]
    said = plain(steps[at - 1]["says"] or steps[at - 1]["does"]) if at else ""
    coming = plain(steps[at]["does"] or steps[at]["says"], 60) if at < len(steps) else "the end"
    return Text.assemble(
        (f"{plain(script['title'])} {at}/{len(steps)}  ", "bold"),
        said,
        (f"  next: {coming}", "dim"),
    )


def _share(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} ms"


# ── Keys

SLOW_MS, FAIL_SHARE = 300, 0.5
FASTER = 1.5
MOST_RATE = 300.0

MIXES: tuple[dict[str, float], ...] = (
    {"read_feed": 6, "create_post": 1, "create_comment": 3},
    {"read_feed": 9, "create_post": 0.3, "create_comment": 0.7},
    {"read_feed": 2, "create_post": 2, "create_comment": 6},
)

ASKED_BY = {"posts": "query", "comments": "query", "moderation": "comments", "query": "client"}
"""The caller that a partition cuts off from a service: the one that the cut hurts most."""

Act = Callable[[], Awaitable[None] | None]


class Keys:
    """The keys, and the action of each."""

    def __init__(self, screen: Screen, session: Session, script: Script | None) -> None:
        self.screen, self._session, self._script = screen, session, script
        self._blog = Blog(session)
        self._mix = 0
        self._post_ids: dict[str, str] = {}
        self.table: dict[str, tuple[str, Act]] = {
            **{str(n): (name, self._choosing(name)) for n, name in enumerate(TARGETS, 1)},
            "k": ("kill", lambda: self._break("down", lambda half: {})),
            "h": ("hang", lambda: self._break("hang", lambda half: {})),
            "s": ("slow", lambda: self._break("latency", lambda half: {"ms": SLOW_MS})),
            "f": ("fail", lambda: self._break("error", lambda half: {"probability": FAIL_SHARE})),
            "x": ("cut off", lambda: self._break("partition", self._whom_to_cut)),
            "u": ("heal", lambda: self._heal(self.screen.target)),
            "0": ("heal all", lambda: self._heal(None)),
            "q": ("left only", lambda: self._act_on("left")),
            "w": ("both", lambda: self._act_on("both")),
            "e": ("right only", lambda: self._act_on("right")),
            "+": ("more load", lambda: self._rate(FASTER)),
            "-": ("less load", lambda: self._rate(1 / FASTER)),
            "m": ("another mix", self._next_mix),
            "n": ("write a post", self._post),
            "c": ("write a comment", self._comment),
            "r": ("reset", self._reset),
            " ": ("next step, or pause", self._space),
            ".": ("pause", self._pause),
            "b": ("the last minute again", self._replay),
            "?": ("these keys", self._help),
        }

    @property
    def shown(self) -> list[tuple[str, str]]:
        return [("Space" if key == " " else key, says) for key, (says, _) in self.table.items()]

    async def press(self, key: str) -> None:
        """Run the action of the key; an error goes to the log of the screen."""
        screen = self.screen
        asked, screen.asks = screen.asks, ""
        if asked and key == "r":
            key = "R"
        try:
            if key == "R":
                halves = self._session.halves
                await self._session.begin(halves, "Started anew, with nothing in it.")
            elif key.lower() in self.table:
                done = self.table[key.lower()][1]()
                if done is not None:
                    await done
        except ServiceError as error:
            screen.log.append(error.detail)
        except LabCannotRun as error:
            screen.log.append(str(error))

    def _choosing(self, name: str) -> Act:
        def choose() -> None:
            self.screen.target = name

        return choose

    def _act_on(self, scope: str) -> None:
        self.screen.scope = scope

    def _where(self) -> list[str]:
        """The names of the selected panes that have the target."""
        place = SCOPES.index(self.screen.scope)
        halves = list(self._session.halves)
        meant = halves if place == 1 else [halves[place // 2]]
        return [half.name for half in meant if self.screen.target in half.built.targets]

    async def _break(self, kind: str, options: Callable[[str], dict[str, Any]]) -> None:
        self._session.require_up()
        where, target = self._where(), self.screen.target
        if not where:
            self.screen.log.append(f"There is no {target} here. Choose another target.")
        put = self._session.board.put
        await asyncio.gather(*(put(kind, target, options(half), half) for half in where))

    def _whom_to_cut(self, half: str) -> dict[str, Any]:
        if self.screen.target == "event-bus":
            return {"from": "comments"}
        built = next(one.built for one in self._session.halves if one.name == half)
        tells = built.ask_by is None
        return {"from": "event-bus" if tells else ASKED_BY[self.screen.target]}

    async def _heal(self, target: str | None) -> None:
        self._session.require_up()
        halves = [None] if self.screen.scope == "both" else self._where()
        for half in halves:
            await self._session.board.heal(target, None, half)

    def _rate(self, factor: float) -> None:
        self._session.require_up()
        self._session.set_load(min(MOST_RATE, round(self._session.rate * factor) or 1), None)

    def _next_mix(self) -> None:
        self._session.require_up()
        self._mix = (self._mix + 1) % len(MIXES)
        self._session.set_load(None, MIXES[self._mix])

    async def _post(self) -> None:
        for half in self._where_any():
            told = await self._blog.post(half, "A post from the terminal")
            self._post_ids[half] = (told.get("body") or {}).get("id", "")
            self.screen.log.append(f"{half}: a post: {told.get('error') or told['status']}")

    async def _comment(self) -> None:
        for half in self._where_any():
            told = await self._blog.comment(half, self._post_ids.get(half) or "none", "A comment")
            self.screen.log.append(f"{half}: a comment: {told.get('error') or told['status']}")

    def _where_any(self) -> list[str]:
        place = SCOPES.index(self.screen.scope)
        names = [half.name for half in self._session.halves]
        return names if place == 1 else [names[place // 2]]

    def _reset(self) -> None:
        self.screen.asks = "Start anew, with nothing in it? r again does it, any other key doesn't."

    async def _space(self) -> None:
        if self._script is None:
            self._pause()
        else:
            await self._script.step()

    def _pause(self) -> None:
        screen = self.screen
        screen.frozen = None if screen.frozen is not None else list(screen.shown)

    def _replay(self) -> None:
        self.screen.frozen = None
        self.screen.behind = 0 if self.screen.behind else max(0, len(self.screen.ticks) - 1)

    def _help(self) -> None:
        self.screen.help = not self.screen.help


# ── Main loop

DRAW_EVERY_S = 0.2


def take_in(screen: Screen, name: str, data: Any) -> None:
    """Apply one event of the stream to the screen."""
    if name == "hello":
        screen.ticks.clear()
        screen.behind, screen.frozen = 0, None
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


async def run_terminal(session: Session, script: Script | None) -> None:
    """Draw the screen and handle keys until cancelled. Raises LabCannotRun without a terminal."""
    if not sys.stdin.isatty() or not sys.stdout.isatty():
        raise LabCannotRun("--terminal needs a terminal, for its keys. Try lab live --no-open.")
    screen = Screen(session.halves)
    keys = Keys(screen, session, script)
    pressed: asyncio.Queue[str] = asyncio.Queue()
    with (
        _each_key(pressed),
        session.show.watchers.one_more(shared=False) as watcher,
        Live(console=Console(), screen=True, auto_refresh=False) as live,
    ):
        take_in(screen, "hello", json.loads(session.show.hello("presenter")))

        async def look() -> None:
            while data := await watcher.next():
                for name, told in events_in(data):
                    take_in(screen, name, told)
                    screen.halves = session.halves

        async def obey() -> None:
            while True:
                await keys.press(await pressed.get())
                live.update(drawn(screen, keys.shown), refresh=True)

        async def draw() -> None:
            while True:
                live.update(drawn(screen, keys.shown), refresh=True)
                await asyncio.sleep(DRAW_EVERY_S)

        await asyncio.gather(look(), obey(), draw())


def events_in(data: bytes) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The name and data of each event in these bytes of a stream of server-sent events."""
    for one in data.split(b"\n\n")[:-1]:
        name, _, told = one.partition(b"\n")
        yield name.removeprefix(b"event: ").decode(), json.loads(told.removeprefix(b"data: "))


@contextmanager
def _each_key(pressed: asyncio.Queue[str]) -> Iterator[None]:
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
