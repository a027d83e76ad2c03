"""What somebody predicted, beside what was measured and what theory said of the same figure."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from lab.report import cells, groups
from lab.report.cells import Look
from lab.scenarios.figures import written
from lab.scenarios.guessed import Guess

TITLE = "What you had predicted"


def rows(guesses: Sequence[Guess], look: Look) -> Iterator[RenderableType]:
    """A table: a line for each question, under it a row for each variant it was asked of."""
    if not guesses:
        return
    table = groups.new_table(TITLE, ["prediction"])
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
    """`312 ms`, a count, names, `never`; `-` for nothing."""
    if value is None or isinstance(value, str):
        return value or cells.NONE
    return f"{cells.ms(value)} ms" if unit == "ms" else written(value)


def said(one: Guess) -> str:
    """How good it was, in a word; by how much it was off, where that is a number."""
    if one.hit is None:
        return cells.NONE
    if one.hit:
        return "right" if one.unit != "ms" or isinstance(one.guessed, str) else "near"
    if isinstance(one.guessed, str) or isinstance(one.measured, str) or one.unit != "ms":
        return "no"
    if not one.guessed or not one.measured:
        return "no"
    too_low = one.measured > one.guessed
    factor = one.measured / one.guessed if too_low else one.guessed / one.measured
    return f"{factor:.1f} x too {'low' if too_low else 'high'}"
