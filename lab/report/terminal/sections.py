"""The smaller sections of a run's report: tables and sentences as Rich renderables.

Consumer lag, open databases, dependencies, stuck consumers, calls between services, the quality of
the load, the predictions of theory, and the guesses of the user. A section is empty if the run has
nothing to show for it.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from lab.report import formatting
from lab.report.formatting import TextFormat
from lab.report.terminal import wide_tables
from lab.results.dependencies import (
    call_count,
    count_edges,
    count_services,
    count_transitive_dependencies,
)
from lab.results.paths import format_value, lookup
from lab.results.result import Guess, LoadSummary, Prediction, RunResult, VariantResult

# ── Consumer lag

_LAG_THRESHOLD = 20
"""Events. A consumer with a smaller maximum lag is shown only if an expectation is about lag."""


def consumer_lag(result: RunResult, fmt: TextFormat) -> Iterator[RenderableType]:
    """A row for each consumer with a large lag, and a line for each added replica.

    If an expectation is about lag, a row for every consumer.
    """
    show_all = any(".lag." in one.that for one in result.expectations)
    rows = [
        (variant, service)
        for variant in result.variants
        for service, lag in variant.lag.items()
        if show_all or lag.max >= _LAG_THRESHOLD
    ]
    if rows:
        table = wide_tables.new_table("Behind the bus (its head less the consumer's offset)", [""])
        for heading in (
            "consumer",
            "events\nat most",
            "hears/s",
            "trouble\nfor",
            "level\nafter",
            "at/s",
        ):
            table.add_column(heading, justify="left" if heading == "consumer" else "right")
        for number, (variant, service) in enumerate(rows):
            first = number == 0 or rows[number - 1][0] is not variant
            name = fmt.text(variant.name if first else "", limit=24)
            table.add_row(name, fmt.text(service, limit=16), *_lag_cells(result, variant, service))
        yield Padding(table, (1, 0, 0, 0), expand=False)
    for variant in result.variants:
        for one in variant.newcomers:
            sentence = f"{variant.name}: {one.part} came with nothing and heard {one.events} events"
            if one.seconds is None:
                line = fmt.text(
                    f"{sentence}, and was NOT LEVEL with the bus.", "bold red", limit=400
                )
            else:
                rate = format_value(one.events_per_s, formatting.NONE)
                sentence += f" in {formatting.seconds(one.seconds)} ({rate} a second)"
                if one.differences is not None:
                    shown = f"of {one.entries} feed entries, {one.differences} differ"
                    sentence += f"; {shown} from {one.service}'s"
                line = fmt.text(f"{sentence}.", limit=400)
            yield Padding(line, (1, 0, 0, 2), expand=False)


def _lag_cells(result: RunResult, variant: VariantResult, service: str) -> Iterator[Text]:
    lag = variant.lag[service]
    path = f"{variant.name}.lag.{service}"
    yield Text(str(lag.max))
    yield Text(format_value(lag.arrival_rate, formatting.NONE))
    yield Text(formatting.seconds(lag.outage_seconds))
    yield Text(formatting.seconds(lookup(f"{path}.drained_seconds", result)))
    yield Text(format_value(lag.drain_rate, formatting.NONE))


# ── Open databases

_DATABASE_HEADINGS = ["process", "databases it has open"]


def databases(result: RunResult, fmt: TextFormat) -> Iterator[RenderableType]:
    """The files that each process has open, and each attempt to open another owner's database.

    Nothing unless an expectation is about databases.
    """
    if not any(".databases." in one.that for one in result.expectations):
        return
    table = wide_tables.new_table("Databases, under load", ["", *_DATABASE_HEADINGS])
    for variant in result.variants:
        for number, (part, files) in enumerate((variant.databases or {}).items()):
            name = fmt.text(variant.name if number == 0 else "", limit=24)
            table.add_row(name, fmt.text(part, limit=24), *_files_cell(variant, part, files, fmt))
        table.add_section()
    yield Padding(table, (1, 0, 0, 0), expand=False)
    for variant in result.variants:
        for one in variant.reached_in:
            word, style = ("refused", "") if one.refused else ("NOT REFUSED", "bold red")
            sentence = f"{variant.name}: {one.who} into {one.into}, which is {one.owner}: {word}."
            line = fmt.text(f"{sentence} {one.says.partition('. ')[0]}", style, limit=400)
            yield Padding(line, (0, 0, 0, 2), expand=False)


def _files_cell(
    variant: VariantResult, process: str, files: list[str], fmt: TextFormat
) -> Iterator[Text]:
    """One cell: the open files; a file of another process with the name of its owner."""
    owners = variant.database_owners
    foreign_files = {file: owners[file] for file in files if owners.get(file, process) != process}
    names = [
        f"{file} (of {foreign_files[file]})" if file in foreign_files else file for file in files
    ]
    yield fmt.text(
        ", ".join(names) or formatting.NONE, "bold red" if foreign_files else "", limit=200
    )


# ── Dependencies

_DEPENDENCY_HEADINGS = ("services", "threads", "of which\nto the bus", "hang on\neach other")


def dependencies(result: RunResult, fmt: TextFormat) -> Iterator[RenderableType]:
    """The observed dependencies, a row for each variant.

    Nothing unless an expectation is about them.
    """
    if not any(".web." in one.that for one in result.expectations):
        return
    table = wide_tables.new_table("Who was seen to need whom", [""])
    for heading in _DEPENDENCY_HEADINGS:
        table.add_column(heading, justify="right")
    for variant in result.variants:
        table.add_row(fmt.text(variant.name, limit=24), *map(str, _dependency_figures(variant)))
    yield Padding(table, (1, 0, 0, 0), expand=False)


def _dependency_figures(variant: VariantResult) -> tuple[object, ...]:
    service_count = count_services(variant)
    pairs = f"{count_transitive_dependencies(variant)} of {service_count * (service_count - 1)}"
    return service_count, count_edges(variant), len(variant.on_the_bus), pairs


# ── Stuck consumers and dead letters


def stuck_consumers(variant: VariantResult) -> Iterator[str]:
    """A line for each stuck service, and one line for all dead letters."""
    for service, at in (variant.stuck or {}).items():
        yield f"{service} is stuck, and says so at /health: {at}."
    if variant.dead_letters:
        counts = ", ".join(f"{number} by {name}" for name, number in variant.dead_letters.items())
        yield f"events laid aside as dead letters: {counts}."


# ── Calls between services

_CALL_PHRASES = {
    "timed_out": "{} not answered in time",
    "retried": "{} of them repeated after a failure",
    "budget_denied": "{} repetitions not allowed by the budget",
    "opened": "a circuit opened {} times",
    "broken": "{} questions refused by an open circuit",
    "bulkhead_refused": "{} refused by a full bulkhead",
    "hedged": "{} asked a second time because it took long",
    "hedge_won": "{} of those answered first",
    "fell_back": "{} went on with less",
    "given_up": "{} requests not begun, for nobody waited any more",
}


def call_counters(variant: VariantResult) -> str | None:
    """A sentence on timeouts, retries, circuit breakers and the like; None if there were none."""
    counts = {
        kind: int(call_count(variant, kind) or 0) for kind in ("asked", "attempts", *_CALL_PHRASES)
    }
    clauses = [says.format(counts[kind]) for kind, says in _CALL_PHRASES.items() if counts[kind]]
    if not clauses:
        return None
    summary = f"services asked each other {counts['asked']} times, in {counts['attempts']} attempts"
    return f"{'; '.join((summary, *clauses))}."


def degraded_answers(variant: VariantResult) -> str | None:
    """A sentence: how many good answers were degraded in each phase; None if none were."""
    phases = {
        phase: sum(of.degraded for of in figures.endpoints.values())
        for phase, figures in variant.phases.items()
    }
    if not any(phases.values()):
        return None
    counts = ", ".join(f"{count} {phase}" for phase, count in phases.items() if count)
    return f"answers that count as good, though comments are left out of them: {counts}."


def client_retries(variant: VariantResult) -> str | None:
    """A sentence: how often clients retried a write in each phase; None if they never did."""
    phases = {
        phase: sum(of.retried for of in figures.endpoints.values())
        for phase, figures in variant.phases.items()
    }
    counts = ", ".join(f"{count} {phase}" for phase, count in phases.items() if count)
    return f"clients that got no answer sent their write again: {counts}." if counts else None


# ── Quality of the load

BUSY_SHARE = 0.9
"""From this share of busy processor time on, processes sometimes wait for a processor."""


def load_line(load: LoadSummary) -> str:
    """A line without a full stop: send lag, late and dropped sends, busy processors, probes."""
    clauses = [
        f"load: 99 % of the requests left within {formatting.ms(load.lag_ms.p99)} ms of their "
        "moment",
        f"{load.late} late, {load.dropped} dropped",
    ]
    if load.machine_share is not None:
        clauses.append(processor_usage(load.machine_share))
    if load.probes:
        probes = ", ".join(f"{name} {number}" for name, number in load.probes.items())
        clauses.append(f"asked besides, to see when writes are visible: {probes}")
    return "; ".join(clauses)


def processor_usage(share: float) -> str:
    """A clause on how busy the processors were. `share`: of their whole time, 0 to 1."""
    clause = f"the processors were busy {100 * share:.0f} % of the time"
    if share >= BUSY_SHARE:
        clause += ", so that all milliseconds here have waiting for one in them"
    return clause


# ── Predictions of theory


def prediction_rows(predictions: Sequence[Prediction], fmt: TextFormat) -> Iterator[RenderableType]:
    """A row for each prediction; below the table, the reasons for the large deviations."""
    if not predictions:
        return
    table = wide_tables.new_table("What theory had said", ["prediction"])
    for heading in ("predicted", "measured", "off by"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in predictions:
        deviation_style = "" if one.agrees is not False else "yellow"
        table.add_row(
            fmt.text(one.says, limit=300),
            format_value(one.predicted, formatting.NONE),
            format_value(one.measured, formatting.NONE),
            Text(_deviation(one), deviation_style),
        )
    yield Padding(table, (1, 0, 0, 0), expand=False)
    for one in predictions:
        if one.answer:
            yield Padding(fmt.text(f"- {one.says}: {one.answer}", "dim", limit=600), (0, 0, 0, 2))
        elif one.agrees is False and one.because:
            reason = f"- Off by more than {one.within:.0%}: {one.because}"
            yield Padding(fmt.text(reason, "dim", limit=600), (0, 0, 0, 2))


def _deviation(prediction: Prediction) -> str:
    if prediction.deviation is None:
        return formatting.NONE
    return f"{prediction.deviation:+.0%}" if abs(prediction.deviation) < 10 else "far off"


# ── Guesses of the user

GUESSES_TITLE = "What you had predicted"


def guess_rows(guesses: Sequence[Guess], fmt: TextFormat) -> Iterator[RenderableType]:
    """A table with each question, and below it a row for each variant that it is about."""
    if not guesses:
        return
    table = wide_tables.new_table(GUESSES_TITLE, ["prediction"])
    for heading in ("you", "measured", "theory"):
        table.add_column(heading, justify="right", overflow="fold")
    table.add_column("", no_wrap=True)
    for number, (asks, group) in enumerate(groupby(guesses, lambda one: one.asks)):
        if number:
            table.add_section()
        for first, one in enumerate(group):
            label = fmt.text(asks, limit=300) if not first else Text()
            if one.variant:
                if not first:
                    table.add_row(label)
                label = Text(f"  {fmt.plain(one.variant, 24)}")
            table.add_row(
                label,
                fmt.text(format_with_unit(one.guessed, one.unit), limit=120),
                fmt.text(format_with_unit(one.measured, one.unit), limit=120),
                fmt.text(format_with_unit(one.theory, one.unit), limit=40),
                Text(grade(one), "" if one.hit else "yellow"),
            )
    yield Padding(table, (1, 0, 0, 0), expand=False)


def format_with_unit(value: float | str | None, unit: str) -> str:
    """A value as text: `312 ms`, a count, names or `never`; `-` for None and ""."""
    if value is None or isinstance(value, str):
        return value or formatting.NONE
    return f"{formatting.ms(value)} ms" if unit == "ms" else format_value(value)


def grade(guess: Guess) -> str:
    """The grade of a guess: `right`, `near`, `no`, `2.5 x too low`; `-` if not measured."""
    if guess.hit is None:
        return formatting.NONE
    if guess.hit:
        return "right" if guess.unit != "ms" or isinstance(guess.guessed, str) else "near"
    if isinstance(guess.guessed, str) or isinstance(guess.measured, str) or guess.unit != "ms":
        return "no"
    if not guess.guessed or not guess.measured:
        return "no"
    too_low = guess.measured > guess.guessed
    factor = guess.measured / guess.guessed if too_low else guess.guessed / guess.measured
    return f"{factor:.1f} x too {'low' if too_low else 'high'}"
