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

from lab.experiment.lag import Reading
from lab.load.metrics import percentile
from lab.load.samples import Sample
from lab.report import formatting
from lab.report.charts import Raw
from lab.report.charts.data import Clock, clock, endpoints, said
from lab.report.charts.lag import fell_behind
from lab.report.charts.svg import Scale, linear, logarithmic, told
from lab.report.formatting import Look
from lab.results.result import Endpoint, Result

# ── Latency spread

_SPREAD_LEFT = 16
_RIGHT = 22
_NARROWEST_SPREAD = 16
_MOST_PHASES = 3


@dataclass(frozen=True, slots=True)
class _Signs:
    """The characters of a line: up to the p95, beyond it, at the p95, at the maximum, visible.

    The p50 has the sign of the variant.
    """

    usual: str
    rare: str
    p95: str
    end: str
    visible: str


_DRAWN = _Signs("━", "─", "┿", "┤", "◌")
_TYPED = _Signs("=", "-", "+", "|", "V")


def spread(result: Result, signs: list[str], inks: list[str], look: Look) -> Iterator[Text]:
    """A block for each endpoint; nothing if there are many phases or the terminal is narrow.

    `signs`, `inks`: the sign and the colour of each variant.
    """
    columns = min(100, look.width) - _SPREAD_LEFT - _RIGHT
    phases = list(result.variants[0].phases) if result.variants else []
    if columns < _NARROWEST_SPREAD or not 0 < len(phases) <= _MOST_PHASES:
        return
    drawn = _TYPED if look.ascii_only else _DRAWN
    yield Text()
    yield Text("Spread: p50, p95 and max of the good answers, ms", "bold")
    for endpoint in endpoints(result):
        rows = [
            (phase, number, of)
            for phase in phases
            for number, variant in enumerate(result.variants)
            if phase in variant.phases
            if (of := variant.phases[phase].endpoints.get(endpoint)) and of.latency_ms.p50
        ]
        x = logarithmic((time for _, _, of in rows for time in _times(of)), 0, columns - 1)
        yield Text()
        yield Text(endpoint, "bold")
        shown = ""
        for phase, number, of in rows:
            name = "" if phase == shown else look.plain(phase, _SPREAD_LEFT - 4)
            shown = phase
            line = Text(_line(of, x, columns, signs[number], drawn), inks[number])
            yield Text.assemble(
                f"{name:<{_SPREAD_LEFT - 2}}{signs[number]} ", line, "  ", _figures(of)
            )
        if rows:
            yield Text(f"{'':{_SPREAD_LEFT}}{_spread_axis(x, columns)}", "dim")
    yield Text(
        f"{'':{_SPREAD_LEFT}}{drawn.p95} p95, {drawn.end} max, {drawn.visible} visible (p50)", "dim"
    )


def _times(of: Endpoint) -> list[float]:
    seen = of.visible_ms.p50 if of.visible_ms else None
    return [time for time in (of.latency_ms.p50, of.latency_ms.max, seen) if time]


def _line(of: Endpoint, x: Scale, columns: int, sign: str, drawn: _Signs) -> str:
    line = [" "] * columns
    p50, p95, most = (
        round(x(time or of.latency_ms.p50 or x.low))
        for time in (of.latency_ms.p50, of.latency_ms.p95, of.latency_ms.max)
    )
    line[p50:most] = drawn.rare * (most - p50)
    line[p50:p95] = drawn.usual * (p95 - p50)
    line[most] = drawn.end
    line[p95] = drawn.p95
    if of.visible_ms and of.visible_ms.p50:
        line[round(x(of.visible_ms.p50))] = drawn.visible
    line[p50] = sign
    return "".join(line)


def _figures(of: Endpoint) -> str:
    latency = of.latency_ms
    return " ".join(
        f"{formatting.short_ms(time):>5}" for time in (latency.p50, latency.p95, latency.max)
    )


