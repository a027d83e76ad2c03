"""Chart of consumer lag over time: how far each consumer was behind the bus's head.

While lag grows, requests still succeed; only the lag shows that the copies become stale.
"""

from itertools import groupby

from lab.experiment.lag import Reading
from lab.report import formatting
from lab.report.charts import frame
from lab.report.charts.colours import Hand, hands
from lab.report.charts.data import Clock, Raw, clock
from lab.report.charts.frame import LEFT, RIGHT, Panel
from lab.report.charts.svg import Chart, Scale, label, line, linear, signs
from lab.results.result import Result

FAR_BEHIND = 20
"""Events. A consumer with a smaller maximum lag is drawn only if an expectation is about it."""
_TALL = 110.0


def fell_behind(result: Result, raw: Raw) -> list[str]:
    """The consumers to draw, sorted: those that were far behind in any variant.

    If there are none: those that an expectation is about.
    """
    heard = {one.service for one in raw.readings}
    far = {one.service for one in raw.readings if one.lag >= FAR_BEHIND} or {
        name for name in heard if any(f".lag.{name}." in one.that for one in result.expectations)
    }
    return sorted(far)


def lag(result: Result, raw: Raw) -> Chart | None:
    """A panel for each consumer of `fell_behind`, a line for each variant; None without any."""
    time = clock(result, raw)
    far = fell_behind(result, raw)
    if time is None or not far:
        return None
    drawn = [
        hand
        for hand in hands(result.variants)
        if any(one.variant == hand.variant for one in raw.readings)
    ]
    x = Scale(0.0, time.end_s, LEFT, RIGHT)
    parts = [frame.legend(drawn, 18, frame.line_sign)]
    y = 16.0 + frame.legend_height(drawn)
    names, takes = frame.broken_names(Panel(x, x), time, y)
    parts.append(names)
    y += takes + 22
    for service in far:
        own = [one for one in raw.readings if one.service == service]
        panel = Panel(x, linear((float(one.lag) for one in own), y + _TALL, y))
        parts.append(frame.windows(panel, time, [hand.variant for hand in drawn]))
        parts.append(frame.grid(panel, service, "events behind the bus's head"))
        parts.append(label(RIGHT, y - 7, _drained(result, service), "small", "end", limit=84))
        parts += [_curve(panel, time, hand, own) for hand in drawn]
        y += _TALL + 36
    parts.append(frame.time_axis(panel))
    return Chart("lag", "Consumer lag, and how it drained", _says(result), y + 8, "".join(parts))


def _curve(panel: Panel, time: Clock, hand: Hand, readings: list[Reading]) -> str:
    mine = [one for one in readings if one.variant == hand.variant]
    mine = [one for one in mine if 0 <= one.t - time.zero_s <= time.end_s]
    # The first and the last of several equal readings are enough to draw the line.
    runs = [list(same) for _, same in groupby(mine, key=lambda one: one.lag)]
    kept = [one for run in runs for one in (run[:1] if len(run) == 1 else (run[0], run[-1]))]
    points = [panel.at(one.t - time.zero_s, one.lag) for one in kept]
    top = min(points, key=lambda point: point[1], default=None)
    return line(points, hand.kind("line")) + signs(
        [top] if top else [], hand.shape, hand.kind("dot")
    )


def _drained(result: Result, service: str) -> str:
    """The maximum lag and the drain time in each variant in which the consumer was far behind."""
    told = []
    for variant in result.variants:
        of = variant.lag.get(service)
        if of and of.max >= FAR_BEHIND:
            after = of.drained_seconds
            level = "" if after is None else f", level after {formatting.seconds(after)}"
            told.append(f"{variant.name}: {of.max} at most{level}")
    return "; ".join(told)


def _says(result: Result) -> str:
    told = [
        f"{variant.name}, {service}: at most {of.max} events behind"
        + (f", level again after {of.drained_seconds:.1f} s." if of.drained_seconds else ".")
        for variant in result.variants
        for service, of in variant.lag.items()
    ]
    return " ".join(["Events told on the bus and not yet heard, over time.", *told])
