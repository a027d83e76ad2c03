"""Charts of latency and success over time, with the fault windows in the background.

Latency counts from the intended send time, which is also the position on the x axis. So a queue
that drains is a ramp: the earliest requests waited longest. Each answer is a point, unless there
are too many; the line is the median of the good answers in each bin.
"""

from collections.abc import Sequence

from lab.load.metrics import percentile
from lab.load.samples import Sample
from lab.report import formatting
from lab.report.charts import frame
from lab.report.charts.colours import CROSS_SHAPE, SeriesStyle, series_styles
from lab.report.charts.data import ChartData, TimeAxis, endpoints, time_axis
from lab.report.charts.frame import LEFT, RIGHT, Panel
from lab.report.charts.svg import Chart, Scale, label, line, logarithmic, markers, rect
from lab.results.result import RunResult

_MAX_POINTS = 2_500
"""Points in one chart. More would overlap, and make the file large."""
_PANEL_HEIGHT = 120.0
_PANEL_GAP = 34.0
_STRIP_HEIGHT = 20.0


def latency(result: RunResult, data: ChartData) -> Chart | None:
    """A panel for each endpoint, a line for each variant; None without answers.

    Single answers are drawn for at most `_MAX_POINTS` answers and three variants.
    """
    axis = time_axis(result, data)
    answered = [
        sample for sample in data.samples if sample.latency_ms is not None and sample.latency_ms > 0
    ]
    if axis is None or not answered:
        return None
    styles = series_styles(result.variants)
    with_points = len(answered) <= _MAX_POINTS and len(styles) <= 3
    x = Scale(0.0, axis.end_s, LEFT, RIGHT)
    y = 16.0 + frame.legend_height(styles)
    parts = [frame.legend(styles, 18, frame.line_symbol)]
    if with_points and any(not sample.ok for sample in answered):
        parts.append(
            frame.legend_entry(
                RIGHT,
                18,
                markers([(0, 0)], CROSS_SHAPE, "cross i-plain"),
                "an error, not an answer",
            )
        )
    names, label_height = frame.window_labels(Panel(x, x), axis, y)
    parts.append(names)
    y += label_height + 22
    for endpoint in endpoints(result):
        endpoint_samples = [sample for sample in answered if sample.endpoint == endpoint]
        if not endpoint_samples:
            continue
        scale = logarithmic(
            (sample.latency_ms or 0.0 for sample in endpoint_samples), y + _PANEL_HEIGHT, y
        )
        panel = Panel(x, scale)
        parts += [frame.fault_windows(panel, axis), frame.grid(panel, endpoint, "ms, log scale")]
        for style in styles:
            variant_samples = [
                sample for sample in endpoint_samples if sample.variant == style.variant
            ]
            parts.append(_median_line(panel, axis, style, variant_samples, with_points))
        y += _PANEL_HEIGHT + _PANEL_GAP
    parts.append(frame.draw_time_axis(panel))
    return Chart(
        "latency-over-time",
        "Latency over time",
        _describe_latency(result, axis),
        y + 8,
        "".join(parts),
    )


def _median_line(
    panel: Panel, axis: TimeAxis, style: SeriesStyle, samples: list[Sample], with_points: bool
) -> str:
    parts = []
    if with_points:
        for ok, shape, kind in ((True, style.shape, "faint"), (False, CROSS_SHAPE, "cross")):
            points = [
                panel.point(axis.position(sample), sample.latency_ms or 0.0)
                for sample in samples
                if sample.ok is ok
            ]
            parts.append(markers(points, shape, style.css_class(kind)))
    medians: list[tuple[float, float] | None] = []
    stage_starts = {stage.from_s for stage in axis.stages}
    for number, bin_samples in enumerate(axis.bin_samples(samples)):
        value = percentile([sample.latency_ms or 0.0 for sample in bin_samples if sample.ok], 50)
        if any(abs(axis.edges[number] - start_s) < 1e-6 for start_s in stage_starts):
            medians.append(None)  # a line across a stage's edge would show a step as a slope
        medians.append(None if value is None else panel.point(axis.bin_middle(number), value))
    parts.append(line(medians, style.css_class("line")))
    neighbours = zip([None, *medians], medians, [*medians[1:], None], strict=False)
    isolated = [one for before, one, after in neighbours if one and not before and not after]
    marked = isolated if with_points else [median for median in medians if median]
    parts.append(markers(marked, style.shape, style.css_class("dot")))
    return "".join(parts)


