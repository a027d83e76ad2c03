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
from lab.report.formatting import Look
from lab.report.terminal import wide_tables
from lab.results.dependencies import asks_figure, edges, hanging, services
from lab.results.paths import measured, written
from lab.results.result import Guess, Load, Prediction, Result, Variant

# ── Consumer lag

_FAR_BEHIND = 20
"""Events. A consumer with a smaller maximum lag is shown only if an expectation is about lag."""


def hearing(result: Result, look: Look) -> Iterator[RenderableType]:
    """A row for each consumer with a large lag, and a line for each added replica.

    If an expectation is about lag, a row for every consumer.
    """
    asked = any(".lag." in one.that for one in result.expectations)
    rows = [
        (variant, service)
        for variant in result.variants
        for service, lag in variant.lag.items()
        if asked or lag.max >= _FAR_BEHIND
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
            name = look.text(variant.name if first else "", limit=24)
            table.add_row(name, look.text(service, limit=16), *_cells(result, variant, service))
        yield Padding(table, (1, 0, 0, 0), expand=False)
    for variant in result.variants:
        for one in variant.newcomers:
            told = f"{variant.name}: {one.part} came with nothing and heard {one.events} events"
            if one.seconds is None:
                said = look.text(f"{told}, and was NOT LEVEL with the bus.", "bold red", limit=400)
            else:
                rate = written(one.events_per_s, formatting.NONE)
                told += f" in {formatting.seconds(one.seconds)} ({rate} a second)"
                if one.differences is not None:
                    shown = f"of {one.entries} feed entries, {one.differences} differ"
                    told += f"; {shown} from {one.service}'s"
                said = look.text(f"{told}.", limit=400)
            yield Padding(said, (1, 0, 0, 2), expand=False)


def _cells(result: Result, variant: Variant, service: str) -> Iterator[Text]:
    lag = variant.lag[service]
    path = f"{variant.name}.lag.{service}"
    yield Text(str(lag.max))
    yield Text(written(lag.arrival_rate, formatting.NONE))
    yield Text(formatting.seconds(lag.outage_seconds))
    yield Text(formatting.seconds(measured(f"{path}.drained_seconds", result)))
    yield Text(written(lag.drain_rate, formatting.NONE))


# ── Open databases

_HEADINGS = ["process", "databases it has open"]


def databases(result: Result, look: Look) -> Iterator[RenderableType]:
    """The files that each process has open, and each attempt to open another owner's database.

    Nothing unless an expectation is about databases.
    """
    if not any(".databases." in one.that for one in result.expectations):
        return
    table = wide_tables.new_table("Databases, under load", ["", *_HEADINGS])
    for variant in result.variants:
        for number, (part, files) in enumerate((variant.databases or {}).items()):
            name = look.text(variant.name if number == 0 else "", limit=24)
            table.add_row(name, look.text(part, limit=24), *_files(variant, part, files, look))
        table.add_section()
    yield Padding(table, (1, 0, 0, 0), expand=False)
    for variant in result.variants:
        for one in variant.reached_in:
            word, style = ("refused", "") if one.refused else ("NOT REFUSED", "bold red")
            line = f"{variant.name}: {one.who} into {one.into}, which is {one.owner}: {word}."
            said = look.text(f"{line} {one.says.partition('. ')[0]}", style, limit=400)
            yield Padding(said, (0, 0, 0, 2), expand=False)


def _files(variant: Variant, part: str, files: list[str], look: Look) -> Iterator[Text]:
    """One cell: the open files; a file of another process with the name of its owner."""
    owners = variant.database_owners
    of_others = {file: owners[file] for file in files if owners.get(file, part) != part}
    told = [f"{file} (of {of_others[file]})" if file in of_others else file for file in files]
    yield look.text(", ".join(told) or formatting.NONE, "bold red" if of_others else "", limit=200)


# ── Dependencies

_NEEDS_HEADINGS = ("services", "threads", "of which\nto the bus", "hang on\neach other")


def needs(result: Result, look: Look) -> Iterator[RenderableType]:
    """The observed dependencies, a row for each variant.

    Nothing unless an expectation is about them.
    """
    if not any(".web." in one.that for one in result.expectations):
        return
    table = wide_tables.new_table("Who was seen to need whom", [""])
    for heading in _NEEDS_HEADINGS:
        table.add_column(heading, justify="right")
    for variant in result.variants:
        table.add_row(look.text(variant.name, limit=24), *map(str, _figures(variant)))
    yield Padding(table, (1, 0, 0, 0), expand=False)


def _figures(variant: Variant) -> tuple[object, ...]:
    number = services(variant)
    pairs = f"{hanging(variant)} of {number * (number - 1)}"
    return number, edges(variant), len(variant.on_the_bus), pairs


# ── Stuck consumers and dead letters


def halted(variant: Variant) -> Iterator[str]:
    """A line for each stuck service, and one line for all dead letters."""
    for service, at in (variant.stuck or {}).items():
        yield f"{service} is stuck, and says so at /health: {at}."
    if variant.dead_letters:
        counts = ", ".join(f"{number} by {name}" for name, number in variant.dead_letters.items())
        yield f"events laid aside as dead letters: {counts}."


# ── Calls between services

_SAYS = {
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


def questions(variant: Variant) -> str | None:
    """A sentence on timeouts, retries, circuit breakers and the like; None if there were none."""
    counts = {kind: int(asks_figure(variant, kind) or 0) for kind in ("asked", "attempts", *_SAYS)}
    parts = [says.format(counts[kind]) for kind, says in _SAYS.items() if counts[kind]]
    if not parts:
        return None
    whole = f"services asked each other {counts['asked']} times, in {counts['attempts']} attempts"
    return f"{'; '.join((whole, *parts))}."


def without_a_part(variant: Variant) -> str | None:
    """A sentence: how many good answers were degraded in each phase; None if none were."""
    phases = {
        phase: sum(of.degraded for of in figures.endpoints.values())
        for phase, figures in variant.phases.items()
    }
    if not any(phases.values()):
        return None
    counts = ", ".join(f"{count} {phase}" for phase, count in phases.items() if count)
    return f"answers that count as good, though comments are left out of them: {counts}."


def sent_again(variant: Variant) -> str | None:
    """A sentence: how often clients retried a write in each phase; None if they never did."""
    phases = {
        phase: sum(of.retried for of in figures.endpoints.values())
        for phase, figures in variant.phases.items()
    }
    counts = ", ".join(f"{count} {phase}" for phase, count in phases.items() if count)
    return f"clients that got no answer sent their write again: {counts}." if counts else None


# ── Quality of the load

CROWDED = 0.9
"""From this share of busy processor time on, processes sometimes wait for a processor."""


def load_line(load: Load) -> str:
    """A line without a full stop: send lag, late and dropped sends, busy processors, probes."""
    said = [
        f"load: 99 % of the requests left within {formatting.ms(load.lag_ms.p99)} ms of their "
        "moment",
        f"{load.late} late, {load.dropped} dropped",
    ]
    if load.machine_share is not None:
        said.append(processors(load.machine_share))
    if load.probes:
        asked = ", ".join(f"{name} {number}" for name, number in load.probes.items())
        said.append(f"asked besides, to see when writes are visible: {asked}")
    return "; ".join(said)


def processors(share: float) -> str:
    """A clause on how busy the processors were. `share`: of their whole time, 0 to 1."""
    said = f"the processors were busy {100 * share:.0f} % of the time"
    if share >= CROWDED:
        said += ", so that all milliseconds here have waiting for one in them"
    return said


# ── Predictions of theory


def rows(predictions: Sequence[Prediction], look: Look) -> Iterator[RenderableType]:
    """A row for each prediction; below the table, the reasons for the large deviations."""
    if not predictions:
        return
    table = wide_tables.new_table("What theory had said", ["prediction"])
    for heading in ("predicted", "measured", "off by"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in predictions:
        off = "" if one.agrees is not False else "yellow"
        table.add_row(
            look.text(one.says, limit=300),
            written(one.predicted, formatting.NONE),
            written(one.measured, formatting.NONE),
            Text(_off(one), off),
        )
    yield Padding(table, (1, 0, 0, 0), expand=False)
    for one in predictions:
        if one.answer:
            yield Padding(look.text(f"- {one.says}: {one.answer}", "dim", limit=600), (0, 0, 0, 2))
        elif one.agrees is False and one.because:
            said = f"- Off by more than {one.within:.0%}: {one.because}"
            yield Padding(look.text(said, "dim", limit=600), (0, 0, 0, 2))


def _off(one: Prediction) -> str:
    if one.deviation is None:
        return formatting.NONE
    return f"{one.deviation:+.0%}" if abs(one.deviation) < 10 else "far off"


# ── Guesses of the user

TITLE = "What you had predicted"


def guess_rows(guesses: Sequence[Guess], look: Look) -> Iterator[RenderableType]:
    """A table with each question, and below it a row for each variant that it is about."""
    if not guesses:
        return
    table = wide_tables.new_table(TITLE, ["prediction"])
    for heading in ("you", "measured", "theory"):
        table.add_column(heading, justify="right", overflow="fold")
    table.add_column("", no_wrap=True)
    for number, (asks, group) in enumerate(groupby(guesses, lambda one: one.asks)):
        if number:
            table.add_section()
        for first, one in enumerate(group):
            label = look.text(asks, limit=300) if not first else Text()
            if one.variant:
                if not first:
                    table.add_row(label)
                label = Text(f"  {look.plain(one.variant, 24)}")
            table.add_row(
                label,
                look.text(figure(one.guessed, one.unit), limit=120),
                look.text(figure(one.measured, one.unit), limit=120),
                look.text(figure(one.theory, one.unit), limit=40),
                Text(said(one), "" if one.hit else "yellow"),
            )
    yield Padding(table, (1, 0, 0, 0), expand=False)


def figure(value: float | str | None, unit: str) -> str:
    """A value as text: `312 ms`, a count, names or `never`; `-` for None and ""."""
    if value is None or isinstance(value, str):
        return value or formatting.NONE
    return f"{formatting.ms(value)} ms" if unit == "ms" else written(value)


def said(one: Guess) -> str:
    """The grade of a guess: `right`, `near`, `no`, `2.5 x too low`; `-` if not measured."""
    if one.hit is None:
        return formatting.NONE
    if one.hit:
        return "right" if one.unit != "ms" or isinstance(one.guessed, str) else "near"
    if isinstance(one.guessed, str) or isinstance(one.measured, str) or one.unit != "ms":
        return "no"
    if not one.guessed or not one.measured:
        return "no"
    too_low = one.measured > one.guessed
    factor = one.measured / one.guessed if too_low else one.guessed / one.measured
    return f"{factor:.1f} x too {'low' if too_low else 'high'}"
