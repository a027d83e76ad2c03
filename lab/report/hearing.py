"""How far behind those were who hear the bus, and how newcomers caught up."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from lab.report import cells, groups
from lab.report.cells import Look
from lab.scenarios.figures import measured, written
from lab.scenarios.result import Result, Variant

_FAR_BEHIND = 20
"""Events; whoever was never so far behind is shown only where an expectation is about it."""


def hearing(result: Result, look: Look) -> Iterator[RenderableType]:
    """A row for each consumer that was far behind, and a line for each newcomer."""
    asked = any(".lag." in one.that for one in result.expectations)
    rows = [
        (variant, service)
        for variant in result.variants
        for service, lag in variant.lag.items()
        if asked or lag.max >= _FAR_BEHIND
    ]
    if rows:
        table = groups.new_table("Behind the bus (its head less the consumer's offset)", [""])
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
                rate = written(one.events_per_s, cells.NONE)
                told += f" in {cells.seconds(one.seconds)} ({rate} a second)"
                if one.differences is not None:
                    shown = f"of {one.entries} feed entries, {one.differences} differ"
                    told += f"; {shown} from {one.service}'s"
                said = look.text(f"{told}.", limit=400)
            yield Padding(said, (1, 0, 0, 2), expand=False)


def _cells(result: Result, variant: Variant, service: str) -> Iterator[Text]:
    lag = variant.lag[service]
    path = f"{variant.name}.lag.{service}"
    yield Text(str(lag.max))
    yield Text(written(lag.arrival_rate, cells.NONE))
    yield Text(cells.seconds(lag.outage_seconds))
    yield Text(cells.seconds(measured(f"{path}.drained_seconds", result)))
    yield Text(written(lag.drain_rate, cells.NONE))
