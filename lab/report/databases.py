"""Which process has which database open: a row for each process, where the scenario asks for it."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from lab.report import cells, groups
from lab.report.cells import Look
from lab.scenarios.result import Result, Variant

_HEADINGS = ["process", "databases it has open"]


def databases(result: Result, look: Look) -> Iterator[RenderableType]:
    """The table, and what came of reaching in; nothing unless an expectation is about it."""
    if not any(".databases." in one.that for one in result.expectations):
        return
    table = groups.new_table("Databases, under load", ["", *_HEADINGS])
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
    """One cell: the files, and of those that are another's, whose."""
    owners = variant.database_owners
    of_others = {file: owners[file] for file in files if owners.get(file, part) != part}
    told = [f"{file} (of {of_others[file]})" if file in of_others else file for file in files]
    yield look.text(", ".join(told) or cells.NONE, "bold red" if of_others else "", limit=200)
