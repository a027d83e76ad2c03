"""A space-time diagram as SVG: lifelines, messages between them, and what never arrived."""

from lab.report.charts.svg import WIDTH, Chart, element, label, line, markers, rect
from lab.results.space_time import Arrow, Diagram, Mark, Step, Stretch, time_label

_LEFT, _TOP, _ROW = 118.0, 54.0, 25.0
_RIGHT = 140.0  # room for the labels of the last lifeline
_GROUP_GAP = 0.6  # between groups, in distances of lifelines
_GROUPS_WIDTH = 1_080.0
_CROSS = "m-5-5l10 10m0-10l-10 10"
_HEAD = 8.0
_ALONG = 0.6
_SHAPES = {
    "commit": "m-4-4h8v8h-8z",
    "crash": _CROSS,
    "start": "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0",
    "good": "m-5 0l4 4l7-8",
    "bad": _CROSS,
    "note": "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0",
}
_FILLED = ("commit", "note")
_WORDS = {"commit": "commits", "crash": "crashes", "start": "starts again"}


def space_time_chart(diagram: Diagram, name: str = "space-time") -> Chart:
    """The drawing of a diagram. `name`: for ids and file names."""
    return _Drawing(diagram).chart(name)


def revealed(diagram: Diagram) -> list[tuple[float, float]]:
    """For each moment of the diagram (ms), the share of the drawing's height down to its row."""
    drawing = _Drawing(diagram)
    height = drawing.chart("").height
    shares = {step.at_ms: (_TOP + (step.row + 1) * _ROW) / height for step in diagram.steps()}
    return [(at_ms, round(share, 4)) for at_ms, share in shares.items()]


