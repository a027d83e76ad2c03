"""Renders the templates of the report page and of notebook cells.

Every value is freed of control characters and then escaped: a text that a user wrote stays text.
Only `Markup` is inserted unchanged: the lab's own style sheets and charts, and the output of
another template.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from lab.report.answer import HARDLY, MOSTLY, STRIP_COLUMNS, Answer
from lab.report.blocks import Heading, Table
from lab.support.text import plain

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

_MAX_CHARACTERS = 10_000  # of one value


def render(template: str, **values: object) -> "Markup":
    """The template of this name, in the folder `templates`, with these values."""
    from markupsafe import Markup

    return Markup(_environment().get_template(template).render(values))


@cache
def _environment() -> "Environment":
    # Not at the top of the module: the library takes longer to load than a template to render, and
    # most commands and notebook cells need none.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def finalize(value: object) -> object:
        return value if isinstance(value, Markup) else plain(str(value), _MAX_CHARACTERS)

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )
    environment.globals |= {
        "heading_rows": heading_rows,
        "css_classes": css_classes,
        "strip_class": strip_class,
        "strip_stages": strip_stages,
    }
    environment.filters |= {"paragraphs": paragraphs, "named": named}
    environment.tests |= {
        "a_table": lambda block: isinstance(block, Table),
        "a_heading": lambda block: isinstance(block, Heading),
    }
    return environment


def paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of a text, which blank lines separate."""
    for paragraph in text[:_MAX_CHARACTERS].strip().split("\n\n"):
        if plain(paragraph):
            yield paragraph


def named(text: str) -> "Markup":
    """A sentence with the names in backticks, as `comments`, set off as code."""
    from markupsafe import Markup, escape

    parts = plain(text, _MAX_CHARACTERS).split("`")
    code = Markup("<code>{}</code>").format
    return Markup("").join(code(part) if at % 2 else escape(part) for at, part in enumerate(parts))


# ── The strips of an answer

RECOVERING = "recovering"


def strip_class(share: float) -> str:
    """The CSS class of a column of a strip, by its share of success."""
    return "full" if share > MOSTLY else "half" if share > HARDLY else "none"


def strip_stages(answer: Answer) -> Iterator[tuple[int, str]]:
    """The phases above the strips: length in columns, and name; "" for a pause between faults."""
    begins = [place for place, _ in answer.strip_stages]
    ends = [*begins[1:], STRIP_COLUMNS]
    for (place, name), end in zip(answer.strip_stages, ends, strict=True):
        yield end - place, "" if name == RECOVERING else name


# ── Headings of a table


@dataclass(frozen=True, slots=True)
class HeadingCell:
    """A heading over one or several columns of a table."""

    text: str
    css_class: str
    colspan: int
    rowspan: int


def css_classes(table: Table) -> list[str]:
    """The CSS classes of each column: `n` for figures, `first` for the first one of a group."""
    first_columns = {group[0] for group in table.groups()}
    return [
        " ".join(["n"] * column.right + ["first"] * (at in first_columns))
        for at, column in enumerate(table.columns)
    ]


def heading_rows(table: Table) -> list[list[HeadingCell]]:
    """The headings from the outermost to the innermost; [] for a table without headings."""
    if not any(column.heading or column.over for column in table.columns):
        return []
    depth = 1 + max(len(column.over) for column in table.columns)
    return [list(_heading_row(table, level, depth)) for level in range(depth)]


def _heading_row(table: Table, level: int, depth: int) -> Iterator[HeadingCell]:
    css = css_classes(table)
    columns = table.columns
    reaching = [at for at, column in enumerate(columns) if len(column.over) >= level]
    for is_shared, part in groupby(reaching, lambda at: len(columns[at].over) > level):
        if not is_shared:
            for at in part:
                yield HeadingCell(columns[at].heading, css[at], 1, depth - level)
            continue
        for over, span in groupby(part, lambda at: columns[at].over[: level + 1]):
            covered = list(span)
            first = "first" if "first" in css[covered[0]] else ""
            yield HeadingCell(over[-1], first, len(covered), 1)
