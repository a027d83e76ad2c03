"""The answer of a run: which variant is better off, by how much, and at what price.

`build_answer` makes it once from a result; the terminal, the page and the notebook only render it.
Its rows are the questions that a person has. A scenario file may name rows, a price, `why` and
`catch` (table `[answer]`); otherwise they are chosen from what was measured.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from statistics import fmean

from lab.experiment.evaluate import requests_sent, unproved_reasons
from lab.load.metrics import LATE_AFTER_MS
from lab.load.samples import Sample
from lab.report import formatting
from lab.report.answer_rows import (
    ACTIONS,
    CALM_PHASES,
    UNCLEAR,
    AnswerMatrix,
    AnswerRow,
    AnswerSection,
    RowBuilder,
    state_of,
    times,
    with_unit,
)
from lab.report.doses import doses
from lab.report.sections import format_with_unit, run_count
from lab.results.expressions import PLACEHOLDER, evaluate_figure
from lab.results.paths import format_value
from lab.results.result import (
    ASSUMED_NOISE,
    ENDPOINTS,
    SURGE,
    Expectation,
    Guess,
    RunResult,
    VariantResult,
)

STRIP_COLUMNS = 50
MIN_SPREAD = 0.05
"""A strip is drawn only if the variants' shares of success differ by this much."""
MOSTLY, HARDLY = 0.9, 0.1
"""Shares of success between which a column of a strip is drawn as half."""


@dataclass(frozen=True)
class Strip:
    """Success of one kind of request over time: for each column a share, None without requests."""

    variant: str
    shares: tuple[float | None, ...]
    total: str


@dataclass(frozen=True)
class Failure:
    """An expectation that failed: its sentence, and the figures that decided it."""

    says: str
    measured: str


@dataclass(frozen=True)
class Answer:
    """Everything that the first screen says. Texts are plain. `better`: which variant is better
    off, and by how much; `price`: which one pays for it, and how much. `strip_marks` are the
    columns at which a fault begins and ends, with the words for what lies between."""

    title: str
    subject: str
    valid: bool
    problems: tuple[str, ...]
    variants: tuple[str, ...]
    ways: tuple[str, ...]
    better: str
    price: str
    sections: tuple[AnswerSection, ...]
    matrix: AnswerMatrix | None = None
    strips: tuple[Strip, ...] = ()
    strip_stages: tuple[tuple[int, str], ...] = ()
    strip_label: str = ""
    guesses: tuple[str, ...] = ()
    why: str = ""
    catch: str = ""
    theory: str = ""
    verdict: str = ""
    failed: tuple[Failure, ...] = ()
    footnotes: tuple[str, ...] = ()
    following: str = ""
    scenario: str = ""
    simulated: bool = False


def build_answer(result: RunResult, samples: Sequence[Sample] = ()) -> Answer:
    """The answer of a run. `samples`: of the same run, for the strip; may be empty."""
    rows = RowBuilder(result)
    stages, strips, strip_label = _strips(result, samples)
    sections = tuple(one for one in rows.sections() if one.rows)
    texts = result.answer
    better, price = _top_lines(rows, sections) if result.valid else ("", "")
    return Answer(
        title=result.title or result.scenario,
        subject=_subject(result),
        valid=result.valid,
        problems=tuple(result.problems),
        variants=tuple(one.name for one in result.variants),
        ways=tuple(_way(one) for one in result.variants),
        better=better,
        price=price,
        sections=sections,
        matrix=rows.matrix(),
        strips=strips,
        strip_stages=stages,
        strip_label=strip_label,
        guesses=tuple(_guesses(result)),
        why=fill_figures(texts.why, result) or _first_sentences(result.explain)
        if result.valid
        else "",
        catch=fill_figures(texts.catch, result) if result.valid else "",
        theory=_theory(result) if result.valid else "",
        verdict=_verdict(result),
        failed=tuple(
            _failure(one) for one in result.expectations if one.verdict == "fails" and result.valid
        ),
        footnotes=(
            *rows.footnotes,
            *(doses(result) if result.valid and rows.matrix() is None else ()),
            *_unproved_notes(result),
            *_uncertain_notes(result),
            *(line.text for line in run_count(result)),
        ),
        following=texts.next,
        scenario=result.scenario,
        simulated=result.simulated,
    )


# ── The two lines at the top


