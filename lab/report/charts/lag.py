"""Chart of consumer lag over time: the events between the end of the log and its offset.

While lag grows, requests still succeed; only the lag shows that the copies become stale.
"""

from itertools import groupby

from lab.experiment.lag import LagReading
from lab.report import formatting
from lab.report.charts import frame
from lab.report.charts.colours import SeriesStyle, series_styles
from lab.report.charts.data import ChartData, TimeAxis, time_axis
from lab.report.charts.frame import LEFT, RIGHT, Panel
from lab.report.charts.svg import Chart, Scale, label, line, linear, markers
from lab.results.result import RunResult

LAG_THRESHOLD = 20
"""Events. A consumer with a smaller maximum lag is drawn only if an expectation is about it."""
_PANEL_HEIGHT = 110.0


def lagging_consumers(result: RunResult, data: ChartData) -> list[str]:
    """The consumers to draw, sorted: those that were far behind in any variant.

    If there are none: those that an expectation is about.
    """
    consumers = {reading.service for reading in data.readings}
    lagging = {reading.service for reading in data.readings if reading.lag >= LAG_THRESHOLD} or {
        name
        for name in consumers
        if any(f".lag.{name}." in expectation.that for expectation in result.expectations)
    }
    return sorted(lagging)


def lag(result: RunResult, data: ChartData) -> Chart | None:
    """A panel for each of the `lagging_consumers`, a line for each variant; None without any."""
    axis = time_axis(result, data)
    consumers = lagging_consumers(result, data)
    if axis is None or not consumers:
        return None
    styles = [
        style
        for style in series_styles(result.variants)
        if any(reading.variant == style.variant for reading in data.readings)
    ]
    x = Scale(0.0, axis.end_s, LEFT, RIGHT)
    parts = [frame.legend(styles, 18, frame.line_symbol)]
    y = 16.0 + frame.legend_height(styles)
    names, label_height = frame.window_labels(Panel(x, x), axis, y)
    parts.append(names)
    y += label_height + 22
    for service in consumers:
        service_readings = [reading for reading in data.readings if reading.service == service]
        panel = Panel(
            x, linear((float(reading.lag) for reading in service_readings), y + _PANEL_HEIGHT, y)
        )
        parts.append(frame.fault_windows(panel, axis, [style.variant for style in styles]))
        parts.append(frame.grid(panel, service, "events"))
        parts.append(label(RIGHT, y - 7, _drain_summary(result, service), "small", "end", limit=84))
        parts += [_curve(panel, axis, style, service_readings) for style in styles]
        y += _PANEL_HEIGHT + 36
    parts.append(frame.draw_time_axis(panel))
    return Chart(
        "lag", "Consumer lag, and how it drained", _describe(result), y + 8, "".join(parts)
    )


def _curve(panel: Panel, axis: TimeAxis, style: SeriesStyle, readings: list[LagReading]) -> str:
    variant_readings = [reading for reading in readings if reading.variant == style.variant]
    variant_readings = [
        reading for reading in variant_readings if 0 <= reading.t - axis.origin_s <= axis.end_s
    ]
    # The first and the last of several equal readings are enough to draw the line.
    runs = [list(same) for _, same in groupby(variant_readings, key=lambda reading: reading.lag)]
    ends = [one for run in runs for one in (run[:1] if len(run) == 1 else (run[0], run[-1]))]
    points = [panel.point(reading.t - axis.origin_s, reading.lag) for reading in ends]
    top = min(points, key=lambda point: point[1], default=None)
    return line(points, style.css_class("line")) + markers(
        [top] if top else [], style.shape, style.css_class("dot")
    )


def _drain_summary(result: RunResult, service: str) -> str:
    """The maximum lag and the drain time in each variant in which the consumer was far behind."""
    clauses = []
    for variant in result.variants:
        lag_result = variant.lag.get(service)
        if lag_result and lag_result.max >= LAG_THRESHOLD:
            drain_s = lag_result.drained_seconds
            level = "" if drain_s is None else f", drained after {formatting.seconds(drain_s)}"
            clauses.append(f"{variant.name}: {lag_result.max} at most{level}")
    return "; ".join(clauses)


def _describe(result: RunResult) -> str:
    sentences = [
        f"{variant.name}, {service}: at most {lag_result.max} events behind"
        + (
            f", drained after {lag_result.drained_seconds:.1f} s."
            if lag_result.drained_seconds
            else "."
        )
        for variant in result.variants
        for service, lag_result in variant.lag.items()
    ]
    return " ".join(["Events published and not yet consumed, over time.", *sentences])