class _Drawing:
    def __init__(self, diagram: Diagram) -> None:
        self._diagram, self._steps = diagram, diagram.steps()
        self._width = _GROUPS_WIDTH if diagram.groups else float(WIDTH)
        places = _places(diagram)
        gap = (self._width - _LEFT - _RIGHT) / max([1.0, *places.values()])
        self._x = {name: _LEFT + place * gap for name, place in places.items()}
        self._rows = 1 + max((step.row for step in self._steps), default=0)
        self._bottom = _TOP + self._rows * _ROW

    def chart(self, name: str) -> Chart:
        diagram = self._diagram
        body = [
            *self._titles(),
            *map(self._lifeline, diagram.lifelines),
            *self._stretches(),
            *self._times(),
            *self._items(),
        ]
        description = f"{diagram.caption} {' '.join(self._in_words())}"
        return Chart(
            name, diagram.title, description, self._bottom + 14, "".join(body), self._width
        )

    def _titles(self) -> list[str]:
        diagram = self._diagram
        if not diagram.groups:
            return [label(12, 20, diagram.title, "strong", limit=100)]
        firsts = {group: _first_of(group, diagram) for group in diagram.groups}
        return [label(self._x[name] - 8, 20, group, "strong") for group, name in firsts.items()]

    def _y(self, row: int) -> float:
        return _TOP + (row + 0.5) * _ROW

    def _lifeline(self, name: str) -> str:
        x = self._x[name]
        shown = name.rpartition("/")[2]
        return label(x, 42, shown, "soft", "middle") + line([(x, _TOP), (x, self._bottom)], "edge")

    def _stretches(self) -> list[str]:
        begun = {step.item: step for step in self._steps if not step.is_end}
        ended = {step.item: step for step in self._steps if step.is_end}
        parts = []
        for stretch in self._diagram.stretches:
            y = self._y(begun[stretch].row)
            until_y = self._y(ended[stretch].row) if stretch in ended else self._bottom
            width = 14.0 if stretch.kind == "down" else 8.0
            css = "window" if stretch.kind == "down" else "faint i-plain"
            x = self._x[stretch.lifeline] - width / 2
            parts.append(rect(x, y, width, max(4.0, until_y - y), "ground"))
            parts.append(rect(x, y, width, max(4.0, until_y - y), css))
        return parts

    def _times(self) -> list[str]:
        """The time at the first row that has it."""
        parts, shown = [], None
        for step in self._steps:
            if step.at_ms != shown:
                parts.append(
                    label(_LEFT - 62, self._y(step.row) + 4, time_label(step.at_ms), "soft", "end")
                )
                shown = step.at_ms
        return parts

    def _items(self) -> list[str]:
        received = {step.item: step for step in self._steps if step.is_end}
        parts = []
        for step in self._steps:
            if isinstance(step.item, Mark):
                parts.append(self._mark(step, step.item))
            elif isinstance(step.item, Arrow) and not step.is_end:
                parts.append(self._arrow(step, step.item, received.get(step.item)))
        return parts

    def _mark(self, step: Step, mark: Mark) -> str:
        x, y = self._x[mark.lifeline], self._y(step.row)
        css = "dot i-plain" if mark.kind in _FILLED else "thin i-plain"
        text = " ".join(filter(None, (_WORDS.get(mark.kind, ""), mark.label)))
        css_text = "halo small" + (" strong" if mark.kind in ("crash", "bad", "good") else "")
        return markers([(x, y)], _SHAPES[mark.kind], css) + label(x + 10, y + 4, text, css_text)

    def _arrow(self, step: Step, arrow: Arrow, end: Step | None) -> str:
        from_x, to_x = self._x[arrow.sender], self._x[arrow.receiver]
        from_y = self._y(step.row)
        to_y = self._y(end.row) if end else from_y
        if end is None:
            to_x = from_x + 0.85 * (to_x - from_x)
        colour = "i-bus" if arrow.kind == "event" else "i-chain"
        dash = " d2" if arrow.kind == "reply" else ""
        css = f"line {colour}{dash}" if dash else f"thin {colour}"
        parts = [line([(from_x, from_y), (to_x, to_y)], css)]
        if end is None:
            parts.append(markers([(to_x, to_y)], _CROSS, f"thin {colour}"))
        else:
            side = 1 if to_x > from_x else -1
            parts.append(
                element(
                    "path",
                    {
                        "class": f"fill {colour}",
                        "d": f"M{to_x:.1f} {to_y:.1f}l{-side * _HEAD:.1f}-4v8z",
                    },
                )
            )
        text = f"{arrow.label} {f'lost: {arrow.lost}' if arrow.lost else ''}".strip()
        # Nearer to its end, where arrows from one sender have parted.
        x, y = from_x + _ALONG * (to_x - from_x), from_y + _ALONG * (to_y - from_y)
        return "".join(parts) + label(x, y - 4, text, "small halo", "middle", 36)

    def _in_words(self) -> list[str]:
        words = []
        for step in self._steps:
            at, item = time_label(step.at_ms), step.item
            if isinstance(item, Mark):
                what = " ".join(filter(None, (_WORDS.get(item.kind, ""), item.label)))
                words.append(f"{at}: {item.lifeline} {what}.")
            elif isinstance(item, Arrow) and (step.is_end or item.received_ms is None):
                lost = f", lost: {item.lost}" if item.received_ms is None else ""
                words.append(f"{at}: {item.label} from {item.sender} to {item.receiver}{lost}.")
            elif isinstance(item, Stretch) and item.kind == "down" and not step.is_end:
                words.append(f"{at}: {item.lifeline} is down.")
        return words


def _places(diagram: Diagram) -> dict[str, float]:
    """The place of each lifeline from the left, in distances between two of them."""
    groups = diagram.groups
    extra = {group: number * _GROUP_GAP for number, group in enumerate(groups)}
    return {
        name: number + extra.get(name.rpartition("/")[0], 0.0)
        for number, name in enumerate(diagram.lifelines)
    }


def _first_of(group: str, diagram: Diagram) -> str:
    return next(name for name in diagram.lifelines if name.startswith(f"{group}/"))