def _top_lines(rows: RowBuilder, sections: Sequence[AnswerSection]) -> tuple[str, str]:
    """Which variant is better off, and what that costs it: each the line that the scenario names,
    or the first row of the table that shows it. A variant that is better off pays; if there is
    none, the worst one does. A named price that may be large is shown even if it is not certain."""
    names = [one.name for one in rows.result.variants]
    table = list(_rows_by_name(rows.matrix(), sections))
    better, price = (
        replace(rows.line_row(line), label=line.says) if line is not None else None
        for line in (rows.result.answer.better, rows.result.answer.price)
    )
    gain = next((row for row in (better, *table) if row and row.best), None)
    winners = gain.best if gain else frozenset()

    def payers(row: AnswerRow) -> frozenset[int]:
        return row.losing & winners if winners else row.worst

    is_open = price is not None and not payers(price) and _may_be_large(price, winners)
    priced = (row for row in (price, *table) if row and payers(row))
    cost = price if is_open else next(priced, price)
    paying = payers(cost) if cost else frozenset()
    verb = " pays" if len(paying) == 1 else " pay"
    alone = f"only {names[0]} ran" if len(names) == 1 else ""
    return (
        _top_line(alone or "no difference shown", gain or better, names, winners),
        _top_line(alone or ("unclear" if is_open else "none shown"), cost, names, paying, verb),
    )


LARGE = 1.5
"""So many times as much is a difference that a reader should see, certain or not."""


def _may_be_large(row: AnswerRow, winners: frozenset[int]) -> bool:
    """Whether a variant that is better off may pay much, although the row can't tell."""
    values = [cell.value for cell in row.cells]
    known = [value for value in values if value]
    most = max((values[index] or 0.0 for index in winners), default=0.0)
    return row.better == UNCLEAR and len(known) == len(values) and most >= LARGE * min(known)


def _rows_by_name(
    matrix: AnswerMatrix | None, sections: Sequence[AnswerSection]
) -> Iterator[AnswerRow]:
    """The rows of the table, each with a label that says what its figures are."""
    titled = [(fault, row) for fault, rows in (matrix.lines if matrix else ()) for row in rows]
    for section in sections:
        titled += [(section.title if section.is_phase else "", row) for row in section.rows]
    for title, row in titled:
        label = row.alone or row.label.strip()
        words = f"{title}, {label}" if title else f"{label[:1].upper()}{label[1:]}"
        yield replace(row, label=f"{words} ({row.unit})" if row.unit else words)


def _top_line(
    otherwise: str,
    row: AnswerRow | None,
    names: Sequence[str],
    first: frozenset[int],
    verb: str = "",
) -> str:
    """The variants `first` with their figures, then the others; without any, `otherwise`."""
    if row is None:
        return f"{otherwise}."
    figures = [one.short or one.text for one in row.cells]
    groups: dict[tuple[bool, str], list[str]] = {}
    for index in sorted(range(len(names)), key=lambda index: index not in first):
        groups.setdefault((index not in first, figures[index]), []).append(names[index])
    parts = [f"{', '.join(who)} {figure}" for (_, figure), who in groups.items()]
    if len(names) == 1 or (first and len({is_other for is_other, _ in groups}) == len(groups)):
        parts[0] = figures[min(first, default=0)]
        if len(names) - len(first) > 2:
            parts[1:] = [f"the others {figure}" for is_other, figure in groups if is_other]
    shown = f"{row.label}: {'; '.join(parts)}{_factor(row, figures, first)}"
    if first:
        return f"{', '.join(names[index] for index in sorted(first))}{verb}. {shown}"
    return f"{otherwise}. {shown}" if len(names) == 1 else f"{otherwise} ({shown})"


def _factor(row: AnswerRow, figures: Sequence[str], first: frozenset[int]) -> str:
    """How many times as much, of two variants that differ in no share."""
    low, high = sorted(one.value or 0.0 for one in row.cells) if len(figures) == 2 else (0, 0)
    if not (first and low > 0) or any("%" in one for one in figures):
        return ""
    return f" ({times(high / low)})"


# ── Sentences

_MAX_NOTES = 3
_SHOWN_FIGURES = ("success", "p50", "visible_p50")


def _unproved_notes(result: RunResult) -> Iterator[str]:
    """The faults that did not act as declared, or not on a steady state."""
    reasons = unproved_reasons(result) if result.valid else []
    yield from reasons[:_MAX_NOTES]
    if reasons:
        yield "What depends on it is shown, and not compared. Is the machine busy?"


