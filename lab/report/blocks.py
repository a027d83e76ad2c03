"""A report as plain data: headings, lines, and tables of cells.

`tables.py` and `sections.py` build these blocks from a result. The terminal and the HTML writer
only render them. A text may be anything that a user wrote: the writers remove control characters,
and escape what their format reads as markup.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Style = Literal["", "bad", "good", "warn", "soft", "strong"]


@dataclass(frozen=True, slots=True)
class Heading:
    """The heading of a part of the report."""

    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """A sentence or two. `indent`: in characters, on a terminal."""

    text: str
    style: Style = ""
    indent: int = 2


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table. `indent`: in characters, on a terminal."""

    text: str
    style: Style = ""
    indent: int = 0


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `right`: right-aligned, for figures.

    `over`: one or two headings that it shares with its neighbours, the outer one first. Columns
    with the same outer one are a group and stay together. `limit`: characters of a cell, on a
    terminal.
    """

    heading: str = ""
    right: bool = False
    over: tuple[str, ...] = ()
    limit: int = 300


@dataclass(frozen=True, slots=True)
class Table:
    """A table. `sections`: lists of rows, with a rule between two lists.

    Its first `labels` columns are headings of the rows.
    """

    title: str
    columns: Sequence[Column]
    sections: Sequence[Sequence[Sequence[Cell]]]
    labels: int = 1

    @property
    def rows(self) -> list[Sequence[Cell]]:
        """The rows of all sections."""
        return [row for section in self.sections for row in section]

    def groups(self) -> list[list[int]]:
        """The positions of the columns of each group, in order."""
        groups: dict[str, list[int]] = {}
        for at, column in enumerate(self.columns):
            if column.over:
                groups.setdefault(column.over[0], []).append(at)
        return list(groups.values())

    def split(self, most: int) -> "Iterator[Table]":
        """The table as several ones with at most `most` groups each, all with the label columns."""
        groups = self.groups()
        if len(groups) <= most:
            yield self
            return
        labels = [at for at, column in enumerate(self.columns) if not column.over]
        for first in range(0, len(groups), most):
            shown = labels + [at for group in groups[first : first + most] for at in group]
            yield replace(
                self,
                columns=[self.columns[at] for at in shown],
                sections=[
                    [[row[at] for at in shown] for row in section] for section in self.sections
                ],
            )


Block = Heading | Line | Table
