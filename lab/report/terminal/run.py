"""The report of one run in the terminal, with the variants side by side.

Order: question, answers and latencies, visibility of writes, fate of the data, evidence of the
faults and quality of the load, verdicts, explanation. Colour never carries meaning alone, and 80
columns are enough.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lab.report import formatting
from lab.report.formatting import Look
from lab.report.terminal import sections, wide_tables
from lab.report.terminal.sections import (
    databases,
    halted,
    hearing,
    load_line,
    needs,
    questions,
    sent_again,
    without_a_part,
)
from lab.report.terminal.wide_tables import differences, runs
from lab.results.claims import CLAIMS
from lab.results.paths import measured, written
from lab.results.result import FOREIGN, Data, Endpoint, Expectation, Result, SidecarCost, Variant

_DATA: tuple[tuple[str, Callable[[Data], int | None], bool], ...] = (
    ("acknowledged", lambda of: of.acknowledged, False),
    ("visible in the end", lambda of: of.visible, False),
    ("lost", lambda of: of.lost, True),
    ("duplicated", lambda of: of.duplicated, True),
    ("never settled", lambda of: of.unsettled, True),
    ("  not even with its owner", lambda of: of.undecided, True),
    ("two services disagree", lambda of: of.diverged, True),
    ("out of order", lambda of: of.out_of_order, True),
    ("gone, and back again", lambda of: of.resurrected, True),
    ("refused but kept", lambda of: of.refused_kept, True),
    ("fate unknown to sender", lambda of: of.unknown, False),
    ("  of these kept", lambda of: of.unknown_kept, False),
    ("judged, and not there", lambda of: of.orphaned, True),
)
"""The rows about data: label, figure, and whether the figure should be 0."""

_MILLISECONDS = ("p50", "p90", "p95", "p99", "max", "mean")


def render(result: Result, console: Console) -> None:
    """Print the report of a run."""
    console.print(Group(*_blocks(result, Look.of(console))), soft_wrap=False)


def summary(results: Sequence[Result], console: Console, what_fails: bool = False) -> None:
    """Print one line for each run. `what_fails`: then also each expectation that failed."""
    look = Look.of(console)
    table = wide_tables.new_table("Summary", ["scenario"])
    for heading in ("hold", "fail", "not measured"):
        table.add_column(heading, justify="right")
    table.add_column("the run")
    for result in results:
        verdicts = [one.verdict for one in result.expectations]
        word, style = {
            0: ("all expectations hold", "green"),
            1: ("not all expectations hold", "bold red"),
            3: ("INVALID: not a result", "bold red"),
        }[result.exit_code]
        counts = [verdicts.count(verdict) for verdict in ("holds", "fails", "not measured")]
        table.add_row(
            look.text(result.scenario, limit=24),
            *(str(count) if result.valid else "-" for count in counts),
            Text(word, style=style),
        )
    console.print(table)
    for result in results if what_fails else ():
        for one in result.expectations:
            if one.verdict == "fails":
                says = f"{result.scenario}: {one.says} ({one.that}, measured {one.measured:.4g})"
                console.print(look.text(says, "red", limit=300))


def _blocks(result: Result, look: Look) -> Iterator[RenderableType]:
    kind = ", quick" if result.quick else ""
    yield look.text(result.title or result.scenario, "bold", limit=200)
    yield look.text(f"scenario {look.plain(result.scenario, 60)}, seed {result.seed}{kind}", "dim")
    yield from runs(result, look)
    if result.question.strip():
        yield Text()
        yield from _paragraphs(f"Predict first: {result.question.strip()}", look, 2_000)
    if not result.valid:
        yield Text("\nINVALID: this run was not honest, so its figures are no result.", "bold red")
        yield from (_line(f"- {problem}", look, "red") for problem in result.problems)
    if "during" in wide_tables.phase_names(result):
        yield from wide_tables.answers(result, look)
    else:
        yield from wide_tables.matrix(result, look)
    yield from differences(result, look)
    yield from failures(result, look)
    yield from wide_tables.writes(result, look)
    yield from particulars(result, look)
    if result.valid:
        yield from sections.guess_rows(result.guesses, look)
        yield from sections.rows(result.predictions, look)
    yield from _verdicts(result, look)
    if result.explain.strip():
        yield Text("\nWhat it means", "bold")
        yield from _paragraphs(result.explain, look, 10_000)


def particulars(result: Result, look: Look) -> Iterator[RenderableType]:
    """The data, consumer lag, databases, dependencies, and the evidence."""
    yield _data(result, look)
    yield from hearing(result, look)
    yield from databases(result, look)
    yield from needs(result, look)
    yield from _evidence(result, look)


def failures(result: Result, look: Look) -> Iterator[RenderableType]:
    """The errors of each endpoint by kind, and the p50 time until the sender saw them (ms)."""
    lines = [
        f"{variant.name}, {phase}: "
        + "; ".join(f"{name} {_errors(of)}" for name, of in figures.endpoints.items() if of.failed)
        for variant in result.variants
        for phase, figures in variant.phases.items()
        if any(of.failed for of in figures.endpoints.values())
    ]
    if lines:
        yield Text("\nHow requests failed, and after how long (p50)", "bold")
        yield from (_line(line, look) for line in lines)


def _errors(of: Endpoint) -> str:
    kinds = ", ".join(f"{number} × {kind}" for kind, number in of.errors.items() if number)
    return f"{kinds or of.failed} ({formatting.ms(of.failed_after_ms.p50)} ms)"


def _data(result: Result, look: Look) -> RenderableType:
    table = wide_tables.new_table("What became of the writes", [""])
    for variant in result.variants:
        table.add_column(look.text(variant.name, limit=24), justify="right", overflow="fold")
    for name, value, should_be_none in _DATA:
        found = [None if one.data is None else value(one.data) for one in result.variants]
        styles = ["bold red" if should_be_none and number else "" for number in found]
        figures = zip(map(formatting.count, found), styles, strict=True)
        table.add_row(name, *(Text(shown, style) for shown, style in figures))
    if any(one.arrangement == FOREIGN for one in result.variants):
        table.add_row(
            "feeds that were stale", *(formatting.count(_stale(one)) for one in result.variants)
        )
    recovered = (measured(f"{one.name}.recovery_seconds", result) for one in result.variants)
    table.add_row("recovered after", *map(formatting.seconds, recovered))
    return Padding(table, (1, 0, 0, 0), expand=False)


def _stale(variant: Variant) -> int | None:
    """How many feeds lacked an acknowledged write, over all phases; None if not measured."""
    feeds = [of.endpoints.get("read_feed") for of in variant.phases.values()]
    known = [one.stale for one in feeds if one is not None and one.stale is not None]
    return sum(known) if known else None


def _evidence(result: Result, look: Look) -> Iterator[RenderableType]:
    yield Text("\nFaults, load and notes", "bold")
    for variant in result.variants:
        for fault in variant.faults:
            word, style = ("acted", "") if fault.acted else ("DID NOT ACT", "bold red")
            proof = formatting.evidence(fault.evidence) or "no evidence"
            line = f"{variant.name}: {fault.target} {fault.kind} {word}: {proof}"
            yield _line(line, look, style)
        yield from (_line(f"{variant.name}: {note}", look) for note in variant.notes)
        yield from (_line(f"{variant.name}: {told}", look) for told in halted(variant))
        if told := questions(variant):
            yield _line(f"{variant.name}: {told}", look)
        if told := sent_again(variant):
            yield _line(f"{variant.name}: {told}", look)
        if of := variant.sidecar:
            yield _line(f"{variant.name}: {sidecar(of)}", look)
        if told := without_a_part(variant):
            yield _line(f"{variant.name}: {told}", look, "bold red")
    said = load_line(result.load)
    if result.valid:
        yield _line(f"{said}.", look)
    else:
        yield _line(f"{said}. The run is INVALID.", look, "bold red")


def sidecar(of: SidecarCost) -> str:
    """A sentence: how much latency the sidecar adds in front of an external service."""
    return (
        f"the sidecar before it takes {of.with_ms - of.without_ms:.2f} ms of each reading of the "
        f"feed (p50 {of.with_ms:.2f} ms with it, {of.without_ms:.2f} without, of {of.asked}; an "
        f"answer of {of.kib:g} KiB)."
    )


def _line(text: str, look: Look, style: str = "") -> RenderableType:
    return Padding(look.text(text, style, limit=400), (0, 0, 0, 2), expand=False)


def _verdicts(result: Result, look: Look) -> Iterator[RenderableType]:
    """Each claim as a sentence and its expectations with figures, in the order of the file."""
    yield Text("\nWhat is claimed, and what was seen", "bold")
    if not result.valid:
        yield Text("No verdicts: this run was not honest, so it proves nothing either way.", "red")
        return
    if not result.expectations:
        yield Text("Nothing is expected of these variants, so there is nothing to judge.")
        return
    told: set[str] = set()
    for claim, group in groupby(result.expectations, lambda one: one.claim):
        if claim is not None:
            says = CLAIMS[claim].says if claim in CLAIMS and claim not in told else ""
            yield Text.assemble((look.plain(claim, 30), "bold"), "  ", look.text(says))
            told.add(claim)
        for one in group:
            yield Padding(_verdict(one, look), (0, 0, 0, 2 if claim else 0), expand=False)


def _verdict(one: Expectation, look: Look) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_row(look.verdict(one.verdict), look.text(one.says, limit=300))
    figures = ", ".join(f"{path} {figure_told(path, value)}" for path, value in one.values.items())
    wanted, seen = one.that or one.expected or "", figures or written(one.measured, formatting.NONE)
    grid.add_row("", look.text(f"wanted   {wanted}", "dim", limit=500))
    grid.add_row("", look.text(f"measured {seen}", "dim", limit=500))
    return grid


def figure_told(path: str, value: float | None) -> str:
    """A figure with the unit that its path implies; None is `never` or `nothing`."""
    last = path.rpartition(".")[2].rpartition("_")[2]
    if value is None:
        return "never" if path.endswith("recovery_seconds") else "nothing"
    if last == "success":
        return formatting.success(value)
    if last in _MILLISECONDS and ".lag." not in path:
        return f"{formatting.ms(value)} ms"
    return f"{value:.3g} s" if last == "seconds" else f"{value:g}"


def _paragraphs(text: str, look: Look, limit: int) -> Iterator[RenderableType]:
    for number, paragraph in enumerate(text[:limit].strip().split("\n\n")):
        if number:
            yield Text()
        yield look.text(paragraph)
