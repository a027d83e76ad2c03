"""HTML as text: tables, paragraphs, and Rich renderables converted to HTML.

The small tables of a run are defined once, as Rich tables for the terminal. This module converts
them to HTML tables, so the page contains all that the terminal shows.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lab.report.charts.svg import element, escape_text

_CLASSES = {"bold red": "bad", "red": "bad", "dim": "soft", "bold": "strong"}


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell. `kind`: CSS classes, n (a figure, right-aligned) | first (of a group) | bad ..."""

    text: str
    css_class: str = ""
    colspan: int = 1
    rowspan: int = 1
    scope: str = ""  # the scope of a heading: col | colgroup | row | rowgroup


def row(cells: Iterable[Cell], css_class: str = "") -> str:
    return element("tr", {"class": css_class} if css_class else {}, *map(_cell, cells))


def _cell(cell: Cell) -> str:
    attributes: dict[str, object] = {}
    if cell.css_class:
        attributes["class"] = cell.css_class
    if cell.colspan > 1:
        attributes["colspan"] = cell.colspan
    if cell.rowspan > 1:
        attributes["rowspan"] = cell.rowspan
    # An empty heading becomes an ordinary cell.
    if cell.scope and cell.text:
        attributes["scope"] = cell.scope
    tag = "th" if cell.scope and cell.text else "td"
    return closed_element(tag, attributes, escape_text(cell.text))


def table(caption: str, head: Sequence[str], body: Sequence[str]) -> str:
    """A table with a caption, in a frame that scrolls on a narrow page."""
    inner = (
        element("caption", {}, escape_text(caption, 200)) if caption else "",
        element("thead", {}, *head) if head else "",
        element("tbody", {}, *body),
    )
    return scroll_frame(caption or "table", element("table", {}, *inner))


def scroll_frame(name: str, inner: str) -> str:
    """A frame that scrolls sideways, also by keyboard, if `inner` is wider than the page."""
    attributes = {"class": "scroll", "tabindex": 0, "role": "group", "aria-label": name[:200]}
    return element("div", attributes, inner)


def closed_element(name: str, attributes: Mapping[str, object], inner: str) -> str:
    """An element with a closing tag even if it is empty, as HTML requires it."""
    return element(name, attributes, inner or " ")


def paragraphs(text: str, limit: int) -> Iterator[str]:
    """The paragraphs of a text, which blank lines separate. `limit`: of characters."""
    for paragraph in text[:limit].strip().split("\n\n"):
        if escaped := escape_text(paragraph):
            yield element("p", {}, escaped)


def rich_to_html(blocks: Iterable[RenderableType]) -> Iterator[str]:
    """Rich renderables as HTML: tables as tables, bold lines as headings."""
    for block in blocks:
        yield from _block_to_html(block)


def _block_to_html(block: RenderableType) -> Iterator[str]:
    if isinstance(block, Padding):
        yield from _block_to_html(block.renderable)
    elif isinstance(block, Table):
        yield _table_to_html(block)
    elif isinstance(block, Text | str):
        text = escape_text(str(block))
        css_class = _css_class(block)
        if text and css_class == "strong":
            yield element("h3", {}, text)
        elif text:
            yield element("p", {"class": css_class} if css_class else {}, text)


def _table_to_html(rich_table: Table) -> str:
    css_classes = ["n" if column.justify == "right" else "" for column in rich_table.columns]
    heads = [
        Cell(_one_line(column.header), kind, scope="col")
        for column, kind in zip(rich_table.columns, css_classes, strict=True)
    ]
    columns = [list(column.cells) for column in rich_table.columns]
    body = []
    for number, line in enumerate(zip(*columns, strict=True)):
        cells = [
            Cell(
                _one_line(one),
                " ".join(filter(None, (kind, _css_class(one)))),
                scope="" if at else "row",
            )
            for at, (one, kind) in enumerate(zip(line, css_classes, strict=True))
        ]
        body.append(row(cells, "end" if rich_table.rows[number].end_section else ""))
    head = [row(heads)] if any(one.text for one in heads) else []
    return table(str(rich_table.title or ""), head, body)


def _one_line(renderable: RenderableType) -> str:
    return " ".join(str(renderable).split())


def _css_class(renderable: RenderableType) -> str:
    return _CLASSES.get(str(renderable.style), "") if isinstance(renderable, Text) else ""
