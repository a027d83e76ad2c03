"""A run as HTML for a notebook cell: verdict, tables, charts, and a folded text report.

The output is part of a page that may be light or dark. So it uses the page's text and background
colours, has CSS only for its own class, and loads nothing.
"""

import io
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import TYPE_CHECKING

from rich.console import Console

from lab.report import sections, tables
from lab.report.answer import Answer
from lab.report.blocks import Cell, Column, Table
from lab.report.charts import Chart
from lab.report.html import template
from lab.results.result import RunResult
from lab.support.text import plain

if TYPE_CHECKING:
    from markupsafe import Markup

TEXT_WIDTH = 100
_svg_numbers = count(1)


def cell_html(*parts: "Markup | str") -> str:
    """The HTML of a cell: the parts and their CSS. A part that is no Markup is escaped."""
    return template.render("cell.html", parts=parts)


def as_text(render: Callable[[Console], None], width: int = TEXT_WIDTH) -> str:
    """The output of `render` on a terminal of `width` columns, without colours."""
    out = io.StringIO()
    render(Console(file=out, width=width, color_system=None, force_jupyter=False))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def as_pre(text: str) -> "Markup":
    """Text as a `<pre>` element."""
    from markupsafe import Markup

    return Markup("<pre>{}</pre>").format(printable(text))


def as_paragraph(text: str) -> "Markup":
    """Text as a `<p>` element, with `names` set off as code; "" for a blank text."""
    from markupsafe import Markup

    return Markup("<p>{}</p>").format(template.named(text)) if text.strip() else Markup("")


def table(
    caption: str, headings: Sequence[str], rows: Iterable[Sequence[str]], left_columns: int = 1
) -> "Markup":
    """A table; its first `left_columns` columns are left-aligned words, the others figures."""
    columns = [
        Column(heading, right=number >= left_columns) for number, heading in enumerate(headings)
    ]
    cells = [[Cell(text) for text in row] for row in rows]
    return template.render("table.html", table=Table(caption, columns, [cells]))


def result_html(result: RunResult, answer: Answer, charts: Sequence[Chart], text: str) -> str:
    """The HTML of a run: its answer and charts. `text`: all its tables, for the folded section."""
    guesses = sections.guess_rows(result)
    return cell_html(
        template.render(
            "result.html",
            result=result,
            answer=answer,
            sections=sections,
            blocks=[*guesses, *tables.answers(result)],
            charts=charts,
            svg=inline_svg,
            text=as_pre(text),
        )
    )


def charts_html(charts: Sequence[Chart]) -> str:
    """The HTML of charts alone."""
    return cell_html(*map(inline_svg, charts))


def inline_svg(chart: Chart) -> "Markup":
    """The SVG of a chart with ids that are unique in the notebook."""
    from markupsafe import Markup

    ids = f"lab-{chart.name}-"
    return Markup(chart.svg().replace(ids, f"{ids}{next(_svg_numbers)}-"))


def printable(text: str) -> str:
    """`text` without invisible characters; line breaks and indents are preserved."""
    lines = []
    for line in text.split("\n"):
        indent = len(line) - len(line.lstrip(" "))
        lines.append(" " * indent + plain(line))
    return "\n".join(lines)
