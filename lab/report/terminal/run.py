"""The report of one run in the terminal, with the variants side by side.

Order: question, answers and latencies, visibility of writes, fate of the data, evidence of the
faults and quality of the load, verdicts, explanation. Colour never carries meaning alone, and 80
columns are enough.
"""

from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from lab.report import sections, tables
from lab.report.blocks import Block, Cell, Column, Heading, Line, Table
from lab.report.formatting import TextFormat
from lab.report.sections import JudgedExpectation
from lab.report.terminal.writer import rich_table, to_rich
from lab.results.result import RunResult


def render(result: RunResult, console: Console) -> None:
    """Print the report of a run."""
    console.print(Group(*_blocks(result, TextFormat.for_console(console))), soft_wrap=False)


def summary(results: Sequence[RunResult], console: Console, list_failures: bool = False) -> None:
    """Print one line for each run. `list_failures`: then also each expectation that failed."""
    fmt = TextFormat.for_console(console)
    rows = []
    for result in results:
        verdicts = [expectation.verdict for expectation in result.expectations]
        counts = [verdicts.count(verdict) for verdict in ("holds", "fails", "not measured")]
        rows.append(
            [
                Cell(result.scenario),
                *(Cell(str(count) if result.valid else "-") for count in counts),
                _outcome(result, fails=counts[1], unmeasured=counts[2]),
            ]
        )
    columns = [
        Column("scenario", limit=24),
        *(Column(heading, right=True) for heading in ("hold", "fail", "not measured")),
        Column("the run"),
    ]
    console.print(rich_table(Table("Summary", columns, [rows]), fmt))
    for result in results if list_failures else ():
        if not result.valid:
            continue
        for expectation in result.expectations:
            if expectation.verdict == "fails":
                condition = f"{expectation.that}, measured {expectation.measured:.4g}"
                line = f"{result.scenario}: {expectation.says} ({condition})"
                console.print(fmt.text(line, "red", limit=300))


def _outcome(result: RunResult, fails: int, unmeasured: int) -> Cell:
    if not result.valid:
        return Cell("INVALID: not a result", "bad")
    if fails:
        return Cell("an expectation fails" if fails == 1 else f"{fails} expectations fail", "bad")
    if unmeasured:
        return Cell("what was measured holds", "warn")
    return Cell("all expectations hold", "good")


def _blocks(result: RunResult, fmt: TextFormat) -> Iterator[RenderableType]:
    yield from to_rich(_head(result), fmt)
    if result.question.strip():
        yield Text()
        yield from _paragraphs(f"Predict first: {result.question.strip()}", fmt, 2_000)
    yield from to_rich(_figures(result), fmt)
    yield from _verdicts(result, fmt)
    if result.explain.strip():
        yield from to_rich([Heading("What it means")], fmt)
        yield from _paragraphs(result.explain, fmt, 10_000)


def _head(result: RunResult) -> Iterator[Block]:
    quick = ", quick" if result.quick else ""
    yield Line(result.title or result.scenario, "strong", 0)
    yield Line(f"scenario {result.scenario}, seed {result.seed}{quick}", "soft", 0)
    yield from sections.run_count(result)


def _figures(result: RunResult) -> Iterator[Block]:
    if not result.valid:
        yield Line("", indent=0)
        yield Line(sections.INVALID, "bad", 0)
        yield from (Line(f"- {problem}", "bad") for problem in result.problems)
    if "during" in tables.phase_names(result):
        yield from tables.answers(result)
    else:
        yield from tables.blast_radius(result)
    yield from tables.differences(result)
    yield from sections.failures(result)
    yield from tables.writes(result)
    yield from sections.details(result)
    yield from sections.guess_rows(result)
    if result.valid:
        yield from sections.prediction_rows(result.predictions)


def _verdicts(result: RunResult, fmt: TextFormat) -> Iterator[RenderableType]:
    """Each claim as a sentence and its expectations with figures, in the order of the file."""
    yield Text("\nWhat is claimed, and what was seen", "bold")
    if not result.valid:
        yield Text("No verdicts: this run is not reliable, so it proves nothing either way.", "red")
        return
    if not result.expectations:
        yield Text("Nothing is expected of these variants, so there is nothing to judge.")
        return
    for claim in sections.judged_claims(result):
        if claim.name:
            yield Text.assemble((fmt.plain(claim.name, 30), "bold"), "  ", fmt.text(claim.text))
        for expectation in claim.expectations:
            indent = 2 if claim.name else 0
            yield Padding(_expectation(expectation, fmt), (0, 0, 0, indent), expand=False)


def _expectation(expectation: JudgedExpectation, fmt: TextFormat) -> RenderableType:
    grid = RichTable.grid(padding=(0, 2))
    grid.add_row(fmt.verdict(expectation.verdict), fmt.text(expectation.text, limit=300))
    grid.add_row("", fmt.text(f"wanted   {expectation.expected}", "dim", limit=500))
    grid.add_row("", fmt.text(f"measured {expectation.measured}", "dim", limit=500))
    if expectation.reason:
        grid.add_row("", fmt.text(f"not measured because: {expectation.reason}", "dim", limit=500))
    return grid


def _paragraphs(text: str, fmt: TextFormat, limit: int) -> Iterator[RenderableType]:
    for number, paragraph in enumerate(text[:limit].strip().split("\n\n")):
        if number:
            yield Text()
        yield fmt.text(paragraph)
