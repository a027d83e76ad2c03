"""Chart of both write latencies: the time to the 201, and the time until the feed shows it.

The most common cheat is to measure the first and report it as the second. So the chart puts both on
one line; the line between them shows how stale the copies were.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from lab.report import formatting
from lab.report.charts import frame
from lab.report.charts.colours import Hand, hands
from lab.report.charts.frame import RIGHT, Panel
from lab.report.charts.svg import Chart, element, label, line, logarithmic, number, signs, told
from lab.results.result import Result

_ROW = 19.0
_LEFT = 200.0
_WRITES = ("create_post", "create_comment", "comment_at_once")


@dataclass(frozen=True, slots=True)
class _Row:
    """One row, in milliseconds: medians, and `last`, the slowest visible write.

    `seen` is None if no acknowledged write became visible. `never`: how many did not.
    """

    hand: Hand
    phase: str
    answered: float
    seen: float | None
    last: float | None
    never: int


def answered_visible(result: Result) -> Chart | None:
    """A row for each kind of write, phase and variant; None if no write became visible.

    The filled shape is the answer, the ring is the visibility.
    """
    drawn = hands(result.variants)
    groups = [(name, rows) for name in _WRITES if (rows := list(_rows(result, drawn, name)))]
    times = [
        time
        for _, rows in groups
        for row in rows
        for time in (row.answered, row.seen, row.last)
        if time
    ]
    if not any(row.seen for _, rows in groups for row in rows):
        return None
    x = logarithmic(times, _LEFT, RIGHT - 96)
    y = 18.0
    parts = [
        frame.legend(
            drawn, y, lambda hand, x, y: signs([(x + 16, y)], hand.shape, hand.kind("dot"))
        )
    ]
    y += frame.legend_height(drawn)
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
            y += _ROW
            if row.phase != phase:
                body.append(label(_LEFT - 12, y - 5, row.phase, "small", "end", limit=28))
                phase = row.phase
            body.append(_drawn(row, Panel(x, x), y - 9))
        y += 26
    floor = y - 20
    for tick in x.ticks():
        place = x(tick)
        parts.append(line([(place, top - 6), (place, floor)], "grid"))
        parts.append(label(place, floor + 15, told(tick), "soft small", "middle"))
    parts.append(label(RIGHT, floor + 15, "ms, log scale", "soft small", "end"))
    return Chart(
        "answered-visible",
        "Answered and visible",
        _says(groups),
        floor + 28,
        "".join([*parts, *body]),
    )


def _rows(result: Result, drawn: list[Hand], endpoint: str) -> Iterator[_Row]:
    phases = list(result.variants[0].phases) if result.variants else []
    for phase in phases:
        for variant, hand in zip(result.variants, drawn, strict=True):
            figures = variant.phases.get(phase)
            of = figures.endpoints.get(endpoint) if figures else None
            if of is None or of.latency_ms.p50 is None:
                continue
            seen = of.visible_ms
            yield _Row(
                hand,
                phase,
                of.latency_ms.p50,
                seen.p50 if seen else None,
                seen.max if seen else None,
                of.never_visible or 0,
            )


def _drawn(row: _Row, panel: Panel, y: float) -> str:
    answered = panel.x(row.answered)
    parts = []
    if row.seen is not None:
        seen, last = panel.x(row.seen), panel.x(row.last or row.seen)
        parts.append(line([(seen, y), (last, y)], row.hand.kind("thin")))
        parts.append(line([(last, y - 3), (last, y + 3)], row.hand.kind("thin")))
        parts.append(line([(answered, y), (seen, y)], row.hand.kind("line").rpartition(" ")[0]))
        parts.append(
            element(
                "circle",
                {"class": row.hand.kind("ring"), "cx": number(seen), "cy": number(y), "r": 4},
            )
        )
    parts.append(signs([(answered, y)], row.hand.shape, row.hand.kind("dot")))
    said = f"{formatting.ms(row.answered)} → {formatting.ms(row.seen)}"
    parts.append(label(RIGHT, y + 4, said, "small", "end"))
    return "".join(parts)


def _says(groups: list[tuple[str, list[_Row]]]) -> str:
    return "Medians in milliseconds. " + " ".join(
        f"{endpoint}, {row.hand.variant}, {row.phase}: "
        f"answered after {formatting.ms(row.answered)}, "
        + (f"visible after {formatting.ms(row.seen)}." if row.seen else "never visible.")
        for endpoint, rows in groups
        for row in rows
    )
