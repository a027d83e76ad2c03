"""What a fleet costs against its size: two tables and a chart of several simulated runs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lab.report import formatting
from lab.report.blocks import Cell, Column, Table
from lab.report.charts import frame
from lab.report.charts.colours import SeriesStyle, series_styles
from lab.report.charts.frame import LEFT, RIGHT, Panel
from lab.report.charts.svg import Chart, Scale, label, line, logarithmic, markers, tick_label
from lab.results.result import Footprint, RunResult, SimulationFacts, VariantResult

_PANEL_HEIGHT, _PANEL_GAP = 92.0, 76.0


@dataclass(frozen=True)
class _Figure:
    """A figure of a variant in one size. `of`: None where it was not simulated."""

    title: str
    unit: str
    of: Callable[[VariantResult, SimulationFacts, float], float | None]

    def text(self, value: float | None) -> str:
        if value is None:
            return formatting.NONE
        return (
            f"{100 * value:.2f}"
            if self.unit == "%"
            else f"{value:,.4g}"
            if value < 10
            else (f"{value:,.0f}")
        )


def _under_fault(variant: VariantResult) -> str:
    """The phase that is shown: `during`, or the first one of a sequence of faults."""
    names = list(variant.phases)
    return "during" if "during" in names else names[min(1, len(names) - 1)]


def _feed(figure: str) -> Callable[[VariantResult, SimulationFacts, float], float | None]:
    def find(variant: VariantResult, facts: SimulationFacts, seconds: float) -> float | None:
        endpoint = variant.phases[_under_fault(variant)].endpoints.get("read_feed")
        if endpoint is None:
            return None
        if figure == "success":
            return endpoint.success
        value: float | None = getattr(endpoint.latency_ms, figure)
        return value

    return find


def _footprint(variant: VariantResult) -> Footprint:
    return variant.footprint or Footprint(processes=0)


FIGURES = (
    _Figure("feed p50", "ms", _feed("p50")),
    _Figure("feed p99", "ms", _feed("p99")),
    _Figure("feed ok", "%", _feed("success")),
    _Figure("calls/s", "", lambda one, facts, s: facts.calls.get(one.name, 0) / s),
    _Figure("events/s", "", lambda one, facts, s: facts.events.get(one.name, 0) / s),
    _Figure("processes", "", lambda one, facts, s: _footprint(one).processes),
    _Figure("connections", "", lambda one, facts, s: facts.connections.get(one.name)),
    _Figure("RAM", "MiB", lambda one, facts, s: _footprint(one).memory_mib),
)
NOTICED = 3
"""So many of the figures are what a reader notices; the others are what it costs."""


@dataclass(frozen=True)
class _Point:
    size: float
    variant: str
    values: tuple[float | None, ...]


def _points(results: Sequence[RunResult]) -> tuple[str, list[_Point]]:
    """What was swept, and a point for each variant of each size."""
    facts = [one.simulation for one in results if one.simulation is not None]
    swept = next(
        (
            what
            for what in ("services", "width", "broken", "rate")
            if len({getattr(one, what) for one in facts}) > 1
        ),
        "services",
    )
    points = []
    for result, of in zip(results, facts, strict=True):
        seconds = sum(stage.until_s - stage.from_s for stage in result.timeline.stages) or 1.0
        for variant in result.variants:
            values = tuple(figure.of(variant, of, seconds) for figure in FIGURES)
            points.append(_Point(getattr(of, swept), variant.name, values))
    return swept, points


def cost_blocks(results: Sequence[RunResult]) -> Iterator[Table]:
    """Two tables: a line for each size and variant."""
    swept, points = _points(results)
    for title, part in (
        ("What a reader notices while the fault acts (simulated)", FIGURES[:NOTICED]),
        ("What it costs (simulated)", FIGURES[NOTICED:]),
    ):
        columns = [Column(swept, right=True), Column("variant")]
        columns += [
            Column(f"{one.title}, {one.unit}" if one.unit else one.title, right=True)
            for one in part
        ]
        first = FIGURES.index(part[0])
        rows = [
            [
                Cell(f"{point.size:,.0f}"),
                Cell(point.variant),
                *(
                    Cell(figure.text(value))
                    for figure, value in zip(part, point.values[first:], strict=False)
                ),
            ]
            for point in points
        ]
        yield Table(title, columns, [rows])


def sizes_of(results: Sequence[RunResult]) -> tuple[str, list[float]]:
    """What was swept, and its value in each result."""
    swept, _ = _points(results)
    return swept, [getattr(one.simulation, swept) for one in results]


def cost_chart(results: Sequence[RunResult], at: float | None = None) -> Chart:
    """A small panel for each figure, a line for each variant; both axes logarithmic. `at`: a size
    that a vertical line marks."""
    swept, points = _points(results)
    styles = series_styles(results[0].variants)
    parts = [frame.legend(styles, 18, frame.line_symbol)]
    top = 16.0 + frame.legend_height(styles) + 30
    width = (RIGHT - LEFT - _PANEL_GAP) / 2
    for number, figure in enumerate(FIGURES):
        row, column = divmod(number, 2)
        x, y = LEFT + column * (width + _PANEL_GAP), top + row * (_PANEL_HEIGHT + 52)
        parts.append(_panel(figure, number, points, styles, x, y, width, at))
    bottom = top + (len(FIGURES) + 1) // 2 * (_PANEL_HEIGHT + 52)
    parts.append(label(RIGHT, bottom - 8, f"{swept}, log scale; simulated", "soft small", "end"))
    words = "; ".join(
        f"{point.size:,.0f} {swept}, {point.variant}: "
        + ", ".join(
            f"{figure.title} {figure.text(value)} {figure.unit}".strip()
            for figure, value in zip(FIGURES, point.values, strict=True)
        )
        for point in points
    )
    return Chart("cost", "Simulated cost against size", words, bottom, "".join(parts))


def _panel(
    figure: _Figure,
    number: int,
    points: Sequence[_Point],
    styles: Sequence[SeriesStyle],
    x: float,
    y: float,
    width: float,
    at: float | None,
) -> str:
    known = [point.values[number] for point in points]
    values = [value for value in known if value]
    if figure.unit == "%":
        scale = Scale(0.0, 1.0, y + _PANEL_HEIGHT, y)
    else:
        scale = logarithmic(values, y + _PANEL_HEIGHT, y)
    panel = Panel(logarithmic([point.size for point in points], x, x + width), scale)
    unit = "share" if figure.unit == "%" else f"{figure.unit} log scale".strip()
    parts = [frame.grid(panel, figure.title, unit)]
    if at is not None:
        parts.append(line([(panel.x(at), y), (panel.x(at), y + _PANEL_HEIGHT)], "edge"))
    for size in sorted({point.size for point in points}):
        parts.append(
            label(panel.x(size), y + _PANEL_HEIGHT + 15, tick_label(size), "soft small", "middle")
        )
    for style in styles:
        own = [
            panel.point(point.size, value)
            for point in points
            if point.variant == style.variant and (value := point.values[number])
        ]
        parts.append(line(own, style.css_class("line")))
        parts.append(markers(own, style.shape, style.css_class("dot")))
    return "".join(parts)
