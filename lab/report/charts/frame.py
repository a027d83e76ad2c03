"""What the charts have in common: panels with axes, a time axis with what was broken, a legend."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lab.report.charts.colours import Hand
from lab.report.charts.data import Clock, said
from lab.report.charts.svg import (
    WIDTH,
    Scale,
    box,
    element,
    label,
    line,
    number,
    signs,
    told,
    words,
)
from lab.support.text import plain

LEFT = 64.0
RIGHT = WIDTH - 16.0
_LETTER = 6.6
"""How wide a letter is on average: what is written in an unknown font can't be measured."""
_SMALL_LETTER = 5.7
_SAMPLE = 34.0


def wide(text: str, small: bool = False) -> float:
    """About how much room a text takes."""
    return (_SMALL_LETTER if small else _LETTER) * len(text)


@dataclass(frozen=True, slots=True)
class Panel:
    """A place to draw in, with its scales: `y.start` is its floor, `y.end` its ceiling."""

    x: Scale
    y: Scale

    def at(self, x: float, y: float) -> tuple[float, float]:
        return self.x(x), self.y(y)


def grid(panel: Panel, title: str, unit: str = "", ticks: int = 4, figures: bool = True) -> str:
    """The panel's title, its lines across with their figures, and its floor."""
    left, right = panel.x.start, panel.x.end
    parts = [heading(left, panel.y.end - 7, title, unit)]
    for tick in panel.y.ticks(ticks):
        y = panel.y(tick)
        parts.append(line([(left, y), (right, y)], "grid"))
        if figures:
            parts.append(label(left - 6, y + 4, told(tick), "soft small", "end"))
    parts.append(line([(left, panel.y.start), (right, panel.y.start)], "edge"))
    return "".join(parts)


def heading(x: float, y: float, title: str, unit: str = "") -> str:
    """What a panel shows, and in what, on one line."""
    parts = [element("tspan", {"class": "strong"}, words(title, 60))] if title else []
    if unit:
        parts.append(element("tspan", {"class": "soft small", "dx": 8}, words(unit, 60)))
    return element("text", {"x": number(x), "y": number(y)}, *parts) if parts else ""


def windows(panel: Panel, clock: Clock, variants: Sequence[str] | None = None) -> str:
    """What was broken and when, hatched, and where stages begin. `variants`: who is drawn here;
    what was done to others only is left out."""
    parts = []
    for window in clock.windows:
        if variants is not None and not set(window.variants) & set(variants):
            continue
        x, end = panel.x(window.from_s), panel.x(window.until_s)
        parts.append(
            box(x, panel.y.end, end - x, panel.y.start - panel.y.end, "window")
            + line([(x, panel.y.end), (x, panel.y.start)], "edge")
            + line([(end, panel.y.end), (end, panel.y.start)], "edge")
        )
    return "".join(parts)


def broken_names(panel: Panel, clock: Clock, y: float) -> tuple[str, float]:
    """The windows' names over the first panel, and how much room they take: as many lines as they
    need not to lie on each other."""
    rows: list[float] = []
    parts = []
    for window in clock.windows:
        text = plain(said(window), 70)
        begins = min(panel.x(window.from_s), panel.x.end - wide(text, small=True))
        row = next((at for at, end in enumerate(rows) if end + 16 <= begins), len(rows))
        rows[row:] = [begins + wide(text, small=True), *rows[row + 1 :]]
        parts.append((begins, row, text))
    drawn = "".join(label(begins, y + 14 * row + 10, text, "small") for begins, row, text in parts)
    return drawn, 14.0 * len(rows)


def time_axis(panel: Panel) -> str:
    """Seconds under the last panel."""
    floor = panel.y.start
    parts = []
    for tick in panel.x.ticks(8):
        x = panel.x(tick)
        parts.append(line([(x, floor), (x, floor + 4)], "edge"))
        parts.append(label(x, floor + 17, told(tick), "soft small", "middle"))
    parts.append(label(panel.x.end, floor + 32, "seconds", "soft small", "end"))
    return "".join(parts)


def legend(hands: Sequence[Hand], y: float, sign: Callable[[Hand, float, float], str]) -> str:
    """Each variant's name behind its sign, in one line, in two where they are many."""
    parts = []
    for (x, row), hand in zip(_places(hands), hands, strict=True):
        parts.append(sign(hand, x, y + 18 * row))
        parts.append(label(x + _SAMPLE, y + 18 * row + 4, hand.variant, limit=24))
    return "".join(parts)


def legend_height(hands: Sequence[Hand]) -> float:
    return 18.0 * (1 + max((row for _, row in _places(hands)), default=-1))


def _places(hands: Sequence[Hand]) -> list[tuple[float, int]]:
    found: list[tuple[float, int]] = []
    x, row = LEFT, 0
    for hand in hands:
        takes = _SAMPLE + wide(plain(hand.variant, 24)) + 22
        if x + takes > RIGHT and x > LEFT:
            x, row = LEFT, row + 1
        found.append((x, row))
        x += takes
    return found


def line_sign(hand: Hand, x: float, y: float) -> str:
    """A piece of the line, with the shape on it."""
    return line([(x, y), (x + 26, y)], hand.kind("line")) + signs(
        [(x + 13, y)], hand.shape, hand.kind("dot")
    )


def fill_sign(hand: Hand, x: float, y: float) -> str:
    """A piece of the area."""
    return box(x + 8, y - 6, 18, 12, hand.kind("fill"))


def key(x: float, y: float, drawn: str, text: str) -> str:
    """What another sign means, at the right end of the legend: `drawn` about (0, 0)."""
    where = f"translate({number(x - wide(text, small=True) - 14)} {number(y)})"
    return element("g", {"transform": where}, drawn) + label(x, y + 4, text, "soft small", "end")
