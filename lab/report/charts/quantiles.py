"""Chart of latency quantiles: for each share of the good answers, their longest latency.

The x axis is that of HdrHistogram's plots, -log10(1 - share): each step to the right is ten times
rarer, so the tail, which an average hides, gets most of the space. A curve ends where its samples
end: sixty answers have no p99, and none is drawn.
"""

from collections import defaultdict
from collections.abc import Sequence
from math import log10

from lab.report import formatting
from lab.report.charts import frame
from lab.report.charts.colours import SeriesStyle, series_styles
from lab.report.charts.data import ChartData, endpoints
from lab.report.charts.frame import LEFT, RIGHT, Panel
from lab.report.charts.svg import Chart, Scale, label, line, logarithmic, markers
from lab.results.result import RunResult

MAX_PHASES = 3
_TICKS = ((0.0, "0"), (0.5, "50 %"), (0.9, "90"), (0.99, "99"), (0.999, "99.9"))
_PANEL_HEIGHT = 110.0
_PANEL_GAP = 18.0
_MIN_ANSWERS = 5
_MARKER_INTERVAL = 7


def quantiles(result: RunResult, data: ChartData) -> Chart | None:
    """A row of panels for each endpoint, a panel for each phase, a curve for each variant.

    A curve needs at least five good answers. None without curves, or with more than `MOST_PHASES`
    phases: the blast-radius chart shows those better.
    """
    phases = list(result.variants[0].phases) if result.variants else []
    good: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for sample in data.samples:
        if sample.ok and sample.latency_ms:
            good[sample.variant, sample.phase, sample.endpoint].append(sample.latency_ms)
    curves = {key: sorted(found) for key, found in good.items() if len(found) >= _MIN_ANSWERS}
    if not curves or len(phases) > MAX_PHASES:
        return None
    styles = series_styles(result.variants)
    max_rarity = max(log10(len(found)) for found in curves.values())
    width = (RIGHT - LEFT - _PANEL_GAP * (len(phases) - 1)) / len(phases)
    parts = [frame.legend(styles, 18, frame.line_symbol)]
    y = 16.0 + frame.legend_height(styles) + 22
    for number, phase in enumerate(phases):
        x = LEFT + number * (width + _PANEL_GAP)
        parts.append(label(x + width / 2, y - 8, phase, "soft", "middle", limit=24))
    y += 18
    for endpoint in endpoints(result):
        latencies = [
            latency_ms
            for (_, _, name), curve in curves.items()
            if name == endpoint
            for latency_ms in curve
        ]
        if not latencies:
            continue
        for number, phase in enumerate(phases):
            x = LEFT + number * (width + _PANEL_GAP)
            panel = Panel(
                Scale(0.0, max_rarity, x, x + width), logarithmic(latencies, y + _PANEL_HEIGHT, y)
            )
            is_first = number == 0
            parts.append(
                frame.grid(
                    panel,
                    endpoint if is_first else "",
                    "ms, log scale" if is_first else "",
                    4,
                    is_first,
                )
            )
            parts.append(_quantile_axis(panel))
            parts += [
                _curve(panel, style, curves.get((style.variant, phase, endpoint), ()))
                for style in styles
            ]
        y += _PANEL_HEIGHT + 50
    parts.append(
        label(RIGHT, y - 14, "share of the good answers that took no longer", "soft small", "end")
    )
    return Chart(
        "latency-quantiles", "Latency quantiles", _describe(result, phases), y, "".join(parts)
    )


def _quantile_axis(panel: Panel) -> str:
    floor = panel.y.start
    parts = []
    for share, text in _TICKS:
        rarity = -log10(1 - share)
        if rarity <= panel.x.high:
            x = panel.x(rarity)
            parts.append(line([(x, floor), (x, panel.y.end)], "grid"))
            parts.append(label(x, floor + 15, text, "soft small", "middle"))
    return "".join(parts)


def _curve(panel: Panel, style: SeriesStyle, values: Sequence[float]) -> str:
    """The curve through the sorted `values` (ms).

    A value less than 1.5 units right of the last drawn one is left out, except the 19 slowest.
    """
    count = len(values)
    points = []
    last = -1.0
    for number, value in enumerate(values):
        rarity = -log10(1 - number / count)
        if panel.x(rarity) - last >= 1.5 or count - number < 20:
            last = panel.x(rarity)
            points.append((last, panel.y(value)))
    return line(points, style.css_class("line")) + markers(
        points[-1:]
        + points[: -max(1, _MARKER_INTERVAL // 2) : max(_MARKER_INTERVAL, len(points) // 6)],
        style.shape,
        style.css_class("dot"),
    )


def _describe(result: RunResult, phases: Sequence[str]) -> str:
    sentences = ["Sorted times of the good answers, in milliseconds on a logarithmic scale."]
    for variant in result.variants:
        for phase in phases:
            figures = variant.phases.get(phase)
            feed = figures.endpoints.get("read_feed") if figures else None
            if feed and feed.ok:
                p50, p95 = formatting.ms(feed.latency_ms.p50), formatting.ms(feed.latency_ms.p95)
                sentences.append(f"{variant.name}, {phase}, read_feed: p50 {p50} ms, p95 {p95} ms.")
    return " ".join(sentences)
