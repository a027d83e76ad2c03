"""A run's course in the terminal: latency, success and lag over time, in as many columns as there
are.

The same bins and the same medians as in the charts, with letters instead of lines: each variant has
a sign of its own, which the first line explains, and where two fall on one place the later one is
seen. The scale is logarithmic, for a few milliseconds and a few seconds stand in one picture.
"""

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from lab.load.metrics import percentile
from lab.load.samples import Sample
from lab.report.cells import Look
from lab.report.charts import Raw
from lab.report.charts.behind import fell_behind
from lab.report.charts.raw import Clock, clock, endpoints, said
from lab.report.charts.scales import Scale, linear, logarithmic, told
from lab.report.plot_spread import spread
from lab.scenarios.lag import Reading
from lab.scenarios.result import Result

_ROWS = 6
_LEFT = 12
_NARROWEST = 20
_SIGNS = (("●", "o"), ("□", "#"), ("▲", "^"), ("◇", "*"), ("▽", "v"), ("+", "+"))
_INKS = ("yellow", "blue", "green", "magenta", "cyan", "")
_SHARES = (("█", "#"), ("▆", "+"), ("▄", "="), ("▂", "-"), ("×", "x"))
"""From all good to none, by fourths; nothing was due is a blank."""


def plots(result: Result, raw: Raw, console: Console) -> None:
    """Print them; where there is nothing to print, why."""
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
    """The greatest lag that falls on each column."""
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
    """Signs on a grid of letters, with figures at its left edge."""
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
    """A line for each variant, where not everything was good."""
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
    """Seconds, and what was broken from when to when, a line each."""
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
    """Only what was wholly good looks so, and only what wholly failed."""
    step = (
        0 if share == 1 else 4 if share == 0 else 1 if share > 2 / 3 else 2 if share > 1 / 3 else 3
    )
    return _SHARES[step][look.ascii_only]
