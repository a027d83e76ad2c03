"""SVG as text: charts, escaped elements, and linear and logarithmic scales with round ticks.

A chart appears inline in a notebook, inline in a report page, and as a file in a document. So it
contains its style, title and description, refers to nothing outside itself, and draws its own
background: it is readable on a dark page even when the reader's system is light.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from lab.report.charts.colours import STYLE
from lab.support.text import plain

# ── Elements

WIDTH = 760
"""Width of a chart, in SVG units; the page scales it."""


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart. `name`: for ids and file names; `description`: in words, for screen readers;
    `body`: SVG; `height` and `width`: in SVG units."""

    name: str
    title: str
    description: str
    height: float
    body: str
    width: float = WIDTH

    def svg(self, styled: bool = True) -> str:
        """The whole drawing. `styled`: with its CSS; False if the page already contains `STYLE`."""
        ids = f"lab-{self.name}"
        return element(
            "svg",
            {
                "xmlns": "http://www.w3.org/2000/svg",
                "class": "lab-chart",
                "viewBox": f"0 0 {coordinate(self.width)} {coordinate(self.height)}",
                "width": coordinate(self.width),
                "height": coordinate(self.height),
                "role": "img",
                "aria-labelledby": f"{ids}-title {ids}-says",
            },
            element("title", {"id": f"{ids}-title"}, escape_text(self.title, 200)),
            element("desc", {"id": f"{ids}-says"}, escape_text(self.description, 2_000)),
            f"<style>{STYLE}</style>" if styled else "",
            _HATCHES,
            element(
                "rect",
                {
                    "class": "ground",
                    "width": coordinate(self.width),
                    "height": coordinate(self.height),
                },
            ),
            self.body,
        )

    def _repr_svg_(self) -> str:
        """IPython's display protocol: a notebook draws the chart."""
        return self.svg()


# Hatching, for faults and failures, is visible in greyscale print, too. All charts of a page define
# the same patterns, so it does no harm that the ids are repeated.
_HATCHES = (
    '<defs><pattern id="lab-broken" width="7" height="7" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><path class="broken" d="M0 0V7"/></pattern>'
    '<pattern id="lab-failed" width="4" height="4" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(-45)"><path class="failed" d="M0 0V4"/></pattern></defs>'
)


def element(name: str, attributes: Mapping[str, object], *children: str) -> str:
    """One element. Escapes the attributes; `children` must be SVG or escaped texts."""
    attribute_text = "".join(f' {key}="{escape(str(value))}"' for key, value in attributes.items())
    inner = "".join(children)
    return f"<{name}{attribute_text}>{inner}</{name}>" if inner else f"<{name}{attribute_text}/>"


def escape_text(text: str, limit: int | None = None) -> str:
    """User-written text for SVG or HTML: one line, no invisible characters, escaped."""
    return escape(plain(text, limit))


def label(
    x: float,
    y: float,
    text: str,
    css_class: str = "",
    anchor: str = "start",
    limit: int | None = 80,
) -> str:
    """A line of text.

    `css_class`: soft | strong | small, or several; `anchor`: start | middle | end.
    """
    attributes: dict[str, object] = {"x": coordinate(x), "y": coordinate(y)}
    if css_class:
        attributes["class"] = css_class
    if anchor != "start":
        attributes["text-anchor"] = anchor
    return element("text", attributes, escape_text(text, limit))


def line(points: Iterable[tuple[float, float] | None], css_class: str) -> str:
    """A line through points, interrupted at each None; "" without two adjacent points."""
    path: list[str] = []
    command = "M"
    for point in points:
        if point is None:
            command = "M"
            continue
        path.append(f"{command}{coordinate(point[0])} {coordinate(point[1])}")
        command = "L"
    path_data = re.sub(r"M[^ML]+ [^ML]+(?=M|$)", "", "".join(path))  # a move that no line follows
    return element("path", {"class": css_class, "d": path_data}) if path_data else ""


def markers(points: Sequence[tuple[float, float]], shape: str, css_class: str) -> str:
    """The same small shape at many points, as one path. `shape`: relative path commands."""
    path = "".join(f"M{coordinate(x)} {coordinate(y)}{shape}" for x, y in points)
    return element("path", {"class": css_class, "d": path}) if path else ""


def rect(x: float, y: float, width: float, height: float, css_class: str) -> str:
    """A rectangle."""
    return element(
        "rect",
        {
            "class": css_class,
            "x": coordinate(x),
            "y": coordinate(y),
            "width": coordinate(max(0.0, width)),
            "height": coordinate(max(0.0, height)),
        },
    )


def coordinate(value: float) -> str:
    """A coordinate with at most one decimal, which is finer than any screen."""
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text


# ── Scales


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values in `low`..`high` to coordinates in `start`..`end`; clamps other values.

    A logarithmic scale (`log`) needs `low` > 0.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        clamped = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(clamped / self.low) / math.log(self.high / self.low)
        else:
            share = (clamped - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, target_count: int = 6) -> list[float]:
        """Round values inside the scale, about `target_count` of them on a linear scale.

        On a logarithmic one: the decades, with 3, or 2 and 5, between them where they are few.
        """
        if not self.log:
            return _linear_ticks(self.low, self.high, target_count)
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        multiples = (1,) if len(decades) > 3 else (1, 3) if len(decades) > 2 else (1, 2, 5)
        candidates = (part * 10.0**decade for decade in decades for part in multiples)
        return [
            candidate
            for candidate in candidates
            if self.low * 0.999 <= candidate <= self.high * 1.001
        ]


def linear(values: Iterable[float], start: float, end: float) -> Scale:
    """A linear scale from 0 to a round figure at or above the maximum of `values`."""
    maximum = max(values, default=0.0) or 1.0
    step = _round_step(maximum, 5)
    return Scale(0.0, math.ceil(maximum / step - 1e-9) * step, start, end)


def logarithmic(values: Iterable[float], start: float, end: float) -> Scale:
    """A logarithmic scale around the positive `values`, at least one decade wide."""
    positive = [value for value in values if value > 0]
    low, high = (min(positive), max(positive)) if positive else (1.0, 10.0)
    low, high = low * 0.85, high * 1.15
    if high / low < 10:
        middle = math.sqrt(low * high)
        low, high = middle / math.sqrt(10), middle * math.sqrt(10)
    return Scale(low, high, start, end, log=True)


def _round_step(size: float, target_count: int) -> float:
    rough = size / target_count
    decade = 10.0 ** math.floor(math.log10(rough))
    return next(part * decade for part in (1, 2, 5, 10) if part * decade >= rough * 0.999)


def _linear_ticks(low: float, high: float, target_count: int) -> list[float]:
    step = _round_step(high - low, target_count)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def tick_label(value: float) -> str:
    """The label of a tick: 0.5, 20, 1,000."""
    return f"{value:,.0f}" if abs(value) >= 10 or value == round(value) else f"{value:.3g}"
