"""The raw sample: one row a send, kept in a CSV file.

Every figure of a report can be worked out again from these rows, by anyone, in any tool. That is
why they are kept and why percentiles are exact: a histogram with buckets would have thrown away
what a reader wants to check.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from lab.load.schedule import ORANGE, Arrival

WRITES = ("create_post", "create_comment", "comment_at_once")


class BadSamples(ValueError):
    """The file is not a file of samples; the message says what was seen."""


@dataclass(slots=True)
class Sample:
    """One send, filled in as its answers come (hence not frozen).

    `intended_s`: seconds from the start of the run. `lag_ms`: how long after that moment it was
    sent. `latency_ms`: from the *intended* moment to the answer, or to the failure; None when
    nothing was sent, or when the run was broken off before either. `error`: "" | timeout | refused
    | reset | http_503, ... | bad_answer | not_there (a feed without one's own post) |
    interrupted. `definite`: it failed, and the deed surely
    did not happen. `visible_ms`: from the intended moment to the feed that showed it decided; None
    when never, or not a write. `dropped`: never sent, by the load's own fault. `trace`: the story
    that began with it, by which its spans are found. `went_back`: how many later answers of the
    feed did not show it any more, though they reach back to it. `degraded`: a good answer that
    says of itself that it is less than it should be: a feed without comments. `decided`: a good
    answer in which no comment still waits for its verdict. `retried`: how often it was sent again,
    because nobody could know whether it had been done; the last outcome is the sample's. `stale`: a
    feed without something that was acknowledged before it was asked for.
    """

    variant: str
    phase: str
    endpoint: str
    intended_s: float
    lag_ms: float
    latency_ms: float | None = None
    status: int = 0
    error: str = ""
    definite: bool = False
    ok: bool = False
    token: str = ""
    id: str = ""
    post_id: str = ""
    visible_ms: float | None = None
    dropped: bool = False
    trace: str = ""
    went_back: int = 0
    degraded: bool = False
    decided: bool = False
    retried: int = 0
    stale: bool = False


COLUMNS = tuple(field.name for field in fields(Sample))
_FIRST_COLUMNS = COLUMNS.index("dropped") + 1  # those that every file has; the others came later


def token(variant: int, number: int) -> str:
    """The text by which a write is found again: no token is a part of another one.

    Padded *and* ended, so that `w-1-000001;` is not found inside `w-1-0000011;`.
    """
    return f"w-{variant}-{number:06d};"


def text_of(arrival: Arrival, text_token: str, orange: float = ORANGE) -> str:
    """What a write says: a post's title or a comment's content, carrying its token."""
    if arrival.action == "create_post":
        return f"post {text_token}"
    # The word the course's moderation rejects: the load brings it some work of both kinds.
    return f"comment {text_token}{' orange' if arrival.is_among(orange) else ''}"


def write_samples(path: Path, samples: Iterable[Sample]) -> None:
    """Write the samples as CSV with a header, whole or not at all, readable by its owner only."""
    partial = path.with_name(path.name + ".part")
    file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(file, "w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(COLUMNS)
        writer.writerows(map(_row, samples))
    partial.replace(path)


def read_samples(path: Path) -> list[Sample]:
    """Read what `write_samples` wrote, today or before the last columns came to be.

    Raises `BadSamples`, or `OSError` for a missing file.
    """
    with path.open(encoding="utf-8", newline="") as source:
        reader = csv.reader(source)
        header = tuple(next(reader, ()))
        if len(header) < _FIRST_COLUMNS or header != COLUMNS[: len(header)]:
            raise BadSamples(f"{path}: expected the columns {','.join(COLUMNS)}, saw {header}")
        try:
            readers = _READERS[: len(header)]
            return [_sample(row, readers) for row in reader]
        except ValueError as error:
            raise BadSamples(f"{path}, line {reader.line_num}: {error}") from error


# By the field's type as written: a column reads back as what it was. Seconds and milliseconds are
# kept to the microsecond and the nanosecond; more digits would be noise.
_READ: dict[str, Callable[[str], Any]] = {
    "str": str,
    "int": int,
    "float": float,
    "float | None": lambda text: float(text) if text else None,
    "bool": lambda text: bool(int(text)),
}
_WRITE: dict[type, Callable[[Any], object]] = {
    float: lambda number: round(number, 6),
    bool: int,
}
_READERS = [_READ[str(field.type)] for field in fields(Sample)]


def _row(sample: Sample) -> list[object]:
    return [_WRITE.get(type(value), _as_is)(value) for value in astuple(sample)]


def _sample(row: list[str], readers: Sequence[Callable[[str], Any]]) -> Sample:
    return Sample(*(read(text) for read, text in zip(readers, row, strict=True)))


def _as_is(value: object) -> object:
    return value
