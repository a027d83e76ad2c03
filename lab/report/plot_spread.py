"""How latency is spread, in the terminal: from the p50 over the p95 to the slowest, a line for each
phase and variant, and for a write the moment at which the feed showed it."""

from collections.abc import Iterator
from dataclasses import dataclass

from rich.text import Text

from lab.report import cells
from lab.report.cells import Look
from lab.report.charts.raw import endpoints
from lab.report.charts.scales import Scale, logarithmic, told
from lab.scenarios.result import Endpoint, Result

_LEFT = 16
_RIGHT = 22
_NARROWEST = 16
_MOST_PHASES = 3


@dataclass(frozen=True, slots=True)
class _Signs:
    """p50 (the variant's own), the way to the p95 and beyond it, both ends, and visible."""

    usual: str
    rare: str
    p95: str
    end: str
    visible: str


_DRAWN = _Signs("━", "─", "┿", "┤", "◌")
_TYPED = _Signs("=", "-", "+", "|", "V")


def spread(result: Result, signs: list[str], inks: list[str], look: Look) -> Iterator[Text]:
    """A block for each kind of request; nothing of a run with many phases, or in a narrow terminal.

    `signs`, `inks`: each variant's.
    """
    columns = min(100, look.width) - _LEFT - _RIGHT
    phases = list(result.variants[0].phases) if result.variants else []
    if columns < _NARROWEST or not 0 < len(phases) <= _MOST_PHASES:
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
            name = "" if phase == shown else look.plain(phase, _LEFT - 4)
            shown = phase
            line = Text(_line(of, x, columns, signs[number], drawn), inks[number])
            yield Text.assemble(f"{name:<{_LEFT - 2}}{signs[number]} ", line, "  ", _figures(of))
        if rows:
            yield Text(f"{'':{_LEFT}}{_axis(x, columns)}", "dim")
    yield Text(
        f"{'':{_LEFT}}{drawn.p95} p95, {drawn.end} max, {drawn.visible} visible (p50)", "dim"
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
        f"{cells.short_ms(time):>5}" for time in (latency.p50, latency.p95, latency.max)
    )


def _axis(x: Scale, columns: int) -> str:
    line = [" "] * (columns + 6)
    for tick in x.ticks():
        at, text = round(x(tick)), told(tick)
        if not "".join(line[at : at + len(text)]).strip():
            line[at : at + len(text)] = text
    return f"{''.join(line).rstrip():<{columns}}"
