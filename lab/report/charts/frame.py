"""Common elements of the charts: panels, grids, the time axis, fault windows, legends."""

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
"""Average width of a letter. An estimate: the font of the reader is unknown."""
_SMALL_LETTER = 5.7
_SAMPLE = 34.0


def wide(text: str, small: bool = False) -> float:
    """The estimated width of a text."""
    return (_SMALL_LETTER if small else _LETTER) * len(text)


@dataclass(frozen=True, slots=True)
class Panel:
    """A drawing area with its two scales: `y.start` is its bottom, `y.end` its top."""

    x: Scale
    y: Scale

    def at(self, x: float, y: float) -> tuple[float, float]:
        return self.x(x), self.y(y)


def grid(panel: Panel, title: str, unit: str = "", ticks: int = 4, figures: bool = True) -> str:
    """The panel's title, horizontal grid lines with figures, and bottom line."""
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
    """The title and the unit of a panel, on one line; "" if both are empty."""
    parts = [element("tspan", {"class": "strong"}, words(title, 60))] if title else []
    if unit:
        parts.append(element("tspan", {"class": "soft small", "dx": 8}, words(unit, 60)))
    return element("text", {"x": number(x), "y": number(y)}, *parts) if parts else ""


def windows(panel: Panel, clock: Clock, variants: Sequence[str] | None = None) -> str:
    """The fault windows, hatched.

    `variants`: the variants in this panel; windows that affect none of them are left out.
    """
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
    """The names of the fault windows, above the first panel, and their height.

    The names take as many lines as they need not to overlap.
    """
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
    """The axis in seconds below the last panel."""
    floor = panel.y.start
    parts = []
    for tick in panel.x.ticks(8):
        x = panel.x(tick)
        parts.append(line([(x, floor), (x, floor + 4)], "edge"))
        parts.append(label(x, floor + 17, told(tick), "soft small", "middle"))
    parts.append(label(panel.x.end, floor + 32, "seconds", "soft small", "end"))
    return "".join(parts)


def legend(hands: Sequence[Hand], y: float, sign: Callable[[Hand, float, float], str]) -> str:
    """A sign and a name for each variant, in as many lines as they need."""
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
    """A legend sign: a piece of the variant's line with its shape."""
    return line([(x, y), (x + 26, y)], hand.kind("line")) + signs(
        [(x + 13, y)], hand.shape, hand.kind("dot")
    )


def fill_sign(hand: Hand, x: float, y: float) -> str:
    """A legend sign: a piece of the variant's area."""
    return box(x + 8, y - 6, 18, 12, hand.kind("fill"))


def key(x: float, y: float, drawn: str, text: str) -> str:
    """An extra legend entry that ends at `x`: `drawn`, centred on (0, 0), and `text`."""
    where = f"translate({number(x - wide(text, small=True) - 14)} {number(y)})"
    return element("g", {"transform": where}, drawn) + label(x, y + 4, text, "soft small", "end")
