"""Plots of a run in the terminal: latency, success and lag over time, and the latency spread.

The plots use the same bins and medians as the charts, but characters instead of lines: one sign for
each variant, explained in the first line. If two signs fall on the same cell, the later one is
shown. Latency has a logarithmic scale, so that milliseconds and seconds fit in one plot.

The spread has a line for each phase and variant: p50, p95, maximum, and for a write the p50 until
it was visible.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from lab.experiment.lag import LagReading
from lab.load.metrics import percentile
from lab.load.samples import Sample
from lab.report import formatting
from lab.report.charts import ChartData
from lab.report.charts.data import TimeAxis, endpoints, time_axis
from lab.report.charts.lag import lagging_consumers
from lab.report.charts.svg import Scale, linear, logarithmic, tick_label
from lab.report.formatting import TextFormat
from lab.results.result import EndpointResult, RunResult

# ── Latency spread

_SPREAD_LEFT_WIDTH = 16
_SPREAD_RIGHT_WIDTH = 22
_MIN_SPREAD_COLUMNS = 16
_MAX_SPREAD_PHASES = 3


@dataclass(frozen=True, slots=True)
class _SpreadSigns:
    """The characters of a line: up to the p95, beyond it, at the p95, at the maximum, visible.

    The p50 has the sign of the variant.
    """

    to_p95: str
    to_max: str
    p95: str
    maximum: str
    visible: str


_UNICODE_SIGNS = _SpreadSigns("━", "─", "┿", "┤", "◌")
_ASCII_SIGNS = _SpreadSigns("=", "-", "+", "|", "V")


def latency_spread(
    result: RunResult, variant_signs: list[str], colours: list[str], fmt: TextFormat
) -> Iterator[Text]:
    """A block for each endpoint; nothing if there are many phases or the terminal is narrow.

    `variant_signs`, `colours`: the sign and the colour of each variant.
    """
    columns = min(100, fmt.width) - _SPREAD_LEFT_WIDTH - _SPREAD_RIGHT_WIDTH
    phases = list(result.variants[0].phases) if result.variants else []
    if columns < _MIN_SPREAD_COLUMNS or not 0 < len(phases) <= _MAX_SPREAD_PHASES:
        return
    line_signs = _ASCII_SIGNS if fmt.ascii_only else _UNICODE_SIGNS
    yield Text()
    yield Text("Spread: p50, p95 and max of the good answers, ms", "bold")
    for endpoint in endpoints(result):
        rows = [
            (phase, number, figures)
            for phase in phases
            for number, variant in enumerate(result.variants)
            if phase in variant.phases
            if (figures := variant.phases[phase].endpoints.get(endpoint)) and figures.latency_ms.p50
        ]
        x = logarithmic(
            (time for _, _, figures in rows for time in _latencies(figures)), 0, columns - 1
        )
        yield Text()
        yield Text(endpoint, "bold")
        last_phase = ""
        for phase, number, figures in rows:
            name = "" if phase == last_phase else fmt.plain(phase, _SPREAD_LEFT_WIDTH - 4)
            last_phase = phase
            line = Text(
                _spread_line(figures, x, columns, variant_signs[number], line_signs),
                colours[number],
            )
            yield Text.assemble(
                f"{name:<{_SPREAD_LEFT_WIDTH - 2}}{variant_signs[number]} ",
                line,
                "  ",
                _spread_figures(figures),
            )
        if rows:
            yield Text(f"{'':{_SPREAD_LEFT_WIDTH}}{_spread_axis(x, columns)}", "dim")
    yield Text(
        f"{'':{_SPREAD_LEFT_WIDTH}}{line_signs.p95} p95, {line_signs.maximum} max, "
        f"{line_signs.visible} visible (p50)",
        "dim",
    )


def _latencies(endpoint: EndpointResult) -> list[float]:
    visible = endpoint.visible_ms.p50 if endpoint.visible_ms else None
    return [time for time in (endpoint.latency_ms.p50, endpoint.latency_ms.max, visible) if time]


def _spread_line(
    endpoint: EndpointResult, x: Scale, columns: int, variant_sign: str, line_signs: _SpreadSigns
) -> str:
    line = [" "] * columns
    p50, p95, maximum = (
        round(x(time or endpoint.latency_ms.p50 or x.low))
        for time in (endpoint.latency_ms.p50, endpoint.latency_ms.p95, endpoint.latency_ms.max)
    )
    line[p50:maximum] = line_signs.to_max * (maximum - p50)
    line[p50:p95] = line_signs.to_p95 * (p95 - p50)
    line[maximum] = line_signs.maximum
    line[p95] = line_signs.p95
    if endpoint.visible_ms and endpoint.visible_ms.p50:
        line[round(x(endpoint.visible_ms.p50))] = line_signs.visible
    line[p50] = variant_sign
    return "".join(line)


def _spread_figures(endpoint: EndpointResult) -> str:
    latency = endpoint.latency_ms
    return " ".join(
        f"{formatting.short_ms(time):>5}" for time in (latency.p50, latency.p95, latency.max)
    )


def _spread_axis(x: Scale, columns: int) -> str:
    line = [" "] * (columns + 6)
    for tick in x.ticks():
        at, text = round(x(tick)), tick_label(tick)
        if not "".join(line[at : at + len(text)]).strip():
            line[at : at + len(text)] = text
    return f"{''.join(line).rstrip():<{columns}}"


# ── Figures over time

_PLOT_ROWS = 6
_LEFT_WIDTH = 12
_MIN_COLUMNS = 20
_VARIANT_SIGNS = (("●", "o"), ("□", "#"), ("▲", "^"), ("◇", "*"), ("▽", "v"), ("+", "+"))
_COLOURS = ("yellow", "blue", "green", "magenta", "cyan", "")
_SHARE_SIGNS = (("█", "#"), ("▆", "+"), ("▄", "="), ("▂", "-"), ("×", "x"))
"""Signs for the share of good answers: all, over 2/3, over 1/3, fewer, none."""


def print_plots(result: RunResult, data: ChartData, console: Console) -> None:
    """Print the plots, or the reason why there are none."""
    fmt = TextFormat.for_console(console)
    axis, columns = time_axis(result, data), min(100, fmt.width - _LEFT_WIDTH - 1)
    if axis is None or columns < _MIN_COLUMNS:
        reason = "there are no samples" if axis is None else "the terminal is too narrow"
        console.print(fmt.text(f"Nothing to plot: {reason}."))
        return
    for line in _plot_lines(result, data, axis, columns, fmt):
        console.print(line, no_wrap=True, overflow="crop")


def _plot_lines(
    result: RunResult, data: ChartData, axis: TimeAxis, columns: int, fmt: TextFormat
) -> Iterator[Text]:
    names = [variant.name for variant in result.variants]
    legend = [
        f"{_variant_sign(number, fmt)} {fmt.plain(name, 24)}" for number, name in enumerate(names)
    ]
    yield Text()
    yield Text("Over time: p50 of the good answers, ms", "bold")
    yield Text(f"{'':{_LEFT_WIDTH}}{'   '.join(legend)}")
    for endpoint in endpoints(result):
        samples = [
            sample for sample in data.samples if sample.endpoint == endpoint and not sample.dropped
        ]
        yield Text()
        yield from _latency(names, axis, endpoint, samples, columns, fmt)
        yield from _success(names, axis, samples, columns, fmt)
    for service in lagging_consumers(result, data):
        yield Text()
        yield Text.assemble((service, "bold"), " lag, events")
        readings = [reading for reading in data.readings if reading.service == service]
        yield from _lag(names, axis, readings, columns, fmt)
    yield from _axis_lines(axis, columns, fmt)
    if not all(sample.ok for sample in data.samples if not sample.dropped):
        all_sign, none_sign = _share_sign(1.0, fmt), _share_sign(0.0, fmt)
        yield Text(
            f"{'':{_LEFT_WIDTH}}good answers: {all_sign} all, {none_sign} none, blank: none due",
            "dim",
        )
    yield Text(f"{'':{_LEFT_WIDTH}}where signs fall together, the last one is seen", "dim")
    signs = [_variant_sign(number, fmt) for number in range(len(names))]
    colours = [_COLOURS[number % len(_COLOURS)] for number in range(len(names))]
    yield from latency_spread(result, signs, colours, fmt)


def _latency(
    names: Sequence[str],
    axis: TimeAxis,
    endpoint: str,
    samples: list[Sample],
    columns: int,
    fmt: TextFormat,
) -> Iterator[Text]:
    series: list[list[tuple[float, float]]] = []
    for name in names:
        bins = axis.bin_samples([sample for sample in samples if sample.variant == name])
        medians = (
            percentile([s.latency_ms or 0.0 for s in bin_samples if s.ok], 50)
            for bin_samples in bins
        )
        series.append([(axis.bin_middle(at), ms) for at, ms in enumerate(medians) if ms])
    yield fmt.text(endpoint, "bold")
    if not any(series):
        yield fmt.text(f"{'':{_LEFT_WIDTH}}not one good answer", "dim")
        return
    y = logarithmic((ms for points in series for _, ms in points), _PLOT_ROWS - 0.51, -0.49)
    yield from _panel(series, y, axis, columns, fmt)


def _lag(
    names: Sequence[str], axis: TimeAxis, readings: list[LagReading], columns: int, fmt: TextFormat
) -> Iterator[Text]:
    """The maximum lag in each column."""
    series: list[list[tuple[float, float]]] = []
    for name in names:
        maxima: dict[int, tuple[float, float]] = {}
        for reading in readings:
            at_s = reading.t - axis.origin_s
            if reading.variant == name and 0 <= at_s <= axis.end_s:
                column = _column(at_s, axis, columns)
                maxima[column] = max(
                    maxima.get(column, (at_s, -1.0)), (at_s, reading.lag), key=_point_value
                )
        series.append(list(maxima.values()))
    y = linear((lag for points in series for _, lag in points), _PLOT_ROWS - 0.51, -0.49)
    yield from _panel(series, y, axis, columns, fmt)


def _point_value(point: tuple[float, float]) -> float:
    return point[1]


def _panel(
    series: Sequence[Sequence[tuple[float, float]]],
    y: Scale,
    axis: TimeAxis,
    columns: int,
    fmt: TextFormat,
) -> Iterator[Text]:
    """A grid of characters with the signs of the points, and tick labels at its left edge."""
    grid = [[Text(" ") for _ in range(columns)] for _ in range(_PLOT_ROWS)]
    for number, points in enumerate(series):
        for at_s, value in points:
            sign = Text(_variant_sign(number, fmt), _COLOURS[number % len(_COLOURS)])
            grid[round(y(value))][_column(at_s, axis, columns)] = sign
    figures = {round(y(tick)): f"{tick_label(tick)} " for tick in reversed(y.ticks(3))}
    for row, line in enumerate(grid):
        edge = "|" if fmt.ascii_only else "│"
        yield Text.assemble(f"{figures.get(row, ''):>{_LEFT_WIDTH - 1}}{edge}", *line)


def _success(
    names: Sequence[str], axis: TimeAxis, samples: list[Sample], columns: int, fmt: TextFormat
) -> Iterator[Text]:
    """A line for each variant with failed requests."""
    for number, name in enumerate(names):
        variant_samples = [sample for sample in samples if sample.variant == name]
        if all(sample.ok for sample in variant_samples):
            continue
        bins = axis.bin_samples(variant_samples)
        line = [" "] * columns
        for at, bin_samples in enumerate(bins):
            first = _column(axis.edges[at], axis, columns)
            last = _column(axis.edges[at + 1], axis, columns)
            if bin_samples:
                share = sum(sample.ok for sample in bin_samples) / len(bin_samples)
                line[first : max(last, first + 1)] = _share_sign(share, fmt) * max(1, last - first)
        head = f"{'good':>{_LEFT_WIDTH - 4}} {_variant_sign(number, fmt)} "
        yield Text.assemble(
            f"{head:<{_LEFT_WIDTH}}", ("".join(line)[:columns], _COLOURS[number % 6])
        )


def _axis_lines(axis: TimeAxis, columns: int, fmt: TextFormat) -> Iterator[Text]:
    """The axis in seconds, and a line for each fault window."""
    corner, dash, tick_sign = ("+", "-", "+") if fmt.ascii_only else ("└", "─", "┴")
    ruler, figures = [dash] * columns, [" "] * (columns + 6)
    for tick in Scale(0.0, axis.end_s, 0.0, 1.0).ticks(6):
        at = _column(tick, axis, columns)
        ruler[at] = tick_sign
        figures[at : at + len(tick_label(tick))] = tick_label(tick)
    yield Text(f"{'':{_LEFT_WIDTH - 1}}{corner}{''.join(ruler)}")
    yield Text(f"{'':{_LEFT_WIDTH}}{''.join(figures).rstrip()} s")
    for window in axis.windows:
        first = _column(window.from_s, axis, columns)
        last = max(first + 1, _column(window.until_s, axis, columns))
        bar = ("x" if fmt.ascii_only else "▒") * (last - first)
        text = fmt.plain(formatting.fault_window(window), columns // 2)
        begins = _LEFT_WIDTH + first
        if begins + len(bar) + 1 + len(text) <= _LEFT_WIDTH + columns:
            yield Text(f"{'':{begins}}{bar} {text}")
        else:
            yield Text(f"{text:>{begins - 1}} {bar}")


def _column(at_s: float, axis: TimeAxis, columns: int) -> int:
    return min(columns - 1, max(0, int(columns * at_s / axis.end_s)))


def _variant_sign(number: int, fmt: TextFormat) -> str:
    return _VARIANT_SIGNS[number % len(_VARIANT_SIGNS)][fmt.ascii_only]


def _share_sign(share: float, fmt: TextFormat) -> str:
    """The sign of a share; the first and last signs are only for exactly 1 and exactly 0."""
    step = (
        0 if share == 1 else 4 if share == 0 else 1 if share > 2 / 3 else 2 if share > 1 / 3 else 3
    )
    return _SHARE_SIGNS[step][fmt.ascii_only]
