"""Compares two saved runs: their conditions, their figures, and the changed verdicts."""

from collections.abc import Iterator
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from lab.report import formatting
from lab.report.blocks import Cell, Column, Table
from lab.report.formatting import TextFormat
from lab.report.tables import find_endpoint
from lab.report.terminal.writer import to_rich
from lab.results.result import EndpointResult, Expectation, RunResult, VariantResult


def render(run_a: RunResult, run_b: RunResult, console: Console) -> None:
    """Print the comparison of two runs, of the same scenario or of different ones."""
    console.print(Group(*_blocks(run_a, run_b, TextFormat.for_console(console))), soft_wrap=False)


def comparison_data(run_a: RunResult, run_b: RunResult) -> dict[str, Any]:
    """The comparison as JSON values: latencies in ms, `success` as a share from 0 to 1.

    `changed`: the expectations with different verdicts; null if one of the runs is no result.
    """
    figures = []
    for first in run_a.variants:
        second = run_b.variant(first.name)
        if second is None:
            continue
        for phase, figures_of_phase in first.phases.items():
            for name in figures_of_phase.endpoints:
                endpoints = (find_endpoint(first, phase, name), find_endpoint(second, phase, name))
                figures.append(
                    {
                        "variant": first.name,
                        "phase": phase,
                        "request": name,
                        "success": [one.success if one else None for one in endpoints],
                        "p50_ms": [_p50(one) for one in endpoints],
                    }
                )
    comparable = not _invalid_letters(run_a, run_b)
    return {
        "schema": "lab.comparison/1",
        "runs": [
            {
                "scenario": run.scenario,
                "started": run.started,
                "seed": run.seed,
                "quick": run.quick,
                "valid": run.valid,
                "simulated": run.simulated,
            }
            for run in (run_a, run_b)
        ],
        "conditions": list(_condition_differences(run_a, run_b)),
        "figures": figures,
        "changed": [
            {"says": a.says, "that": a.that, "verdicts": [a.verdict, b.verdict]}
            for a, b in _changed(run_a, run_b)
        ]
        if comparable
        else None,
    }


def _blocks(run_a: RunResult, run_b: RunResult, fmt: TextFormat) -> Iterator[RenderableType]:
    for letter, run in (("A", run_a), ("B", run_b)):
        kind = (", quick" if run.quick else "") + (", simulated" if run.simulated else "")
        validity = "" if run.valid else "   INVALID"
        head = f"{letter}  {run.scenario}, seed {run.seed}{kind}, {run.started}{validity}"
        yield fmt.text(head, "bold" if run.valid else "bold red", limit=120)
    yield from (
        Padding(fmt.text(line), (0, 0, 0, 3)) for line in _condition_differences(run_a, run_b)
    )
    common = [name for name in _names(run_a) if run_b.variant(name)]
    for name in common:
        first, second = run_a.variant(name), run_b.variant(name)
        assert first
        assert second
        yield from to_rich([_figures(first, second)], fmt)
    if not common:
        yield Text("\nThey have no variant in common, so there are no figures to compare.")
    yield from _verdicts(run_a, run_b, fmt)


def _condition_differences(run_a: RunResult, run_b: RunResult) -> Iterator[str]:
    """The differences in conditions that limit the comparison, a sentence each."""
    if run_a.scenario != run_b.scenario:
        yield "Two scenarios: what differs may be due to what was done."
    if run_a.quick != run_b.quick:
        yield "One of them was quick: half the time, half the samples."
    for key in sorted(set(run_a.environment) | set(run_b.environment)):
        value_a, value_b = run_a.environment.get(key), run_b.environment.get(key)
        if value_a != value_b:
            yield f"{key}: A {value_a}, B {value_b}."
    for variant in run_a.variants:
        variant_b = run_b.variant(variant.name)
        if variant_b and variant_b.options != variant.options:
            yield f"{variant.name}: A {variant.options}, B {variant_b.options}."
    only = {
        "A": set(_names(run_a)) - set(_names(run_b)),
        "B": set(_names(run_b)) - set(_names(run_a)),
    }
    for letter, names in only.items():
        if names:
            yield f"Only in {letter}: {', '.join(sorted(names))}."


def _figures(first: VariantResult, second: VariantResult) -> Table:
    """A row for each endpoint and phase: success and p50 (ms) of both runs, and the ratio."""
    sections = []
    for name in dict.fromkeys(name for phase in first.phases.values() for name in phase.endpoints):
        rows = []
        for number, phase in enumerate(first.phases):
            a, b = find_endpoint(first, phase, name), find_endpoint(second, phase, name)
            figures = (
                *(
                    formatting.success(endpoint.success if endpoint else None)
                    for endpoint in (a, b)
                ),
                *(formatting.ms(_p50(endpoint)) for endpoint in (a, b)),
                _ratio(_p50(a), _p50(b)),
            )
            rows.append([Cell(text) for text in (name if number == 0 else "", phase, *figures)])
        sections.append(rows)
    columns = [
        Column("request"),
        Column("phase", limit=20),
        *(Column(heading, right=True) for heading in ("A", "B", "A p50", "B p50", "B / A")),
    ]
    title = f"{first.name}: success, and p50 of the good answers in ms"
    return Table(title, columns, sections, labels=2)


def _verdicts(run_a: RunResult, run_b: RunResult, fmt: TextFormat) -> Iterator[RenderableType]:
    """The expectations whose verdicts differ; a run that is no result has none."""
    yield Text("\nWhat came out differently", "bold")
    if invalid := _invalid_letters(run_a, run_b):
        runs = "are no results" if len(invalid) == 2 else "is no result"
        yield Text(f"  {' and '.join(invalid)} {runs}, so no verdicts are compared.", "red")
        return
    changed = _changed(run_a, run_b)
    if not changed:
        yield Text("  Every expectation that both have has the same verdict in both.")
    for a, b in changed:
        yield Padding(fmt.text(a.says, limit=300), (0, 0, 0, 2))
        yield Padding(fmt.text(f"A {_verdict_text(a)}; B {_verdict_text(b)}", "dim"), (0, 0, 0, 4))


def _invalid_letters(run_a: RunResult, run_b: RunResult) -> list[str]:
    return [letter for letter, run in (("A", run_a), ("B", run_b)) if not run.valid]


def _changed(run_a: RunResult, run_b: RunResult) -> list[tuple[Expectation, Expectation]]:
    """The pairs of the same expectation with different verdicts."""
    expectations_b = {
        (expectation.says, expectation.that): expectation for expectation in run_b.expectations
    }
    pairs = [
        (expectation, expectations_b.get((expectation.says, expectation.that)))
        for expectation in run_a.expectations
    ]
    return [(a, b) for a, b in pairs if b and a.verdict != b.verdict]


def _verdict_text(expectation: Expectation) -> str:
    measured = "" if expectation.measured is None else f" ({expectation.measured:.4g})"
    return f"{expectation.verdict}{measured}"


def _names(result: RunResult) -> list[str]:
    return [variant.name for variant in result.variants]


def _p50(endpoint: EndpointResult | None) -> float | None:
    return endpoint.latency_ms.p50 if endpoint else None


def _ratio(a: float | None, b: float | None) -> str:
    return formatting.NONE if not a or b is None else f"{b / a:.2f}"
