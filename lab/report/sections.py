"""The smaller parts of a run's report: short tables and sentences.

Consumer lag, open databases, dependencies, stuck consumers, calls between services, the quality of
the load, the predictions of theory, the guesses of the user, and the verdicts. A part is empty if
the run has nothing to show for it.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from lab.report import formatting, tables
from lab.report.blocks import Block, Cell, Column, Heading, Line, Style, Table
from lab.report.doses import doses
from lab.results.claims import CLAIMS
from lab.results.dependencies import (
    call_count,
    count_edges,
    count_services,
    count_subscriptions,
    count_transitive_dependencies,
)
from lab.results.paths import format_value, lookup
from lab.results.result import (
    NEVER,
    EndpointResult,
    Expectation,
    ExpectationVerdict,
    Guess,
    LoadSummary,
    Prediction,
    RunResult,
    SidecarCostResult,
    VariantResult,
)

INVALID = "INVALID: the figures of this run are not reliable, so they are no result."


def details(result: RunResult) -> Iterator[Block]:
    """The data, consumer lag, databases, dependencies, and the evidence."""
    yield tables.data(result)
    yield from consumer_lag(result)
    yield from databases(result)
    yield from dependencies(result)
    yield from evidence(result)


# ── Head of the report


def headline(result: RunResult) -> str:
    """The outcome of a run in one line."""
    name = f"{result.scenario}, simulated" if result.simulated else result.scenario
    if not result.valid:
        return f"{name}: INVALID, not a result: {' '.join(result.problems)}"
    verdicts = [expectation.verdict for expectation in result.expectations]
    missing = verdicts.count("not measured")
    return (
        f"{name}: {verdicts.count('holds')} of {len(verdicts)} expectations hold"
        f"{f', {missing} not measured' if missing else ''}"
    )


def simulated_note(result: RunResult) -> str:
    """That no process ran, and where the times of the model come from."""
    facts = result.simulation
    if facts is None:
        return "Simulated: no process ran."
    calls, events = sum(facts.calls.values()), sum(facts.events.values())
    refused = len(facts.refused)
    left_out = (
        f" A dash (-) in place of {refused} {'figure' if refused == 1 else 'figures'}: there the "
        "model missed the real lab (lab simulate --validate)."
    )
    return (
        f"Simulated: no process ran. {calls:,} calls and {events:,} events in {facts.engine_s:.1f} "
        f"s; the time of each was drawn from `{facts.measured_in}`, measured on "
        f"{facts.measured_on}.{left_out if refused else ''}"
    )


SHARED_CORES = "The variants shared the cores: alone, each would be a little faster."


def run_count(result: RunResult) -> Iterator[Line]:
    """How the variants ran, the number of runs, and those that are left out, with the reason."""
    if result.simulated:
        yield Line(simulated_note(result), "soft", 0)
    elif result.isolated:
        note = "The variants ran one after another, each with the machine to itself."
        yield Line(note, "soft", 0)
    elif len(result.variants) > 1:
        yield Line(SHARED_CORES, "soft", 0)
    if result.repeats == 1:
        return
    any_proved = any(run.valid and not run.unproved for run in result.runs)
    left_out = [run for run in result.runs if not run.valid or (run.unproved and any_proved)]
    seeds = f"seeds {result.runs[0].seed} to {result.runs[-1].seed}"
    valid_count = result.repeats - len(left_out)
    yield Line(
        f"{result.repeats} runs, {seeds}; figures of {valid_count} valid ones together", "soft", 0
    )
    for run in left_out:
        reason = next(iter([*run.problems, *run.unproved]), "")
        yield Line(f"- {run.folder} is left out: {reason}", "bad", 0)


# ── Failures


def failures(result: RunResult) -> Iterator[Block]:
    """The errors of each endpoint by kind, and the p50 time until the sender saw them (ms)."""
    lines = []
    for variant in result.variants:
        for phase, figures in variant.phases.items():
            failed = [
                f"{name} {_errors(endpoint)}"
                for name, endpoint in figures.endpoints.items()
                if endpoint.failed
            ]
            if failed:
                lines.append(Line(f"{variant.name}, {phase}: {'; '.join(failed)}"))
    if lines:
        yield Heading("How requests failed, and after how long (p50)")
        yield from lines


def _errors(endpoint: EndpointResult) -> str:
    kinds = ", ".join(f"{number} × {kind}" for kind, number in endpoint.errors.items() if number)
    return f"{kinds or endpoint.failed} ({formatting.ms(endpoint.failed_after_ms.p50)} ms)"


# ── Consumer lag

_LAG_THRESHOLD = 20
"""Events. A consumer with a smaller maximum lag is shown only if an expectation is about lag."""

_LAG_COLUMNS = (
    Column(limit=24),
    Column("consumer", limit=16),
    Column("max lag,\nevents", right=True),
    Column("arriving\na second", right=True),
    Column("outage", right=True),
    Column("drained\nafter", right=True),
    Column("drained\na second", right=True),
)


def consumer_lag(result: RunResult) -> Iterator[Block]:
    """A row for each consumer with a large lag, and a line for each added replica.

    If an expectation is about lag, a row for every consumer.
    """
    show_all = any(".lag." in expectation.that for expectation in result.expectations)
    rows = []
    for variant in result.variants:
        name = variant.name
        for service, lag in variant.lag.items():
            if show_all or lag.max >= _LAG_THRESHOLD:
                drained_s = lookup(f"{variant.name}.lag.{service}.drained_seconds", result)
                cells = (
                    name,
                    service,
                    str(lag.max),
                    format_value(lag.arrival_rate, formatting.NONE),
                    formatting.seconds(lag.outage_seconds),
                    formatting.seconds(drained_s),
                    format_value(lag.drain_rate, formatting.NONE),
                )
                rows.append([Cell(text) for text in cells])
                name = ""
    if rows:
        title = "Consumer lag: events between the end of the log and the consumer's offset"
        yield Table(title, _LAG_COLUMNS, [rows], labels=2)
    for variant in result.variants:
        for newcomer in variant.newcomers:
            sentence = (
                f"{variant.name}: {newcomer.part} started with no data and consumed "
                f"{newcomer.events} events"
            )
            if newcomer.seconds is None:
                yield Line(f"{sentence}, and did NOT REACH the end of the log.", "bad")
                continue
            rate = format_value(newcomer.events_per_s, formatting.NONE)
            sentence += f" in {formatting.seconds(newcomer.seconds)} ({rate} a second)"
            if newcomer.differences is not None:
                sentence += (
                    f"; of {newcomer.entries} feed entries, {newcomer.differences} differ "
                    f"from {newcomer.service}'s"
                )
            yield Line(f"{sentence}.")


# ── Open databases


def databases(result: RunResult) -> Iterator[Block]:
    """The files that each process has open, and each attempt to open another owner's database.

    Nothing unless an expectation is about databases.
    """
    if not any(".databases." in expectation.that for expectation in result.expectations):
        return
    sections = []
    for variant in result.variants:
        rows = []
        for number, (process, files) in enumerate((variant.databases or {}).items()):
            name = variant.name if number == 0 else ""
            rows.append([Cell(name), Cell(process), _files_cell(variant, process, files)])
        sections.append(rows)
    columns = [
        Column(limit=24),
        Column("process", limit=24),
        Column("databases it has open", limit=200),
    ]
    yield Table("Databases, under load", columns, sections, labels=2)
    for variant in result.variants:
        for attempt in variant.reached_in:
            word, style = _FOREIGN_OPEN[attempt.refused]
            reason = attempt.says.partition(". ")[0]
            yield Line(
                f"{variant.name}: {attempt.who} opens the database of {attempt.into}, which "
                f"belongs to {attempt.owner}: {word}. {reason}",
                style,
            )


_FOREIGN_OPEN: dict[bool, tuple[str, Style]] = {
    True: ("refused", ""),
    False: ("NOT REFUSED", "bad"),
}


def _files_cell(variant: VariantResult, process: str, files: list[str]) -> Cell:
    """The open files; a file of another process with the name of its owner."""
    owners = variant.database_owners
    foreign_files = {file: owners[file] for file in files if owners.get(file, process) != process}
    names = (
        f"{file} (of {foreign_files[file]})" if file in foreign_files else file for file in files
    )
    return Cell(", ".join(names) or formatting.NONE, "bad" if foreign_files else "")


# ── Dependencies

_DEPENDENCY_COLUMNS = (
    Column(limit=24),
    Column("services", right=True),
    Column("edges", right=True),
    Column("of which\nto the bus", right=True),
    Column("event types\nconsumed", right=True),
    Column("dependent\npairs", right=True),
)


def dependencies(result: RunResult) -> Iterator[Table]:
    """The observed dependencies, a row for each variant.

    Nothing unless an expectation is about them.
    """
    if not any(".web." in expectation.that for expectation in result.expectations):
        return
    rows = []
    for variant in result.variants:
        if variant.attached:
            continue
        services = count_services(variant)
        pairs = f"{count_transitive_dependencies(variant)} of {services * (services - 1)}"
        on_the_bus, subscriptions = len(variant.on_the_bus), count_subscriptions(variant)
        figures = (services, count_edges(variant), on_the_bus, subscriptions, pairs)
        rows.append([Cell(variant.name), *(Cell(str(figure)) for figure in figures)])
    yield Table("Observed dependencies between services", _DEPENDENCY_COLUMNS, [rows])


# ── Faults, load and notes


def evidence(result: RunResult) -> Iterator[Block]:
    """The proof of each fault, the notes on each variant, and the quality of the load."""
    yield Heading("Faults, load and notes")
    for variant in result.variants:
        for fault in variant.faults:
            proof = formatting.evidence(fault.evidence) or "no evidence"
            word = "acted" if fault.acted else "DID NOT ACT"
            doubts = [*fault.doubts, *filter(None, [fault.ended_late])]
            if fault.acted and doubts:
                word = f"DID NOT ACT AS DECLARED ({'; '.join(doubts)})"
            yield Line(
                f"{variant.name}: {fault.target} {fault.kind} {word}: {proof}",
                "" if fault.acted and not doubts else "bad",
            )
        sentences = [
            *variant.notes,
            *stuck_consumers(variant),
            call_counters(variant),
            client_retries(variant),
            sidecar_cost(variant.sidecar),
        ]
        yield from (Line(f"{variant.name}: {sentence}") for sentence in sentences if sentence)
        if sentence := degraded_answers(variant):
            yield Line(f"{variant.name}: {sentence}", "bad")
    yield from map(Line, doses(result))
    if result.valid:
        yield Line(f"{load_quality(result.load)}.")
    else:
        yield Line(f"{load_quality(result.load)}. The run is INVALID.", "bad")


def stuck_consumers(variant: VariantResult) -> Iterator[str]:
    """A line for each stuck service, and one line for all dead letters."""
    for service, reason in (variant.stuck or {}).items():
        yield f"{service} is stuck, and says so at /health: {reason}."
    if variant.dead_letters:
        counts = ", ".join(f"{number} by {name}" for name, number in variant.dead_letters.items())
        yield f"events laid aside as dead letters: {counts}."


_CALL_PHRASES = {
    "timed_out": "{} not answered in time",
    "retried": "{} of them repeated after a failure",
    "budget_denied": "{} retries not allowed by the retry budget",
    "opened": "a circuit opened {} times",
    "broken": "{} calls refused by an open circuit",
    "bulkhead_refused": "{} refused by a full bulkhead",
    "hedged": "{} sent a second time because they took long",
    "hedge_won": "{} of those answered first",
    "fell_back": "{} went on with less",
    "given_up": "{} requests not begun, because their deadline had passed",
}


def call_counters(variant: VariantResult) -> str | None:
    """A sentence on timeouts, retries, circuit breakers and the like; None if there were none."""
    counts = {
        kind: int(call_count(variant, kind) or 0) for kind in ("asked", "attempts", *_CALL_PHRASES)
    }
    clauses = [text.format(counts[kind]) for kind, text in _CALL_PHRASES.items() if counts[kind]]
    if not clauses:
        return None
    summary = f"services asked each other {counts['asked']} times, in {counts['attempts']} attempts"
    return f"{'; '.join((summary, *clauses))}."


def degraded_answers(variant: VariantResult) -> str | None:
    """A sentence: how many good answers were degraded in each phase; None if none were."""
    degraded = {
        phase: sum(endpoint.degraded for endpoint in figures.endpoints.values())
        for phase, figures in variant.phases.items()
    }
    counts = _phase_counts(degraded)
    return counts and f"answers that count as good, though their comments are missing: {counts}."


def client_retries(variant: VariantResult) -> str | None:
    """A sentence: how often clients retried a write in each phase; None if they never did."""
    retried = {
        phase: sum(endpoint.retried for endpoint in figures.endpoints.values())
        for phase, figures in variant.phases.items()
    }
    counts = _phase_counts(retried)
    return counts and f"clients that got no answer sent their write again: {counts}."


def _phase_counts(counts: dict[str, int]) -> str | None:
    return ", ".join(f"{count} {phase}" for phase, count in counts.items() if count) or None


def sidecar_cost(cost: SidecarCostResult | None) -> str | None:
    """A sentence: how much latency the sidecar adds in front of an external service."""
    if cost is None:
        return None
    return (
        f"the sidecar before it takes {cost.with_ms - cost.without_ms:.2f} ms of each reading of "
        f"the feed (p50 {cost.with_ms:.2f} ms with it, {cost.without_ms:.2f} without, of "
        f"{cost.asked}; an answer of {cost.kib:g} KiB)."
    )


BUSY_SHARE = 0.9
"""From this share of busy processor time on, processes sometimes wait for a processor."""


def load_quality(load: LoadSummary) -> str:
    """A line without a full stop: send lag, late and dropped sends, busy processors, probes."""
    lag_ms = formatting.ms(load.lag_ms.p99)
    clauses = [
        f"load: 99 % of the requests left within {lag_ms} ms of their moment",
        f"{load.late} late, {load.dropped} dropped",
    ]
    if load.machine_share is not None:
        clauses.append(_processor_usage(load.machine_share))
    if load.probes:
        probes = ", ".join(f"{name} {number}" for name, number in load.probes.items())
        clauses.append(f"additional reads, to see when writes are visible: {probes}")
    return "; ".join(clauses)


def _processor_usage(share: float) -> str:
    """A clause on how busy the processors were. `share`: of their whole time, 0 to 1."""
    clause = f"the processors were busy {100 * share:.0f} % of the time"
    if share >= BUSY_SHARE:
        clause += ", so all times here include waiting for a processor"
    return clause


def conditions(result: RunResult) -> Table:
    """The conditions of the measurement: machine, seed, load and variants."""
    load = result.load
    rows = {
        "scenario": result.scenario,
        "seed": str(result.seed),
        "started": result.started,
        "length": "quick: half the time, half the samples" if result.quick else "whole",
        **{
            name.replace("_", " "): formatting.evidence(value)
            for name, value in result.environment.items()
        },
        "load sent late, dropped": f"{load.late}, {load.dropped}",
        "load left within": f"{formatting.ms(load.lag_ms.p99)} ms of its moment, for 99 % of it",
    }
    if load.machine_share is not None:
        rows["processors"] = _processor_usage(load.machine_share)
    for variant in result.variants:
        options = formatting.evidence(variant.options) or "no switches"
        rows[f"variant {variant.name}"] = f"{variant.arrangement}; {options}"
    cells = [[Cell(name), Cell(value)] for name, value in rows.items()]
    return Table("Machine, seed and variants", [Column(), Column()], [cells])


# ── Predictions of theory


def prediction_rows(predictions: Sequence[Prediction]) -> Iterator[Block]:
    """A row for each prediction; below the table, why some deviate or are not judged."""
    if not predictions:
        return
    rows = [
        [
            Cell(prediction.says),
            Cell(format_value(prediction.predicted, formatting.NONE)),
            Cell(interval(prediction)),
            Cell(
                format_value(prediction.measured, formatting.NONE),
                "warn" if prediction.agrees is False else "",
            ),
            Cell(_deviation(prediction), "warn" if prediction.agrees is False else ""),
        ]
        for prediction in predictions
    ]
    headings = ("predicted", "interval", "measured", "off by")
    columns = [Column("prediction"), *(Column(heading, right=True) for heading in headings)]
    yield Table("What theory predicted", columns, [rows])
    for prediction in predictions:
        if prediction.answer:
            yield Line(f"- {prediction.says}: {prediction.answer}", "soft")
        elif prediction.reason:
            yield Line(f"- Not judged: {prediction.says} {prediction.reason}", "soft")
        elif prediction.agrees is False and prediction.because:
            yield Line(f"- Outside the interval: {prediction.because}", "soft")


def interval(prediction: Prediction) -> str:
    """The interval in which the measurement should lie, for a table."""
    if prediction.low is None or prediction.high is None:
        return formatting.NONE
    return f"{prediction.low:.3g} to {prediction.high:.3g}"


def _deviation(prediction: Prediction) -> str:
    if prediction.deviation is None:
        return formatting.NONE
    return f"{prediction.deviation:+.0%}" if abs(prediction.deviation) < 10 else "far off"


# ── Guesses of the user


def guess_rows(result: RunResult) -> Iterator[Table]:
    """A table with each question, and below it a row for each variant that it is about.

    If the run is no result, the table shows guesses and no measurements.
    """
    guesses = result.guesses
    if not guesses:
        return
    if not result.valid:
        unjudged = {"measured": None, "hit": None}
        guesses = [guess.model_copy(update=unjudged) for guess in guesses]
    sections = []
    for question, group in groupby(guesses, lambda guess: guess.asks):
        rows: list[list[Cell]] = []
        for guess in group:
            label = Cell(question if not rows else "")
            if guess.variant:
                if not rows:
                    rows.append([label, *([Cell("")] * 4)])
                label = Cell(guess.variant, indent=2)
            values = (guess.guessed, guess.measured, guess.theory)
            figures = (Cell(format_with_unit(value, guess.unit)) for value in values)
            rows.append([label, *figures, Cell(grade(guess), "" if guess.hit else "warn")])
        sections.append(rows)
    columns = [
        Column("prediction"),
        Column("you", right=True, limit=120),
        Column("measured", right=True, limit=120),
        Column("theory", right=True, limit=40),
        Column(limit=40),
    ]
    yield Table("What you had predicted", columns, sections)


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


# ── Verdicts

_MS_FIGURES = ("p50", "p90", "p95", "p99", "max", "mean")


@dataclass(frozen=True, slots=True)
class JudgedExpectation:
    """An expectation in words: what was expected, what was measured, and the verdict. `reason`:
    why it was not measured."""

    verdict: ExpectationVerdict
    text: str
    expected: str
    measured: str
    reason: str = ""

    @property
    def sign(self) -> str:
        """A tick, a cross or a question mark."""
        return formatting.VERDICT_SIGNS[self.verdict][0]


@dataclass(frozen=True, slots=True)
class JudgedClaim:
    """A claim and its expectations. Without a claim `name` and `text` are ""."""

    name: str
    text: str
    expectations: tuple[JudgedExpectation, ...]


def judged_claims(result: RunResult) -> list[JudgedClaim]:
    """The claims with their expectations, in the order of the file.

    A claim that comes again has its text only the first time.
    """
    claims: list[JudgedClaim] = []
    for name, group in groupby(result.expectations, lambda expectation: expectation.claim or ""):
        is_new = name in CLAIMS and all(claim.name != name for claim in claims)
        text = CLAIMS[name].says if is_new else ""
        claims.append(JudgedClaim(name, text, tuple(map(_judged, group))))
    return claims


def _judged(expectation: Expectation) -> JudgedExpectation:
    figures = ", ".join(
        f"{path} {format_figure(path, value)}" for path, value in expectation.values.items()
    )
    return JudgedExpectation(
        expectation.verdict,
        expectation.says,
        expectation.that or expectation.expected or "",
        figures or format_value(expectation.measured, formatting.NONE),
        expectation.reason,
    )


def format_figure(path: str, value: float | None) -> str:
    """A figure with the unit that its path implies; None is `never` or `nothing`."""
    unit = path.rpartition(".")[2].rpartition("_")[2]
    if value is None:
        # A document has null for infinity.
        return NEVER if path.endswith("recovery_seconds") or "all_p" in path else "nothing"
    if math.isinf(value):
        return NEVER
    if unit == "success":
        return formatting.success(value)
    if unit in _MS_FIGURES and ".lag." not in path:
        return f"{formatting.ms(value)} ms"
    return f"{value:.3g} s" if unit == "seconds" else f"{value:g}"
