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

from lab.report.charts.svg import element, words

_CLASSES = {"bold red": "bad", "red": "bad", "dim": "soft", "bold": "strong"}


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell. `kind`: CSS classes, n (a figure, right-aligned) | first (of a group) | bad ..."""

    text: str
    kind: str = ""
    across: int = 1
    down: int = 1
    head: str = ""  # the scope of a heading: col | colgroup | row | rowgroup


def row(cells: Iterable[Cell], kind: str = "") -> str:
    return element("tr", {"class": kind} if kind else {}, *map(_cell, cells))


def _cell(of: Cell) -> str:
    attributes: dict[str, object] = {}
    if of.kind:
        attributes["class"] = of.kind
    if of.across > 1:
        attributes["colspan"] = of.across
    if of.down > 1:
        attributes["rowspan"] = of.down
    # An empty heading becomes an ordinary cell.
    if of.head and of.text:
        attributes["scope"] = of.head
    name = "th" if of.head and of.text else "td"
    return paired(name, attributes, words(of.text))


def table(caption: str, head: Sequence[str], body: Sequence[str]) -> str:
    """A table with a caption, in a frame that scrolls on a narrow page."""
    inner = (
        element("caption", {}, words(caption, 200)) if caption else "",
        element("thead", {}, *head) if head else "",
        element("tbody", {}, *body),
    )
    return scrolling(caption or "table", element("table", {}, *inner))


def scrolling(name: str, inner: str) -> str:
    """A frame that scrolls sideways, also by keyboard, if `inner` is wider than the page."""
    attributes = {"class": "scroll", "tabindex": 0, "role": "group", "aria-label": name[:200]}
    return element("div", attributes, inner)


def paired(name: str, attributes: Mapping[str, object], inner: str) -> str:
    """An element with a closing tag even if it is empty, as HTML requires it."""
    return element(name, attributes, inner or " ")


def paragraphs(text: str, limit: int) -> Iterator[str]:
    """The paragraphs of a text, which blank lines separate. `limit`: of characters."""
    for paragraph in text[:limit].strip().split("\n\n"):
        if told := words(paragraph):
            yield element("p", {}, told)


def printed(blocks: Iterable[RenderableType]) -> Iterator[str]:
    """Rich renderables as HTML: tables as tables, bold lines as headings."""
    for block in blocks:
        yield from _block(block)


def _block(block: RenderableType) -> Iterator[str]:
    if isinstance(block, Padding):
        yield from _block(block.renderable)
    elif isinstance(block, Table):
        yield _table(block)
    elif isinstance(block, Text | str):
        text = words(str(block))
        kind = _kind(block)
        if text and kind == "strong":
            yield element("h3", {}, text)
        elif text:
            yield element("p", {"class": kind} if kind else {}, text)


def _table(of: Table) -> str:
    rights = ["n" if column.justify == "right" else "" for column in of.columns]
    heads = [
        Cell(_flat(column.header), kind, head="col")
        for column, kind in zip(of.columns, rights, strict=True)
    ]
    columns = [list(column.cells) for column in of.columns]
    body = []
    for number, line in enumerate(zip(*columns, strict=True)):
        cells = [
            Cell(_flat(one), " ".join(filter(None, (kind, _kind(one)))), head="" if at else "row")
            for at, (one, kind) in enumerate(zip(line, rights, strict=True))
        ]
        body.append(row(cells, "end" if of.rows[number].end_section else ""))
    head = [row(heads)] if any(one.text for one in heads) else []
    return table(str(of.title or ""), head, body)


def _flat(of: RenderableType) -> str:
    return " ".join(str(of).split())


def _kind(of: RenderableType) -> str:
    return _CLASSES.get(str(of.style), "") if isinstance(of, Text) else ""
