"""Common elements of the charts: panels, grids, the time axis, fault windows, legends."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lab.report import formatting
from lab.report.charts.colours import SeriesStyle
from lab.report.charts.data import TimeAxis
from lab.report.charts.svg import (
    WIDTH,
    Scale,
    coordinate,
    element,
    escape_text,
    label,
    line,
    markers,
    rect,
    tick_label,
)
from lab.support.text import plain

LEFT = 64.0
RIGHT = WIDTH - 16.0
_CHAR_WIDTH = 6.6
"""Average width of a letter. An estimate: the font of the reader is unknown."""
_SMALL_CHAR_WIDTH = 5.7
_SYMBOL_WIDTH = 34.0


def text_width(text: str, small: bool = False) -> float:
    """The estimated width of a text."""
    return (_SMALL_CHAR_WIDTH if small else _CHAR_WIDTH) * len(text)


@dataclass(frozen=True, slots=True)
class Panel:
    """A drawing area with its two scales: `y.start` is its bottom, `y.end` its top."""

    x: Scale
    y: Scale

    def point(self, x: float, y: float) -> tuple[float, float]:
        return self.x(x), self.y(y)


def grid(panel: Panel, title: str, unit: str = "", ticks: int = 4, with_labels: bool = True) -> str:
    """The panel's title, horizontal grid lines with figures, and bottom line."""
    left, right = panel.x.start, panel.x.end
    parts = [heading(left, panel.y.end - 7, title, unit)]
    for tick in panel.y.ticks(ticks):
        y = panel.y(tick)
        parts.append(line([(left, y), (right, y)], "grid"))
        if with_labels:
            parts.append(label(left - 6, y + 4, tick_label(tick), "soft small", "end"))
    parts.append(line([(left, panel.y.start), (right, panel.y.start)], "edge"))
    return "".join(parts)


def heading(x: float, y: float, title: str, unit: str = "") -> str:
    """The title and the unit of a panel, on one line; "" if both are empty."""
    parts = [element("tspan", {"class": "strong"}, escape_text(title, 60))] if title else []
    if unit:
        parts.append(element("tspan", {"class": "soft small", "dx": 8}, escape_text(unit, 60)))
    return element("text", {"x": coordinate(x), "y": coordinate(y)}, *parts) if parts else ""


def fault_windows(panel: Panel, axis: TimeAxis, variants: Sequence[str] | None = None) -> str:
    """The fault windows, hatched.

    `variants`: the variants in this panel; windows that affect none of them are left out.
    """
    parts = []
    for window in axis.windows:
        if variants is not None and not set(window.variants) & set(variants):
            continue
        x, end = panel.x(window.from_s), panel.x(window.until_s)
        parts.append(
            rect(x, panel.y.end, end - x, panel.y.start - panel.y.end, "window")
            + line([(x, panel.y.end), (x, panel.y.start)], "edge")
            + line([(end, panel.y.end), (end, panel.y.start)], "edge")
        )
    return "".join(parts)


def window_labels(panel: Panel, axis: TimeAxis, y: float) -> tuple[str, float]:
    """The names of the fault windows, above the first panel, and their height.

    The names take as many lines as they need not to overlap.
    """
    row_ends: list[float] = []
    parts = []
    for window in axis.windows:
        text = plain(formatting.fault_window(window), 70)
        start = min(panel.x(window.from_s), panel.x.end - text_width(text, small=True))
        row = next((at for at, end in enumerate(row_ends) if end + 16 <= start), len(row_ends))
        row_ends[row:] = [start + text_width(text, small=True), *row_ends[row + 1 :]]
        parts.append((start, row, text))
    labels = "".join(label(begins, y + 14 * row + 10, text, "small") for begins, row, text in parts)
    return labels, 14.0 * len(row_ends)


def draw_time_axis(panel: Panel) -> str:
    """The axis in seconds below the last panel."""
    floor = panel.y.start
    parts = []
    for tick in panel.x.ticks(8):
        x = panel.x(tick)
        parts.append(line([(x, floor), (x, floor + 4)], "edge"))
        parts.append(label(x, floor + 17, tick_label(tick), "soft small", "middle"))
    parts.append(label(panel.x.end, floor + 32, "seconds", "soft small", "end"))
    return "".join(parts)


def legend(
    styles: Sequence[SeriesStyle], y: float, draw_symbol: Callable[[SeriesStyle, float, float], str]
) -> str:
    """A sign and a name for each variant, in as many lines as they need."""
    parts = []
    for (x, row), hand in zip(_legend_positions(styles), styles, strict=True):
        parts.append(draw_symbol(hand, x, y + 18 * row))
        parts.append(label(x + _SYMBOL_WIDTH, y + 18 * row + 4, hand.variant, limit=24))
    return "".join(parts)


def legend_height(styles: Sequence[SeriesStyle]) -> float:
    return 18.0 * (1 + max((row for _, row in _legend_positions(styles)), default=-1))


def _legend_positions(styles: Sequence[SeriesStyle]) -> list[tuple[float, int]]:
    positions: list[tuple[float, int]] = []
    x, row = LEFT, 0
    for style in styles:
        entry_width = _SYMBOL_WIDTH + text_width(plain(style.variant, 24)) + 22
        if x + entry_width > RIGHT and x > LEFT:
            x, row = LEFT, row + 1
        positions.append((x, row))
        x += entry_width
    return positions


def line_symbol(style: SeriesStyle, x: float, y: float) -> str:
    """A legend sign: a piece of the variant's line with its shape."""
    return line([(x, y), (x + 26, y)], style.css_class("line")) + markers(
        [(x + 13, y)], style.shape, style.css_class("dot")
    )


def legend_entry(x: float, y: float, symbol: str, text: str) -> str:
    """An extra legend entry that ends at `x`: `symbol`, centred on (0, 0), and `text`."""
    transform = f"translate({coordinate(x - text_width(text, small=True) - 14)} {coordinate(y)})"
    return element("g", {"transform": transform}, symbol) + label(
        x, y + 4, text, "soft small", "end"
    )