def _uncertain_notes(result: RunResult) -> Iterator[str]:
    """What is not certain because the load was late: first how late, then what follows from it."""
    load = result.load
    if not result.valid or not (load.late or load.dropped):
        return
    unsent = f" and {load.dropped} not at all" if load.dropped else ""
    late = f"{load.late} of {requests_sent(result)} requests were sent more than 10 ms late{unsent}"
    unsure = list(_uncertain_figures(result))
    unmeasured = [f"Not measured: {one.says}" for one in result.expectations if one.reason]
    if not unsure and not unmeasured:
        yield f"{late}: the machine was busy. All that is said here is true in spite of it."
        return
    yield f"{late}: the machine was busy. What depends on them is not judged."
    notes = [*unmeasured, *(f"Not certain: {one}" for one in unsure)]
    yield from notes[:_MAX_NOTES]
    if len(notes) > _MAX_NOTES:
        yield f"… and {len(notes) - _MAX_NOTES} more (lab report --json: bounds)."


def _uncertain_figures(result: RunResult) -> Iterator[str]:
    """The figures of the rows whose two ends differ by more than the noise floor."""
    noise = result.noise_floor.share if result.noise_floor is not None else ASSUMED_NOISE
    for variant in result.variants:
        for path, (low, high) in variant.bounds.items():
            last = path.rpartition(".")[2]
            if last not in _SHOWN_FIGURES or path.startswith(("data.", "after.")):
                continue
            near = low + noise
            if last != "success":
                near = max(low * (1 + noise), low + LATE_AFTER_MS)
            if high is not None and high <= near:
                continue
            ends = f"{with_unit(path, low)} or more"
            if high is not None:
                ends = f"{with_unit(path, low)} to {with_unit(path, high)}"
            yield f"{variant.name}.{path} is {ends}"


def fill_figures(sentence: str, result: RunResult) -> str:
    """The sentence with each `{figure}` replaced by its value in this run, with its unit.

    A figure is a path or an expression (`{sync-chain.during.read_feed.p50}`). A sentence with a
    figure that was not measured is left out: the result is "".
    """
    values: dict[str, str] = {}
    for expression in PLACEHOLDER.findall(sentence):
        try:
            value = evaluate_figure(expression, result)
        except ValueError:
            return ""
        if value is None:
            return ""
        values[expression] = with_unit(expression, value)
    return " ".join(PLACEHOLDER.sub(lambda match: values[match[1]], sentence).split())


def _theory(result: RunResult) -> str:
    """The prediction that the measurement refutes, or the first one; and how many it does not."""
    judged = [one for one in result.predictions if one.agrees is not None and one.low is not None]
    if not judged:
        return ""
    shown = next((one for one in judged if not one.agrees), judged[0])
    predicted, low, high, measured = (
        _three_digits(value) for value in (shown.predicted, shown.low, shown.high, shown.measured)
    )
    sentence = f"predicted {predicted} ({low} to {high}), measured {measured}: {shown.says}"
    if len(judged) == 1:
        return sentence
    return f"{sentence} {sum(one.agrees is True for one in judged)} of {len(judged)} as predicted."


def _three_digits(value: float | None) -> str:
    if value is None:
        return format_value(value)
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


_MAX_FIGURES = 3


def _first_sentences(text: str, count: int = 2) -> str:
    flat = " ".join(text.split())
    sentences = re.split(r"(?<=[.!?]) (?=[A-Z])", flat)
    return " ".join(sentences[:count])


def _verdict(result: RunResult) -> str:
    if not result.valid:
        return "This run is no result, so nothing is judged."
    if not result.expectations:
        return "Nothing is expected of these variants, so nothing is judged."
    verdicts = [one.verdict for one in result.expectations]
    held = f"{verdicts.count('holds')} of {len(verdicts)} expectations hold"
    unmeasured = verdicts.count("not measured")
    parts = [f"{unmeasured} not measured"] if unmeasured else []
    by_claim: dict[str, list[str]] = {}
    for one in result.expectations:
        if one.claim:
            by_claim.setdefault(one.claim, []).append(one.verdict)
    signs = [
        f"{claim} {'✗' if 'fails' in each else '?' if 'not measured' in each else '✓'}"
        for claim, each in by_claim.items()
    ]
    return "; ".join([held, *parts]) + (f": {' '.join(signs)}" if signs else "")


def _failure(expectation: Expectation) -> Failure:
    figures = [
        f"{path} {formatting.NONE if value is None else with_unit(path, value)}"
        for path, value in expectation.values.items()
    ]
    return Failure(expectation.says, ", ".join(figures[:_MAX_FIGURES]) or str(expectation.measured))


def _guesses(result: RunResult) -> Iterator[str]:
    """A line for each question: what was said for each variant, and what was measured."""
    for question, group in groupby(result.guesses, lambda guess: guess.short or guess.asks):
        yield f"{question}: {'; '.join(_said(guess, result.valid) for guess in group)}"


