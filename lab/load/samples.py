"""Raw samples: one row per send, saved in a CSV file.

Anyone can compute every figure of a report again from these rows, with any tool. That is why they
are saved, and why percentiles are exact: a histogram with buckets would lose what a reader wants
to check.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from lab.load.schedule import REJECTED_SHARE, Arrival
from lab.support.files import private_file

WRITES = ("create_post", "create_comment", "comment_at_once")


class BadSamples(ValueError):
    """The file is not a file of samples; the message says what was seen."""


@dataclass(slots=True)
class Sample:
    """One send, filled in as its answers arrive (hence not frozen).

    - `intended_s`: intended send time, seconds from the start of the run.
    - `lag_ms`: how long after the intended send time it was sent.
    - `latency_ms`: from the *intended* send time to the answer or the failure; None when nothing
      was sent, or when the run was interrupted first.
    - `error`: "" | timeout | refused | reset | http_503, ... | bad_answer | not_there (a feed
      without the reader's own post) | interrupted.
    - `definite`: it failed, and the action was certainly not done.
    - `visible_ms`: from the intended send time to the feed that showed it (a comment: decided);
      None when never, or not a write.
    - `dropped`: never sent, because of the load itself.
    - `trace`: id of the trace that began with it, by which its spans are found.
    - `went_back`: how many later feeds no longer showed it, although they reach back to it.
    - `degraded`: a good answer that declares itself incomplete: a feed without comments.
    - `decided`: a good answer in which no comment is pending.
    - `retried`: number of retries after an unknown outcome; the sample has the last outcome.
    - `stale`: a feed that lacks a write acknowledged before the feed was requested.
    - `text`: what was sent: the title of a post, the content of a comment.
    - `misshown`: how many feeds showed it with another text, under another post, or with the wrong
      verdict.
    - `reader`: the number of the reader who requested a feed, from 1; 0 for any other request.
    - `reader_went_back`: how many later feeds of a reader who had seen it no longer showed it.
    - `flickered`: how many later feeds showed it with the opposite verdict, or no longer showed it
      as pending.
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
    text: str = ""
    misshown: int = 0
    flickered: int = 0
    reader: int = 0
    reader_went_back: int = 0


COLUMNS = tuple(field.name for field in fields(Sample))
_REQUIRED_COLUMNS = COLUMNS.index("dropped") + 1  # in every file; newer columns follow


def make_token(variant: int, number: int) -> str:
    """The text that identifies a write: no token is a part of another one.

    Padded *and* ended, so that `w-1-000001;` is not found inside `w-1-0000011;`.
    """
    return f"w-{variant}-{number:06d};"


def number_of(token: str) -> int:
    """The number in a token of `make_token`; 0 in any other text."""
    digits = token.rstrip(";").rpartition("-")[2]
    return int(digits) if digits.isdigit() else 0


def build_text(arrival: Arrival, token: str, rejected_share: float = REJECTED_SHARE) -> str:
    """The text of a write: a post's title or a comment's content, with its token. `rejected_share`:
    the share of comments that moderation rejects."""
    if arrival.action == "create_post":
        return f"post {token}"
    # Moderation rejects this word: the load contains comments of both kinds.
    return f"comment {token}{' orange' if arrival.in_share(rejected_share) else ''}"


def write_samples(path: Path, samples: Iterable[Sample]) -> None:
    """Write the samples as CSV with a header, atomically, readable by the owner only."""
    with private_file(path) as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(map(_to_row, samples))


def read_samples(path: Path) -> list[Sample]:
    """Read a file of `write_samples`, also an older one that lacks the newest columns.

    Raises `BadSamples`, or `OSError` for a missing file.
    """
    with path.open(encoding="utf-8", newline="") as source:
        reader = csv.reader(source)
        header = tuple(next(reader, ()))
        if len(header) < _REQUIRED_COLUMNS or header != COLUMNS[: len(header)]:
            raise BadSamples(f"{path}: expected the columns {','.join(COLUMNS)}, saw {header}")
        try:
            parsers = _COLUMN_PARSERS[: len(header)]
            return [_from_row(row, parsers) for row in reader]
        except ValueError as error:
            raise BadSamples(f"{path}, line {reader.line_num}: {error}") from error


# By the field's type as written. Floats have six decimals: seconds to the microsecond, milliseconds
# to the nanosecond; more digits would be noise.
_PARSERS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "int": int,
    "float": float,
    "float | None": lambda text: float(text) if text else None,
    "bool": lambda text: bool(int(text)),
}
_FORMATTERS: dict[type, Callable[[Any], object]] = {
    float: lambda number: round(number, 6),
    bool: int,
}
_COLUMN_PARSERS = [_PARSERS[str(field.type)] for field in fields(Sample)]


def _to_row(sample: Sample) -> list[object]:
    return [_FORMATTERS.get(type(value), _identity)(value) for value in astuple(sample)]


def _from_row(row: list[str], parsers: Sequence[Callable[[str], Any]]) -> Sample:
    return Sample(*(read(text) for read, text in zip(parsers, row, strict=True)))


def _identity(value: object) -> object:
    return value
