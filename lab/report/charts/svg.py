"""SVG as text: elements, attributes, and nothing in them that could be taken for markup.

A chart is drawn once and read in three places: inline in a notebook, inline in a run's report page,
and as a file in a document. So it brings its own style, its title and its description, refers to
nothing outside itself, and paints its own ground: it can be read on a page that is dark when the
reader's system is light.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from lab.report.charts.colours import STYLE
from lab.report.text import plain

WIDTH = 760
"""Of every chart, in its own units; the page scales it."""


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart. `name` is what its file is called; `says` is its description in words, for those
    who can't see it; `body` is SVG, `height` in the same units as WIDTH."""

    name: str
    title: str
    says: str
    height: float
    body: str

    def svg(self, styled: bool = True) -> str:
        """The whole drawing, with its style unless the page has that already (`STYLE`)."""
        ids = f"lab-{self.name}"
        return element(
            "svg",
            {
                "xmlns": "http://www.w3.org/2000/svg",
                "class": "lab-chart",
                "viewBox": f"0 0 {WIDTH} {number(self.height)}",
                "width": WIDTH,
                "height": number(self.height),
                "role": "img",
                "aria-labelledby": f"{ids}-title {ids}-says",
            },
            element("title", {"id": f"{ids}-title"}, words(self.title, 200)),
            element("desc", {"id": f"{ids}-says"}, words(self.says, 2_000)),
            f"<style>{STYLE}</style>" if styled else "",
            _HATCHES,
            element("rect", {"class": "ground", "width": WIDTH, "height": number(self.height)}),
            self.body,
        )


# Where something failed or was broken is hatched: a sign that survives a greyscale printer. Every
# chart of a page has the same ones, so it does no harm that their names occur more than once.
_HATCHES = (
    '<defs><pattern id="lab-broken" width="7" height="7" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><path class="broken" d="M0 0V7"/></pattern>'
    '<pattern id="lab-failed" width="4" height="4" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(-45)"><path class="failed" d="M0 0V4"/></pattern></defs>'
)


def element(name: str, attributes: Mapping[str, object], *children: str) -> str:
    """One element. Attributes are escaped here; `children` are SVG, or `words`."""
    told = "".join(f' {key}="{escape(str(value))}"' for key, value in attributes.items())
    inner = "".join(children)
    return f"<{name}{told}>{inner}</{name}>" if inner else f"<{name}{told}/>"


def words(text: str, limit: int | None = None) -> str:
    """What people typed, as SVG or HTML may hold it: one line, nothing unseen, escaped."""
    return escape(plain(text, limit))


def label(
    x: float, y: float, text: str, kind: str = "", anchor: str = "start", limit: int | None = 80
) -> str:
    """A line of text. `kind`: soft | strong | small, or several; `anchor`: start | middle | end."""
    attributes: dict[str, object] = {"x": number(x), "y": number(y)}
    if kind:
        attributes["class"] = kind
    if anchor != "start":
        attributes["text-anchor"] = anchor
    return element("text", attributes, words(text, limit))


def line(points: Iterable[tuple[float, float] | None], kind: str) -> str:
    """A line through points, broken where there is None; "" without two points side by side."""
    path: list[str] = []
    pen = "M"
    for point in points:
        if point is None:
            pen = "M"
            continue
        path.append(f"{pen}{number(point[0])} {number(point[1])}")
        pen = "L"
    drawn = re.sub(r"M[^ML]+ [^ML]+(?=M|$)", "", "".join(path))  # a move to where nothing begins
    return element("path", {"class": kind, "d": drawn}) if drawn else ""


def signs(points: Sequence[tuple[float, float]], shape: str, kind: str) -> str:
    """The same small shape at many places, as one path. `shape`: relative drawing commands."""
    path = "".join(f"M{number(x)} {number(y)}{shape}" for x, y in points)
    return element("path", {"class": kind, "d": path}) if path else ""


def box(x: float, y: float, width: float, height: float, kind: str) -> str:
    """A rectangle."""
    return element(
        "rect",
        {
            "class": kind,
            "x": number(x),
            "y": number(y),
            "width": number(max(0.0, width)),
            "height": number(max(0.0, height)),
        },
    )


def number(value: float) -> str:
    """A coordinate: a tenth of a unit is finer than any screen."""
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text