def _said(guess: Guess, judged: bool) -> str:
    unit = f" {guess.unit}" if guess.unit else ""
    said = f"{guess.guessed:g}{unit}" if isinstance(guess.guessed, float) else guess.guessed
    words = f"{guess.variant} {said}".strip()
    if not judged:
        return words
    if guess.measured is None:
        return f"{words} (not measured)"
    sign = "✓" if guess.hit else "✗"
    return f"{words} (was {format_with_unit(guess.measured, guess.unit)}) {sign}"


def _way(variant: VariantResult) -> str:
    """How this variant's services get at each other's data, in few words."""
    return {
        "sync-chain": "asks, waits",
        "async-bus": "own copy",
        "request-reply": "asks by events",
        "monolith": "one process",
    }.get(variant.arrangement, variant.arrangement)


def _subject(result: RunResult) -> str:
    """What is done to the blog, in one line."""
    facts = result.simulation
    if facts is None:
        return _faults_in_words(result)
    where = f" on {facts.broken} of {facts.shards} shards" if facts.shards > 1 else ""
    return (
        f"simulated: {facts.services:,} services, {facts.rate:,.0f} requests/s; "
        f"{_faults_in_words(result)}{where if result.timeline.windows else ''}"
    )


def _faults_in_words(result: RunResult) -> str:
    parts: dict[str, None] = {}
    for window in result.timeline.windows:
        length = f"for {window.until_s - window.from_s:g} s"
        if window.kind == SURGE:
            parts[f"more requests arrive {length}"] = None
            continue
        settings = ", ".join(
            _setting(name, value)
            for name, value in window.settings.items()
            if name != "per_event"  # the doses, at the end of the screen, say what each side met
        )
        if len(result.variants) == 2 and len(window.variants) == 1:
            length = f"in {window.variants[0]} {length}"
        parts[
            f"{state_of(window.kind, window.target)}{f' ({settings})' if settings else ''} {length}"
        ] = None
    words = list(parts)
    some_only = [0 < len(one.variants) < len(result.variants) for one in result.timeline.windows]
    if len(words) > 2 and all(some_only):
        return "each variant has a fault of its own"
    if any(one.name == "during" for one in result.timeline.stages):
        more = f", and {len(words) - 2} more faults" if len(words) > 2 else ""
        return " and ".join(words[:2]) + more or "nothing is broken"
    if len(words) > 2:
        return f"{len(words)} faults, one after another"
    return ", then ".join(words) or "nothing is broken"


def _setting(name: str, value: object) -> str:
    return f"{value:g} ms" if name == "ms" else formatting.fault_setting(name, value)


# ── Strip


def _strips(
    result: RunResult, samples: Sequence[Sample]
) -> tuple[tuple[tuple[int, str], ...], tuple[Strip, ...], str]:
    """Success over time, of the kind of request in which the variants differ most."""
    stages = result.timeline.stages
    if not samples or not stages:
        return (), (), ""
    begin_s, end_s = stages[0].from_s, stages[-1].until_s
    length_s = end_s - begin_s
    sent = [one for one in samples if not one.dropped]
    shares = {
        endpoint: [_under_fault(sent, variant.name, endpoint) for variant in result.variants]
        for endpoint in ENDPOINTS
    }
    endpoint = max(ENDPOINTS, key=lambda name: (_spread(shares[name]), name == "read_feed"))
    if _spread(shares[endpoint]) < MIN_SPREAD:
        return (), (), ""
    strips = []
    for variant, (succeeded, broken) in zip(result.variants, shares[endpoint], strict=True):
        bins: list[list[bool]] = [[] for _ in range(STRIP_COLUMNS)]
        for one in sent:
            if (one.variant, one.endpoint) == (variant.name, endpoint):
                column = int((one.intended_s - begin_s) / length_s * STRIP_COLUMNS)
                bins[min(max(column, 0), STRIP_COLUMNS - 1)].append(one.ok)
        strips.append(
            Strip(
                variant.name,
                tuple(fmean(each) if each else None for each in bins),
                f"{succeeded} of {broken}",
            )
        )
    marks = tuple(
        (round((one.from_s - begin_s) / length_s * STRIP_COLUMNS), one.name) for one in stages
    )
    return marks, tuple(strips), ACTIONS[endpoint]


def _under_fault(sent: Iterable[Sample], variant: str, endpoint: str) -> tuple[int, int]:
    """How many requests of a variant succeeded while something was broken, and how many there
    were."""
    found = [
        one.ok
        for one in sent
        if (one.variant, one.endpoint) == (variant, endpoint) and one.phase not in CALM_PHASES
    ]
    return sum(found), len(found)


def _spread(shares: Sequence[tuple[int, int]]) -> float:
    """The distance between the highest and the lowest share."""
    known = [succeeded / total for succeeded, total in shares if total]
    return max(known) - min(known) if known else 0.0
