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
from lab.report.charts.colours import CROSS, Hand, hands
from lab.report.charts.data import Clock, Raw, clock, endpoints, said
from lab.report.charts.frame import LEFT, RIGHT, Panel
from lab.report.charts.svg import Chart, Scale, box, label, line, logarithmic, signs
from lab.results.result import Result

_MOST_POINTS = 2_500
"""Points in one chart. More would overlap, and make the file large."""
_TALL = 120.0
_GAP = 34.0
_STRIP = 20.0


def latency(result: Result, raw: Raw) -> Chart | None:
    """A panel for each endpoint, a line for each variant; None without answers.

    Single answers are drawn for at most `_MOST_POINTS` answers and three variants.
    """
    time = clock(result, raw)
    answered = [one for one in raw.samples if one.latency_ms is not None and one.latency_ms > 0]
    if time is None or not answered:
        return None
    drawn = hands(result.variants)
    with_points = len(answered) <= _MOST_POINTS and len(drawn) <= 3
    x = Scale(0.0, time.end_s, LEFT, RIGHT)
    y = 16.0 + frame.legend_height(drawn)
    parts = [frame.legend(drawn, 18, frame.line_sign)]
    if with_points and any(not one.ok for one in answered):
        parts.append(
            frame.key(RIGHT, 18, signs([(0, 0)], CROSS, "cross i-plain"), "an error, not an answer")
        )
    names, takes = frame.broken_names(Panel(x, x), time, y)
    parts.append(names)
    y += takes + 22
    for endpoint in endpoints(result):
        own = [one for one in answered if one.endpoint == endpoint]
        if not own:
            continue
        scale = logarithmic((one.latency_ms or 0.0 for one in own), y + _TALL, y)
        panel = Panel(x, scale)
        parts += [frame.windows(panel, time), frame.grid(panel, endpoint, "ms, log scale")]
        for hand in drawn:
            mine = [one for one in own if one.variant == hand.variant]
            parts.append(_one_line(panel, time, hand, mine, with_points))
        y += _TALL + _GAP
    parts.append(frame.time_axis(panel))
    return Chart(
        "latency-over-time",
        "Latency over time",
        _latency_says(result, time),
        y + 8,
        "".join(parts),
    )


def _one_line(
    panel: Panel, time: Clock, hand: Hand, samples: list[Sample], with_points: bool
) -> str:
    parts = []
    if with_points:
        for ok, shape, kind in ((True, hand.shape, "faint"), (False, CROSS, "cross")):
            points = [
                panel.at(time.of(one), one.latency_ms or 0.0) for one in samples if one.ok is ok
            ]
            parts.append(signs(points, shape, hand.kind(kind)))
    middles: list[tuple[float, float] | None] = []
    begins = {stage.from_s for stage in time.stages}
    for number, found in enumerate(time.binned(samples)):
        value = percentile([one.latency_ms or 0.0 for one in found if one.ok], 50)
        if any(abs(time.edges[number] - one) < 1e-6 for one in begins):
            middles.append(None)  # a line across a stage's edge would show a step as a slope
        middles.append(None if value is None else panel.at(time.middle(number), value))
    parts.append(line(middles, hand.kind("line")))
    around = zip([None, *middles], middles, [*middles[1:], None], strict=False)
    alone = [one for before, one, after in around if one and not before and not after]
    shown = alone if with_points else [one for one in middles if one]
    parts.append(signs(shown, hand.shape, hand.kind("dot")))
    return "".join(parts)


def _latency_says(result: Result, time: Clock) -> str:
    told = ["Time of each answer by the moment it was due, in milliseconds on a logarithmic scale."]
    told += [_windows_say(time)]
    for variant in result.variants:
        feeds = [
            f"{phase} {formatting.ms(of.latency_ms.p50)} ms"
            for phase, figures in variant.phases.items()
            if (of := figures.endpoints.get("read_feed")) and of.ok
        ]
        if feeds:
            told.append(f"{variant.name}, read_feed, p50: {', '.join(feeds)}.")
    return " ".join(told)


def _windows_say(time: Clock) -> str:
    spans = [f"{said(one)} from {one.from_s:.1f} s to {one.until_s:.1f} s" for one in time.windows]
    return f"{'; '.join(spans)}." if spans else "Nothing was broken."


def success(result: Result, raw: Raw) -> Chart | None:
    """A strip for each endpoint and variant: the share of good answers; None without requests."""
    time = clock(result, raw)
    sent = [one for one in raw.samples if not one.dropped]
    if time is None or not sent:
        return None
    drawn = hands(result.variants)
    left = LEFT + 76
    x = Scale(0.0, time.end_s, left, RIGHT)
    y = 16.0
    parts = [
        label(
            LEFT - 48,
            y + 2,
            "Full height: every request of that moment; blank: none was due",
            "soft small",
        ),
        frame.key(RIGHT, y - 2, box(-6, -6, 14, 12, "lost"), "failed"),
    ]
    names, takes = frame.broken_names(Panel(x, x), time, y + 8)
    parts.append(names)
    y += takes + 28
    for endpoint in endpoints(result):
        parts.append(label(LEFT - 48, y, endpoint, "strong"))
        y += 8
        for hand in drawn:
            own = [one for one in sent if (one.variant, one.endpoint) == (hand.variant, endpoint)]
            panel = Panel(x, Scale(0.0, 1.0, y + _STRIP, y))
            parts.append(label(left - 8, y + 14, hand.variant, "small", "end", limit=19))
            parts += _strip(panel, time, hand, own)
            parts.append(frame.windows(panel, time, [hand.variant]))
            y += _STRIP + 6
        y += 22
    floor = Panel(x, Scale(0.0, 1.0, y - 22, y - 28))
    parts.append(frame.time_axis(floor))
    return Chart(
        "success-over-time",
        "Success over time",
        _success_says(result, time),
        y + 16,
        "".join(parts),
    )


def _strip(panel: Panel, time: Clock, hand: Hand, samples: list[Sample]) -> Sequence[str]:
    """A bar for each bin: good answers filled, failed ones hatched, empty bins blank."""
    parts = [line([(panel.x.start, panel.y.start), (panel.x.end, panel.y.start)], "edge")]
    for number, found in enumerate(time.binned(samples)):
        if not found:
            continue
        x = panel.x(time.edges[number])
        width = panel.x(time.edges[number + 1]) - x - 0.6
        share = sum(one.ok for one in found) / len(found)
        top = panel.y(share)
        parts.append(box(x, top, width, panel.y.start - top, hand.kind("fill")))
        if share < 1:
            parts.append(box(x, panel.y.end, width, top - panel.y.end, "lost"))
    return parts


def _success_says(result: Result, time: Clock) -> str:
    told = [f"Share of good answers by the moment they were due. {_windows_say(time)}"]
    for variant in result.variants:
        for phase, figures in variant.phases.items():
            bad = [
                f"{name} {formatting.success(of.success)}"
                for name, of in figures.endpoints.items()
                if of.failed
            ]
            if bad:
                told.append(f"{variant.name}, {phase}: {', '.join(bad)}.")
    return " ".join(told if len(told) > 1 else [*told, "Every request was answered well."])
