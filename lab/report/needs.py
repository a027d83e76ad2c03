"""Who needs whom, as it was seen: a row for each variant, where the scenario is about it."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.padding import Padding

from lab.report import groups
from lab.report.cells import Look
from lab.scenarios.needs import edges, hanging, services
from lab.scenarios.result import Result, Variant

_HEADINGS = ("services", "threads", "of which\nto the bus", "hang on\neach other")


def needs(result: Result, look: Look) -> Iterator[RenderableType]:
    """The table; nothing unless an expectation is about it."""
    if not any(".web." in one.that for one in result.expectations):
        return
    table = groups.new_table("Who was seen to need whom", [""])
    for heading in _HEADINGS:
        table.add_column(heading, justify="right")
    for variant in result.variants:
        table.add_row(look.text(variant.name, limit=24), *map(str, _figures(variant)))
    yield Padding(table, (1, 0, 0, 0), expand=False)


def _figures(variant: Variant) -> tuple[object, ...]:
    number = services(variant)
    pairs = f"{hanging(variant)} of {number * (number - 1)}"
    return number, edges(variant), len(variant.on_the_bus), pairs
