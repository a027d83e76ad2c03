"""What the console shows in a terminal: a pure function from what is known to what Rich draws.

Each state has a word, so nothing is said by colour alone; it is readable at 80 columns.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from lab.live.halves import Half
from lab.live.picture import Picture, picture
from lab.live.seen import OVER_S
from lab.live.show import WINDOW_S
from lab.live.ticks import EVERY_MS, Tick
from lab.report.text import plain, styled

TARGETS = ("posts", "comments", "moderation", "query", "event-bus")
SCOPES = ("left", "both", "right")
_A_SECOND = 1_000 // EVERY_MS
_BARS = " ▁▂▃▄▅▆▇█"
_LOG_LINES = 5
_WIDTH = 30


@dataclass
class Screen:
    """All that the terminal knows. `behind`: so many ticks in the past is what it shows; None: it
    stands still at `frozen`."""

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
        """The ticks up to the one that is shown."""
        if self.frozen is not None:
            return self.frozen
        ticks = list(self.ticks)
        return ticks[: len(ticks) - self.behind] if self.behind else ticks


def drawn(screen: Screen, keys: Sequence[tuple[str, str]]) -> RenderableType:
    """The whole screen."""
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
    """The share of reads that went well, over the last minute: a bar for two seconds."""
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
