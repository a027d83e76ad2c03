"""Compares two saved runs: their conditions, their figures, and the changed verdicts."""

from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from lab.report import formatting
from lab.report.formatting import Look
from lab.report.terminal import wide_tables
from lab.results.result import Endpoint, Expectation, Result, Variant


def render(one: Result, other: Result, console: Console) -> None:
    """Print the comparison of two runs, of the same scenario or of different ones."""
    console.print(Group(*_blocks(one, other, Look.of(console))), soft_wrap=False)


def _blocks(one: Result, other: Result, look: Look) -> Iterator[RenderableType]:
    for letter, run in (("A", one), ("B", other)):
        kind = ", quick" if run.quick else ""
        broken = "" if run.valid else "   INVALID"
        head = f"{letter}  {run.scenario}, seed {run.seed}{kind}, {run.started}{broken}"
        yield look.text(head, "bold" if run.valid else "bold red", limit=120)
    yield from (Padding(look.text(line), (0, 0, 0, 3)) for line in _not_alike(one, other))
    common = [name for name in _names(one) if other.variant(name)]
    for name in common:
        first, second = one.variant(name), other.variant(name)
        assert first
        assert second
        yield Padding(_figures(first, second, look), (1, 0, 0, 0), expand=False)
    if not common:
        yield Text("\nThey have no variant in common, so there are no figures to compare.")
    yield from _verdicts(one, other, look)


def _not_alike(one: Result, other: Result) -> Iterator[str]:
    """The differences in conditions that limit the comparison, a sentence each."""
    if one.scenario != other.scenario:
        yield "Two scenarios: what differs may be due to what was done."
    if one.quick != other.quick:
        yield "One of them was quick: half the time, half the samples."
    for key in sorted(set(one.environment) | set(other.environment)):
        here, there = one.environment.get(key), other.environment.get(key)
        if here != there:
            yield f"{key}: A {here}, B {there}."
    for variant in one.variants:
        same = other.variant(variant.name)
        if same and same.options != variant.options:
            yield f"{variant.name}: A {variant.options}, B {same.options}."
    only = {"A": set(_names(one)) - set(_names(other)), "B": set(_names(other)) - set(_names(one))}
    for letter, names in only.items():
        if names:
            yield f"Only in {letter}: {', '.join(sorted(names))}."


def _figures(first: Variant, second: Variant, look: Look) -> RenderableType:
    title = f"{look.plain(first.name, 24)}: success, and p50 of the good answers in ms"
    table = wide_tables.new_table(title, ["request", "phase"])
    for heading in ("A", "B", "A p50", "B p50", "B / A"):
        table.add_column(heading, justify="right", no_wrap=True)
    endpoints = dict.fromkeys(name for of in first.phases.values() for name in of.endpoints)
    for endpoint in endpoints:
        for number, (phase, figures) in enumerate(first.phases.items()):
            a = figures.endpoints.get(endpoint)
            there = second.phases.get(phase)
            b = there.endpoints.get(endpoint) if there else None
            table.add_row(
                endpoint if number == 0 else "",
                look.text(phase, limit=20),
                *(formatting.success(of.success if of else None) for of in (a, b)),
                *(formatting.ms(_p50(of)) for of in (a, b)),
                _ratio(_p50(a), _p50(b)),
            )
        table.add_section()
    return table


def _verdicts(one: Result, other: Result, look: Look) -> Iterator[RenderableType]:
    """The expectations whose verdicts differ."""
    there = {(each.says, each.that): each for each in other.expectations}
    pairs = [(each, there.get((each.says, each.that))) for each in one.expectations]
    changed = [(a, b) for a, b in pairs if b and a.verdict != b.verdict]
    yield Text("\nWhat came out differently", "bold")
    if not changed:
        yield Text("  Every expectation that both have has the same verdict in both.")
    for a, b in changed:
        yield Padding(look.text(a.says, limit=300), (0, 0, 0, 2))
        yield Padding(look.text(f"A {_told(a)}; B {_told(b)}", "dim"), (0, 0, 0, 4))


def _told(one: Expectation) -> str:
    measured = "" if one.measured is None else f" ({one.measured:.4g})"
    return f"{one.verdict}{measured}"


def _names(result: Result) -> list[str]:
    return [variant.name for variant in result.variants]


def _p50(of: Endpoint | None) -> float | None:
    return of.latency_ms.p50 if of else None


def _ratio(a: float | None, b: float | None) -> str:
    return formatting.NONE if not a or b is None else f"{b / a:.2f}"