def _spread_axis(x: Scale, columns: int) -> str:
    line = [" "] * (columns + 6)
    for tick in x.ticks():
        at, text = round(x(tick)), told(tick)
        if not "".join(line[at : at + len(text)]).strip():
            line[at : at + len(text)] = text
    return f"{''.join(line).rstrip():<{columns}}"


# ── Figures over time

_ROWS = 6
_LEFT = 12
_NARROWEST = 20
_SIGNS = (("●", "o"), ("□", "#"), ("▲", "^"), ("◇", "*"), ("▽", "v"), ("+", "+"))
_INKS = ("yellow", "blue", "green", "magenta", "cyan", "")
_SHARES = (("█", "#"), ("▆", "+"), ("▄", "="), ("▂", "-"), ("×", "x"))
"""Signs for the share of good answers: all, over 2/3, over 1/3, fewer, none."""


def plots(result: Result, raw: Raw, console: Console) -> None:
    """Print the plots, or the reason why there are none."""
    look = Look.of(console)
    time, columns = clock(result, raw), min(100, look.width - _LEFT - 1)
    if time is None or columns < _NARROWEST:
        why = "there are no samples" if time is None else "the terminal is too narrow"
        console.print(look.text(f"Nothing to plot: {why}."))
        return
    for line in _lines(result, raw, time, columns, look):
        console.print(line, no_wrap=True, overflow="crop")


def _lines(result: Result, raw: Raw, time: Clock, columns: int, look: Look) -> Iterator[Text]:
    names = [variant.name for variant in result.variants]
    key = [f"{_sign(number, look)} {look.plain(name, 24)}" for number, name in enumerate(names)]
    yield Text()
    yield Text("Over time: p50 of the good answers, ms", "bold")
    yield Text(f"{'':{_LEFT}}{'   '.join(key)}")
    for endpoint in endpoints(result):
        own = [one for one in raw.samples if one.endpoint == endpoint and not one.dropped]
        yield Text()
        yield from _latency(names, time, endpoint, own, columns, look)
        yield from _success(names, time, own, columns, look)
    for service in fell_behind(result, raw):
        yield Text()
        yield Text.assemble((service, "bold"), " behind the bus's head, events")
        readings = [one for one in raw.readings if one.service == service]
        yield from _lag(names, time, readings, columns, look)
    yield from _axis(time, columns, look)
    if not all(one.ok for one in raw.samples if not one.dropped):
        full, least = _share(1.0, look), _share(0.0, look)
        yield Text(f"{'':{_LEFT}}good answers: {full} all, {least} none, blank: none due", "dim")
    yield Text(f"{'':{_LEFT}}where signs fall together, the last one is seen", "dim")
    signs = [_sign(number, look) for number in range(len(names))]
    inks = [_INKS[number % len(_INKS)] for number in range(len(names))]
    yield from spread(result, signs, inks, look)


def _latency(
    names: Sequence[str], time: Clock, endpoint: str, own: list[Sample], columns: int, look: Look
) -> Iterator[Text]:
    found: list[list[tuple[float, float]]] = []
    for name in names:
        bins = time.binned([one for one in own if one.variant == name])
        medians = (percentile([s.latency_ms or 0.0 for s in one if s.ok], 50) for one in bins)
        found.append([(time.middle(at), ms) for at, ms in enumerate(medians) if ms])
    yield look.text(endpoint, "bold")
    if not any(found):
        yield look.text(f"{'':{_LEFT}}not one good answer", "dim")
        return
    y = logarithmic((ms for points in found for _, ms in points), _ROWS - 0.51, -0.49)
    yield from _panel(found, y, time, columns, look)