def _describe_latency(result: RunResult, axis: TimeAxis) -> str:
    sentences = [
        "Time of each answer by the moment it was due, in milliseconds on a logarithmic scale."
    ]
    sentences += [_describe_windows(axis)]
    for variant in result.variants:
        feeds = [
            f"{phase} {formatting.ms(endpoint.latency_ms.p50)} ms"
            for phase, figures in variant.phases.items()
            if (endpoint := figures.endpoints.get("read_feed")) and endpoint.ok
        ]
        if feeds:
            sentences.append(f"{variant.name}, read_feed, p50: {', '.join(feeds)}.")
    return " ".join(sentences)


def _describe_windows(axis: TimeAxis) -> str:
    spans = [
        f"{formatting.fault_window(window)} from {window.from_s:.1f} s to {window.until_s:.1f} s"
        for window in axis.windows
    ]
    return f"{'; '.join(spans)}." if spans else "Nothing was broken."


def success(result: RunResult, data: ChartData) -> Chart | None:
    """A strip for each endpoint and variant: the share of good answers; None without requests."""
    axis = time_axis(result, data)
    sent = [sample for sample in data.samples if not sample.dropped]
    if axis is None or not sent:
        return None
    styles = series_styles(result.variants)
    left = LEFT + 76
    x = Scale(0.0, axis.end_s, left, RIGHT)
    y = 16.0
    parts = [
        label(
            LEFT - 48,
            y + 2,
            "Full height: every request of that moment; blank: none was due",
            "soft small",
        ),
        frame.legend_entry(RIGHT, y - 2, rect(-6, -6, 14, 12, "lost"), "failed"),
    ]
    names, label_height = frame.window_labels(Panel(x, x), axis, y + 8)
    parts.append(names)
    y += label_height + 28
    for endpoint in endpoints(result):
        parts.append(label(LEFT - 48, y, endpoint, "strong"))
        y += 8
        for style in styles:
            variant_samples = [
                sample
                for sample in sent
                if (sample.variant, sample.endpoint) == (style.variant, endpoint)
            ]
            panel = Panel(x, Scale(0.0, 1.0, y + _STRIP_HEIGHT, y))
            parts.append(label(left - 8, y + 14, style.variant, "small", "end", limit=19))
            parts += _strip(panel, axis, style, variant_samples)
            parts.append(frame.fault_windows(panel, axis, [style.variant]))
            y += _STRIP_HEIGHT + 6
        y += 22
    floor = Panel(x, Scale(0.0, 1.0, y - 22, y - 28))
    parts.append(frame.draw_time_axis(floor))
    return Chart(
        "success-over-time",
        "Success over time",
        _describe_success(result, axis),
        y + 16,
        "".join(parts),
    )


def _strip(
    panel: Panel, axis: TimeAxis, style: SeriesStyle, samples: list[Sample]
) -> Sequence[str]:
    """A bar for each bin: good answers filled, failed ones hatched, empty bins blank."""
    parts = [line([(panel.x.start, panel.y.start), (panel.x.end, panel.y.start)], "edge")]
    for number, bin_samples in enumerate(axis.bin_samples(samples)):
        if not bin_samples:
            continue
        x = panel.x(axis.edges[number])
        width = panel.x(axis.edges[number + 1]) - x - 0.6
        share = sum(sample.ok for sample in bin_samples) / len(bin_samples)
        top = panel.y(share)
        parts.append(rect(x, top, width, panel.y.start - top, style.css_class("fill")))
        if share < 1:
            parts.append(rect(x, panel.y.end, width, top - panel.y.end, "lost"))
    return parts


def _describe_success(result: RunResult, axis: TimeAxis) -> str:
    sentences = [f"Share of good answers by the moment they were due. {_describe_windows(axis)}"]
    for variant in result.variants:
        for phase, figures in variant.phases.items():
            bad = [
                f"{name} {formatting.success(endpoint.success)}"
                for name, endpoint in figures.endpoints.items()
                if endpoint.failed
            ]
            if bad:
                sentences.append(f"{variant.name}, {phase}: {', '.join(bad)}.")
    return " ".join(
        sentences if len(sentences) > 1 else [*sentences, "Every request was answered well."]
    )
