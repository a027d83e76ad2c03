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
from lab.report.formatting import TextFormat
from lab.report.terminal import sections, wide_tables
from lab.report.terminal.sections import (
    call_counters,
    client_retries,
    consumer_lag,
    databases,
    degraded_answers,
    dependencies,
    load_line,
    stuck_consumers,
)
from lab.report.terminal.wide_tables import differences, run_count
from lab.results.claims import CLAIMS
from lab.results.paths import format_value, lookup
from lab.results.result import (
    EXTERNAL,
    CheckerCounts,
    EndpointResult,
    Expectation,
    RunResult,
    SidecarCostResult,
    VariantResult,
)

_DATA_ROWS: tuple[tuple[str, Callable[[CheckerCounts], int | None], bool], ...] = (
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

_MS_FIGURES = ("p50", "p90", "p95", "p99", "max", "mean")


def render(result: RunResult, console: Console) -> None:
    """Print the report of a run."""
    console.print(Group(*_blocks(result, TextFormat.for_console(console))), soft_wrap=False)


def summary(results: Sequence[RunResult], console: Console, list_failures: bool = False) -> None:
    """Print one line for each run. `what_fails`: then also each expectation that failed."""
    fmt = TextFormat.for_console(console)
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
            fmt.text(result.scenario, limit=24),
            *(str(count) if result.valid else "-" for count in counts),
            Text(word, style=style),
        )
    console.print(table)
    for result in results if list_failures else ():
        for one in result.expectations:
            if one.verdict == "fails":
                line = f"{result.scenario}: {one.says} ({one.that}, measured {one.measured:.4g})"
                console.print(fmt.text(line, "red", limit=300))


def _blocks(result: RunResult, fmt: TextFormat) -> Iterator[RenderableType]:
    kind = ", quick" if result.quick else ""
    yield fmt.text(result.title or result.scenario, "bold", limit=200)
    yield fmt.text(f"scenario {fmt.plain(result.scenario, 60)}, seed {result.seed}{kind}", "dim")
    yield from run_count(result, fmt)
    if result.question.strip():
        yield Text()
        yield from _paragraphs(f"Predict first: {result.question.strip()}", fmt, 2_000)
    if not result.valid:
        yield Text("\nINVALID: this run was not honest, so its figures are no result.", "bold red")
        yield from (_line(f"- {problem}", fmt, "red") for problem in result.problems)
    if "during" in wide_tables.phase_names(result):
        yield from wide_tables.answers(result, fmt)
    else:
        yield from wide_tables.blast_radius(result, fmt)
    yield from differences(result, fmt)
    yield from failures(result, fmt)
    yield from wide_tables.writes(result, fmt)
    yield from details(result, fmt)
    if result.valid:
        yield from sections.guess_rows(result.guesses, fmt)
        yield from sections.prediction_rows(result.predictions, fmt)
    yield from _verdicts(result, fmt)
    if result.explain.strip():
        yield Text("\nWhat it means", "bold")
        yield from _paragraphs(result.explain, fmt, 10_000)


def details(result: RunResult, fmt: TextFormat) -> Iterator[RenderableType]:
    """The data, consumer lag, databases, dependencies, and the evidence."""
    yield _data(result, fmt)
    yield from consumer_lag(result, fmt)
    yield from databases(result, fmt)
    yield from dependencies(result, fmt)
    yield from _evidence(result, fmt)


def failures(result: RunResult, fmt: TextFormat) -> Iterator[RenderableType]:
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
        yield from (_line(line, fmt) for line in lines)


def _errors(endpoint: EndpointResult) -> str:
    kinds = ", ".join(f"{number} × {kind}" for kind, number in endpoint.errors.items() if number)
    return f"{kinds or endpoint.failed} ({formatting.ms(endpoint.failed_after_ms.p50)} ms)"


def _data(result: RunResult, fmt: TextFormat) -> RenderableType:
    table = wide_tables.new_table("What became of the writes", [""])
    for variant in result.variants:
        table.add_column(fmt.text(variant.name, limit=24), justify="right", overflow="fold")
    for name, value, should_be_zero in _DATA_ROWS:
        counts = [None if one.data is None else value(one.data) for one in result.variants]
        styles = ["bold red" if should_be_zero and number else "" for number in counts]
        figures = zip(map(formatting.count, counts), styles, strict=True)
        table.add_row(name, *(Text(shown, style) for shown, style in figures))
    if any(one.arrangement == EXTERNAL for one in result.variants):
        table.add_row(
            "feeds that were stale",
            *(formatting.count(_stale_feeds(one)) for one in result.variants),
        )
    recovered = (lookup(f"{one.name}.recovery_seconds", result) for one in result.variants)
    table.add_row("recovered after", *map(formatting.seconds, recovered))
    return Padding(table, (1, 0, 0, 0), expand=False)


