"""What theory had said, beside what was measured."""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from lab.report import cells, groups
from lab.report.cells import Look
from lab.scenarios.figures import written
from lab.scenarios.theory import Prediction


def rows(predictions: Sequence[Prediction], look: Look) -> Iterator[RenderableType]:
    """A table with a row for each prediction; under it, why those that are off are off."""
    if not predictions:
        return
    table = groups.new_table("What theory had said", ["prediction"])
    for heading in ("predicted", "measured", "off by"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in predictions:
        off = "" if one.agrees is not False else "yellow"
        table.add_row(
            look.text(one.says, limit=300),
            written(one.predicted, cells.NONE),
            written(one.measured, cells.NONE),
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
        return cells.NONE
    return f"{one.deviation:+.0%}" if abs(one.deviation) < 10 else "far off"
