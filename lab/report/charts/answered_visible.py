"""Chart of both write latencies: the time to the 201, and the time until the feed shows it.

The most common cheat is to measure the first and report it as the second. So the chart puts both on
one line; the line between them shows how stale the copies were.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from lab.report import formatting
from lab.report.charts import frame
from lab.report.charts.colours import SeriesStyle, series_styles
from lab.report.charts.frame import RIGHT, Panel
from lab.report.charts.svg import (
    Chart,
    coordinate,
    element,
    label,
    line,
    logarithmic,
    markers,
    tick_label,
)
from lab.results.result import RunResult

_ROW_HEIGHT = 19.0
_LEFT = 200.0
_WRITES = ("create_post", "create_comment", "comment_at_once")


@dataclass(frozen=True, slots=True)
class _Row:
    """One row, in milliseconds: medians, and `last`, the slowest visible write.

    `seen` is None if no acknowledged write became visible. `never`: how many did not.
    """

    style: SeriesStyle
    phase: str
    answered: float
    visible: float | None
    slowest: float | None
    never_visible: int


def answered_visible(result: RunResult) -> Chart | None:
    """A row for each kind of write, phase and variant; None if no write became visible.

    The filled shape is the answer, the ring is the visibility.
    """
    styles = series_styles(result.variants)
    groups = [(name, rows) for name in _WRITES if (rows := list(_rows(result, styles, name)))]
    times = [
        time
        for _, rows in groups
        for row in rows
        for time in (row.answered, row.visible, row.slowest)
        if time
    ]
    if not any(row.visible for _, rows in groups for row in rows):
        return None
    x = logarithmic(times, _LEFT, RIGHT - 96)
    y = 18.0
    parts = [
        frame.legend(
            styles, y, lambda hand, x, y: markers([(x + 16, y)], hand.shape, hand.css_class("dot"))
        )
    ]
    y += frame.legend_height(styles)
    parts.append(
        label(
            frame.LEFT,
            y + 2,
            "Filled: answered (p50). Ring: visible (p50). To the bar: the slowest visible.",
            "soft small",
            limit=200,
        )
    )
    y += 30
    top = y
    body = []
    for endpoint, rows in groups:
        body.append(label(16, y, endpoint, "strong"))
        y += 8
        phase = ""
        for row in rows:
            y += _ROW_HEIGHT
            if row.phase != phase:
                body.append(label(_LEFT - 12, y - 5, row.phase, "small", "end", limit=28))
                phase = row.phase
            body.append(_draw_row(row, Panel(x, x), y - 9))
        y += 26
    bottom = y - 20
    for tick in x.ticks():
        tick_x = x(tick)
        parts.append(line([(tick_x, top - 6), (tick_x, bottom)], "grid"))
        parts.append(label(tick_x, bottom + 15, tick_label(tick), "soft small", "middle"))
    parts.append(label(RIGHT, bottom + 15, "ms, log scale", "soft small", "end"))
    return Chart(
        "answered-visible",
        "Answered and visible",
        _describe(groups),
        bottom + 28,
        "".join([*parts, *body]),
    )


def _rows(result: RunResult, styles: list[SeriesStyle], endpoint: str) -> Iterator[_Row]:
    phases = list(result.variants[0].phases) if result.variants else []
    for phase in phases:
        for variant, style in zip(result.variants, styles, strict=True):
            figures = variant.phases.get(phase)
            endpoint_result = figures.endpoints.get(endpoint) if figures else None
            if endpoint_result is None or endpoint_result.latency_ms.p50 is None:
                continue
            visible = endpoint_result.visible_ms
            yield _Row(
                style,
                phase,
                endpoint_result.latency_ms.p50,
                visible.p50 if visible else None,
                visible.max if visible else None,
                endpoint_result.never_visible or 0,
            )


def _draw_row(row: _Row, panel: Panel, y: float) -> str:
    answered = panel.x(row.answered)
    parts = []
    if row.visible is not None:
        visible, slowest = panel.x(row.visible), panel.x(row.slowest or row.visible)
        parts.append(line([(visible, y), (slowest, y)], row.style.css_class("thin")))
        parts.append(line([(slowest, y - 3), (slowest, y + 3)], row.style.css_class("thin")))
        parts.append(
            line([(answered, y), (visible, y)], row.style.css_class("line").rpartition(" ")[0])
        )
        parts.append(
            element(
                "circle",
                {
                    "class": row.style.css_class("ring"),
                    "cx": coordinate(visible),
                    "cy": coordinate(y),
                    "r": 4,
                },
            )
        )
    parts.append(markers([(answered, y)], row.style.shape, row.style.css_class("dot")))
    latencies = f"{formatting.ms(row.answered)} → {formatting.ms(row.visible)}"
    parts.append(label(RIGHT, y + 4, latencies, "small", "end"))
    return "".join(parts)


def _describe(groups: list[tuple[str, list[_Row]]]) -> str:
    return "Medians in milliseconds. " + " ".join(
        f"{endpoint}, {row.style.variant}, {row.phase}: "
        f"answered after {formatting.ms(row.answered)}, "
        + (f"visible after {formatting.ms(row.visible)}." if row.visible else "never visible.")
        for endpoint, rows in groups
        for row in rows
    )