def _stale_feeds(variant: VariantResult) -> int | None:
    """How many feeds lacked an acknowledged write, over all phases; None if not measured."""
    feeds = [of.endpoints.get("read_feed") for of in variant.phases.values()]
    known = [one.stale for one in feeds if one is not None and one.stale is not None]
    return sum(known) if known else None


def _evidence(result: RunResult, fmt: TextFormat) -> Iterator[RenderableType]:
    yield Text("\nFaults, load and notes", "bold")
    for variant in result.variants:
        for fault in variant.faults:
            word, style = ("acted", "") if fault.acted else ("DID NOT ACT", "bold red")
            evidence = formatting.evidence(fault.evidence) or "no evidence"
            line = f"{variant.name}: {fault.target} {fault.kind} {word}: {evidence}"
            yield _line(line, fmt, style)
        yield from (_line(f"{variant.name}: {note}", fmt) for note in variant.notes)
        yield from (_line(f"{variant.name}: {told}", fmt) for told in stuck_consumers(variant))
        if sentence := call_counters(variant):
            yield _line(f"{variant.name}: {sentence}", fmt)
        if sentence := client_retries(variant):
            yield _line(f"{variant.name}: {sentence}", fmt)
        if of := variant.sidecar:
            yield _line(f"{variant.name}: {sidecar_cost(of)}", fmt)
        if sentence := degraded_answers(variant):
            yield _line(f"{variant.name}: {sentence}", fmt, "bold red")
    load_quality = load_line(result.load)
    if result.valid:
        yield _line(f"{load_quality}.", fmt)
    else:
        yield _line(f"{load_quality}. The run is INVALID.", fmt, "bold red")


def sidecar_cost(cost: SidecarCostResult) -> str:
    """A sentence: how much latency the sidecar adds in front of an external service."""
    return (
        f"the sidecar before it takes {cost.with_ms - cost.without_ms:.2f} ms of each reading of the "
        f"feed (p50 {cost.with_ms:.2f} ms with it, {cost.without_ms:.2f} without, of {cost.asked}; an "
        f"answer of {cost.kib:g} KiB)."
    )


def _line(text: str, fmt: TextFormat, style: str = "") -> RenderableType:
    return Padding(fmt.text(text, style, limit=400), (0, 0, 0, 2), expand=False)


def _verdicts(result: RunResult, fmt: TextFormat) -> Iterator[RenderableType]:
    """Each claim as a sentence and its expectations with figures, in the order of the file."""
    yield Text("\nWhat is claimed, and what was seen", "bold")
    if not result.valid:
        yield Text("No verdicts: this run was not honest, so it proves nothing either way.", "red")
        return
    if not result.expectations:
        yield Text("Nothing is expected of these variants, so there is nothing to judge.")
        return
    shown_claims: set[str] = set()
    for claim, group in groupby(result.expectations, lambda one: one.claim):
        if claim is not None:
            claim_text = CLAIMS[claim].says if claim in CLAIMS and claim not in shown_claims else ""
            yield Text.assemble((fmt.plain(claim, 30), "bold"), "  ", fmt.text(claim_text))
            shown_claims.add(claim)
        for one in group:
            yield Padding(_verdict(one, fmt), (0, 0, 0, 2 if claim else 0), expand=False)


def _verdict(expectation: Expectation, fmt: TextFormat) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_row(fmt.verdict(expectation.verdict), fmt.text(expectation.says, limit=300))
    figures = ", ".join(
        f"{path} {format_figure(path, value)}" for path, value in expectation.values.items()
    )
    expected, measured_text = (
        expectation.that or expectation.expected or "",
        figures or format_value(expectation.measured, formatting.NONE),
    )
    grid.add_row("", fmt.text(f"wanted   {expected}", "dim", limit=500))
    grid.add_row("", fmt.text(f"measured {measured_text}", "dim", limit=500))
    return grid


def format_figure(path: str, value: float | None) -> str:
    """A figure with the unit that its path implies; None is `never` or `nothing`."""
    unit = path.rpartition(".")[2].rpartition("_")[2]
    if value is None:
        return "never" if path.endswith("recovery_seconds") else "nothing"
    if unit == "success":
        return formatting.success(value)
    if unit in _MS_FIGURES and ".lag." not in path:
        return f"{formatting.ms(value)} ms"
    return f"{value:.3g} s" if unit == "seconds" else f"{value:g}"


def _paragraphs(text: str, fmt: TextFormat, limit: int) -> Iterator[RenderableType]:
    for number, paragraph in enumerate(text[:limit].strip().split("\n\n")):
        if number:
            yield Text()
        yield fmt.text(paragraph)
