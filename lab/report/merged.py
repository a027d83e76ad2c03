"""The document of `lab merge` as blocks: what the room thought, what was measured, which machines.

A terminal and a page show the same blocks.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from lab.report import formatting
from lab.report.blocks import Block, Cell, Column, Heading, Line, Style, Table
from lab.report.sections import format_with_unit
from lab.results.merge import (
    Merge,
    MergedExpectation,
    MergedFigure,
    MergedGuess,
    MergedScenario,
    RunSpread,
)

PAGE, DOCUMENT = "merged.html", "merged.json"
_MOST_ANSWERS = 3
_FIGURE_LABELS = {"latency": "answered", "visible": "visible"}


def save(merged: Merge, folder: Path) -> list[Path]:
    """Write the document and the page into a folder; only their owner can read them."""
    from lab.report.html import template

    page = template.render(
        "merged.html",
        parts=[(part, list(blocks(part))) for part in merged.scenarios],
        merged=merged,
        heading=heading,
    )
    paths = []
    for name, text in ((PAGE, page), (DOCUMENT, merged.to_json())):
        paths.append(folder / name)
        file = os.open(paths[-1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(file, "w", encoding="utf-8") as out:
            out.write(str(text))
    return paths


def heading(part: MergedScenario) -> str:
    """A scenario and the number of its runs."""
    quick = ", quick" if part.quick else ""
    invalid = len(part.runs) - part.valid
    without = f", {invalid} more are no result" if invalid else ""
    return f"{part.title or part.scenario}: {part.valid} valid runs{quick}{without}"


def blocks(part: MergedScenario) -> Iterator[Block]:
    """Everything about one scenario."""
    if part.guesses:
        yield Heading("What the room thought")
        yield _guesses(part.guesses)
    if part.figures:
        yield Heading("What was measured")
        yield Line("Of each figure the median run, and in brackets the lowest and the highest run.")
        yield from _figures(part)
    if part.differences:
        yield _differences(part)
    if part.expectations:
        yield _expectations(part.expectations)
    yield Heading("How much the machines differ")
    yield from _machines(part)


def left_out(merged: Merge) -> Iterator[Line]:
    for one in merged.left_out:
        yield Line(f"{one.name} is left out: {one.why}", "warn")


# ── Guesses


def _guesses(guesses: Sequence[MergedGuess]) -> Table:
    rows, question = [], ""
    for guess in guesses:
        label = guess.asks if guess.asks != question else ""
        question = guess.asks
        share = f"{guess.hits} of {guess.judged}" if guess.judged else formatting.NONE
        style: Style = "good" if guess.judged and 2 * guess.hits >= guess.judged else "warn"
        rows.append(
            [
                Cell(label),
                Cell(guess.variant),
                Cell(_values(guess.spread, guess.answers, guess.unit)),
                Cell(_values(guess.measured_spread, guess.measured, guess.unit)),
                Cell(share, style),
            ]
        )
    columns = [
        Column("question", limit=60),
        Column(),
        Column("the room"),
        Column("measured"),
        Column("right", right=True),
    ]
    return Table("", columns, [rows], labels=2)


def _values(spread: RunSpread | None, words: dict[str, int], unit: str) -> str:
    """The middle of the numbers with their range, and the most frequent words with their counts."""
    if spread is None:
        shown = list(words.items())[:_MOST_ANSWERS]
        rest = sum(words.values()) - sum(count for _, count in shown)
        parts = [f"{word} ({count})" for word, count in shown]
        return ", ".join(parts + ([f"other ({rest})"] if rest else [])) or formatting.NONE
    low, middle, high = (
        format_with_unit(value, unit) for value in (spread.low, spread.median, spread.high)
    )
    text = middle if low == high else f"{middle} ({low} to {high})"
    others = {word: count for word, count in words.items() if not _is_number(word)}
    return ", ".join((text, *(f"{word} ({count})" for word, count in others.items())))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


# ── Figures


def _figures(part: MergedScenario) -> Iterator[Table]:
    variants = list(dict.fromkeys(one.variant for one in part.figures))
    rows = list(dict.fromkeys((one.phase, one.endpoint) for one in part.figures))
    found = {(one.variant, one.phase, one.endpoint): one for one in part.figures}
    columns = [
        Column(),
        *(
            Column(name, right=True, over=(variant,))
            for variant in variants
            for name in ("ok", "p50 in ms")
        ),
    ]
    sections, phase = list[list[list[Cell]]](), ""
    for name, endpoint in rows:
        if name != phase:
            phase = name
            blank = [Cell("")] * (2 * len(variants))
            sections.append([[Cell(name, "strong"), *blank]])
        cells = [
            cell for variant in variants for cell in _cells(found.get((variant, name, endpoint)))
        ]
        sections[-1].append([Cell(endpoint, indent=2), *cells])
    yield Table("Answers", columns, sections)


def _cells(figure: MergedFigure | None) -> list[Cell]:
    if figure is None:
        return [Cell(formatting.NONE)] * 2
    share = formatting.success(figure.success)
    spread = figure.success_spread
    if spread and spread.low != spread.high:
        low, high = formatting.success(spread.low), formatting.success(spread.high)
        share = f"{share} ({low} to {high})"
    return [Cell(share), Cell(_range(figure.p50_ms))]


def _range(spread: RunSpread | None) -> str:
    if spread is None:
        return formatting.NONE
    low, middle, high = map(formatting.ms, (spread.low, spread.median, spread.high))
    return middle if low == high else f"{middle} ({low} to {high})"


def _differences(part: MergedScenario) -> Table:
    rows = [
        [
            Cell(f"{one.variant} against {one.against}"),
            Cell(f"{one.phase}, {one.endpoint}, {_FIGURE_LABELS.get(one.figure, one.figure)}"),
            Cell(f"{one.ratio.median:.2g} ({one.ratio.low:.2g} to {one.ratio.high:.2g})"),
            Cell(_counts(one.verdicts)),
        ]
        for one in part.differences
    ]
    columns = [Column(), Column(), Column("times as long", right=True), Column("shown in runs")]
    return Table("Differences", columns, [rows], labels=2)


def _expectations(expectations: Sequence[MergedExpectation]) -> Table:
    rows = [
        [
            Cell(one.says),
            Cell(_counts(one.verdicts), "" if set(one.verdicts) <= {"holds"} else "warn"),
        ]
        for one in expectations
    ]
    return Table("Expectations", [Column(limit=80), Column("in runs")], [rows])


def _counts(counted: dict[str, int]) -> str:
    return ", ".join(f"{word} {count}" for word, count in counted.items()) or formatting.NONE


# ── Machines


def _machines(part: MergedScenario) -> Iterator[Block]:
    paces = [run.pace for run in part.runs if run.pace]
    if len(paces) > 1:
        ratio = max(paces) / min(paces)
        yield Line(
            f"Before anything was broken, the slowest run took {ratio:.1f} times as long for a "
            "request as the fastest one. Compare runs by ratios and not by milliseconds."
        )
    kinds = dict.fromkeys(run.machine for run in part.runs)
    rows = []
    for kind in kinds:
        runs = [run for run in part.runs if run.machine == kind]
        pace = RunSpread.of(run.pace for run in runs)
        shown = (
            formatting.NONE
            if pace is None
            else f"{pace.median:.2f}"
            if pace.low == pace.high
            else f"{pace.median:.2f} ({pace.low:.2f} to {pace.high:.2f})"
        )
        rows.append([Cell(kind), Cell(str(len(runs))), Cell(shown)])
    columns = [Column("machine", limit=100), Column("runs", right=True)]
    columns.append(Column("times as long as the median run", right=True))
    yield Table("", columns, [rows])
