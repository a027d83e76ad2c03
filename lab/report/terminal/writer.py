"""Writes the blocks of a report to a terminal, with Rich.

A group of columns is one column for Rich, with several figures in each cell. So the variants stand
side by side in 80 columns, and further tables follow for those that do not fit.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Literal

from rich import box
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from lab.report.blocks import Block, Cell, Column, Heading, Line, Style, Table
from lab.report.formatting import TextFormat

_STYLES: dict[Style, str] = {
    "": "",
    "bad": "bold red",
    "good": "green",
    "warn": "yellow",
    "soft": "dim",
    "strong": "bold",
}
_MAX_LINE = 1_000
_COLUMN_GAP = 3  # between two columns: a space, the divider, a space


def to_rich(blocks: Iterable[Block], fmt: TextFormat) -> Iterator[RenderableType]:
    """The blocks as Rich renderables."""
    for block in blocks:
        if isinstance(block, Table):
            for table in _split_by_width(block, fmt):
                yield Padding(rich_table(table, fmt), (1, 0, 0, 0), expand=False)
        elif isinstance(block, Heading):
            yield Text(f"\n{fmt.plain(block.text)}", "bold")
        elif isinstance(block, Line):
            text = fmt.text(block.text, _STYLES[block.style], limit=_MAX_LINE)
            yield Padding(text, (0, 0, 0, block.indent), expand=False)


def _split_by_width(table: Table, fmt: TextFormat) -> Iterator[Table]:
    """The table, or several ones with as many groups as the terminal is wide enough for."""
    groups = table.groups()
    if not groups:
        yield table
        return
    widths = _widths(table, fmt)
    labels = [width for width, column in zip(widths, table.columns, strict=True) if not column.over]
    label_width = sum(labels) + _COLUMN_GAP * len(labels)
    group_width = max(_group_width(widths, group) for group in groups)
    # The last column has no gap behind it.
    available = fmt.width - label_width + _COLUMN_GAP
    yield from table.split(max(1, available // (group_width + _COLUMN_GAP)))


def rich_table(table: Table, fmt: TextFormat) -> RichTable:
    """A Rich table, whatever its width."""
    shown = RichTable(
        title=fmt.text(table.title, "bold"),
        title_justify="left",
        title_style="",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        header_style="bold",
    )
    widths = _widths(table, fmt)
    labels = [at for at, column in enumerate(table.columns) if not column.over]
    groups = table.groups()
    for at in labels:
        column = table.columns[at]
        heading = "\n".join(fmt.plain(line, column.limit) for line in column.heading.split("\n"))
        justify: Literal["left", "right"] = "right" if column.right else "left"
        shown.add_column(Text(heading), justify=justify, overflow="fold")
    for group in groups:
        shown.add_column(_group_heading(table, group, widths, fmt), overflow="fold")
    for section in table.sections:
        for row in section:
            texts = [
                _cell_text(cell, column, fmt)
                for cell, column in zip(row, table.columns, strict=True)
            ]
            shown.add_row(
                *(texts[at] for at in labels),
                *(_group_cell(texts, group, widths) for group in groups),
            )
        shown.add_section()
    return shown


def _cell_text(cell: Cell, column: Column, fmt: TextFormat) -> Text:
    text = fmt.plain(cell.text, column.limit)
    return Text(" " * cell.indent + text, _STYLES[cell.style])


def _widths(table: Table, fmt: TextFormat) -> list[int]:
    """The width of each column in characters."""
    widths = [
        max(
            len(column.heading),
            *(_cell_text(row[at], column, fmt).cell_len for row in table.rows),
        )
        for at, column in enumerate(table.columns)
    ]
    for group in table.groups():
        for heading, part in _shared_headings(table, group):
            widths[part[-1]] += max(0, len(heading) - _group_width(widths, part))
    return widths


def _shared_headings(table: Table, group: Sequence[int]) -> list[tuple[str, list[int]]]:
    """The headings below the name of the group, each with the columns that share it."""
    shared = groupby(group, lambda at: table.columns[at].over[1:])
    return [(over[0], list(part)) for over, part in shared if over]


def _group_width(widths: Sequence[int], group: Sequence[int]) -> int:
    return sum(widths[at] for at in group) + len(group) - 1


def _group_heading(
    table: Table, group: Sequence[int], widths: Sequence[int], fmt: TextFormat
) -> Text:
    """The name of the group, the headings that some of its columns share, and their own ones."""
    columns = table.columns
    lines = [fmt.plain(columns[group[0]].over[0], _group_width(widths, group))]
    if shared := _shared_headings(table, group):
        lines.append(" ".join(f"{text:>{_group_width(widths, part)}}" for text, part in shared))
    lines.append(" ".join(f"{columns[at].heading:>{widths[at]}}" for at in group))
    return Text("\n".join(lines))


def _group_cell(texts: Sequence[Text], group: Sequence[int], widths: Sequence[int]) -> Text:
    parts = []
    for at in group:
        texts[at].pad_left(widths[at] - texts[at].cell_len)
        parts.append(texts[at])
    return Text(" ").join(parts)