def _lag(
    names: Sequence[str], time: Clock, own: list[Reading], columns: int, look: Look
) -> Iterator[Text]:
    """The maximum lag in each column."""
    found: list[list[tuple[float, float]]] = []
    for name in names:
        most: dict[int, tuple[float, float]] = {}
        for one in own:
            at_s = one.t - time.zero_s
            if one.variant == name and 0 <= at_s <= time.end_s:
                column = _column(at_s, time, columns)
                most[column] = max(most.get(column, (at_s, -1.0)), (at_s, one.lag), key=_second)
        found.append(list(most.values()))
    y = linear((lag for points in found for _, lag in points), _ROWS - 0.51, -0.49)
    yield from _panel(found, y, time, columns, look)


def _second(point: tuple[float, float]) -> float:
    return point[1]


def _panel(
    found: Sequence[Sequence[tuple[float, float]]], y: Scale, time: Clock, columns: int, look: Look
) -> Iterator[Text]:
    """A grid of characters with the signs of the points, and tick labels at its left edge."""
    grid = [[Text(" ") for _ in range(columns)] for _ in range(_ROWS)]
    for number, points in enumerate(found):
        for at_s, value in points:
            sign = Text(_sign(number, look), _INKS[number % len(_INKS)])
            grid[round(y(value))][_column(at_s, time, columns)] = sign
    figures = {round(y(tick)): f"{told(tick)} " for tick in reversed(y.ticks(3))}
    for row, line in enumerate(grid):
        edge = "|" if look.ascii_only else "│"
        yield Text.assemble(f"{figures.get(row, ''):>{_LEFT - 1}}{edge}", *line)


def _success(
    names: Sequence[str], time: Clock, own: list[Sample], columns: int, look: Look
) -> Iterator[Text]:
    """A line for each variant with failed requests."""
    for number, name in enumerate(names):
        mine = [one for one in own if one.variant == name]
        if all(one.ok for one in mine):
            continue
        bins = time.binned(mine)
        line = [" "] * columns
        for at, found in enumerate(bins):
            first = _column(time.edges[at], time, columns)
            last = _column(time.edges[at + 1], time, columns)
            if found:
                share = sum(one.ok for one in found) / len(found)
                line[first : max(last, first + 1)] = _share(share, look) * max(1, last - first)
        head = f"{'good':>{_LEFT - 4}} {_sign(number, look)} "
        yield Text.assemble(f"{head:<{_LEFT}}", ("".join(line)[:columns], _INKS[number % 6]))


def _axis(time: Clock, columns: int, look: Look) -> Iterator[Text]:
    """The axis in seconds, and a line for each fault window."""
    corner, dash, mark = ("+", "-", "+") if look.ascii_only else ("└", "─", "┴")
    ruler, figures = [dash] * columns, [" "] * (columns + 6)
    for tick in Scale(0.0, time.end_s, 0.0, 1.0).ticks(6):
        at = _column(tick, time, columns)
        ruler[at] = mark
        figures[at : at + len(told(tick))] = told(tick)
    yield Text(f"{'':{_LEFT - 1}}{corner}{''.join(ruler)}")
    yield Text(f"{'':{_LEFT}}{''.join(figures).rstrip()} s")
    for window in time.windows:
        first = _column(window.from_s, time, columns)
        last = max(first + 1, _column(window.until_s, time, columns))
        bar = ("x" if look.ascii_only else "▒") * (last - first)
        text = look.plain(said(window), columns // 2)
        begins = _LEFT + first
        if begins + len(bar) + 1 + len(text) <= _LEFT + columns:
            yield Text(f"{'':{begins}}{bar} {text}")
        else:
            yield Text(f"{text:>{begins - 1}} {bar}")


def _column(at_s: float, time: Clock, columns: int) -> int:
    return min(columns - 1, max(0, int(columns * at_s / time.end_s)))


def _sign(number: int, look: Look) -> str:
    return _SIGNS[number % len(_SIGNS)][look.ascii_only]


def _share(share: float, look: Look) -> str:
    """The sign of a share; the first and last signs are only for exactly 1 and exactly 0."""
    step = (
        0 if share == 1 else 4 if share == 0 else 1 if share > 2 / 3 else 2 if share > 1 / 3 else 3
    )
    return _SHARES[step][look.ascii_only]
