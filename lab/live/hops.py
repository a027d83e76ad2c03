"""What went from whom to whom in the last moments: read from the spans that every process writes.

Only what is new in a file is read, and of that only so much is understood: a request costs some
300 bytes of spans, and at a hundred requests a second nobody could follow each of them anyway. What
is passed over is counted. What the load itself sent is told by the load.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.cluster.hops import who_is
from lab.cluster.reach import HEARD_BY
from lab.cluster.stack import Stack
from lab.domain.directory import BUS, HOPS, MONOLITH
from lab.live.halves import CLIENT, TOLD_BY

MOST_HOPS = 30
"""Told in a tick for each half."""
_MOST_LINES = 24
_MOST_BYTES = 1 << 18
_TOO_LONG = 1 << 24

Hop = tuple[str, str, str, str, float, float, bool]
"""From, to, ask or tell, what, when (seconds since 1970), how long (ms), whether it went well."""

ASKS_IN_MONOLITH = {
    "GET /feed": "query",
    "POST /posts/{post_id}/comments": "comments",
}
"""Which of the services that live in one process has a question, by the route that it stands in."""


class Tail:
    """The new lines of a file that grows."""

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, 0
        self._file: Any = None

    def lines(self) -> tuple[list[bytes], int]:
        """Of the whole lines since the last time the newest, and how many there were."""
        if self._file is None:
            try:
                self._file = self._path.open("rb")
            except OSError:
                return [], 0
        size = self._path.stat().st_size
        behind = size - self._read - _MOST_BYTES
        if behind > 0:  # We were away for long: what lies so far back is past.
            self._read += behind
            self._file.seek(self._read)
            self._read += len(self._file.readline())
        elif self._read == size > _TOO_LONG:
            # Its writer appends, wherever the end is: so a lab that is up for hours fills no disk.
            os.truncate(self._path, 0)
            self._read = 0
        self._file.seek(self._read)
        data: bytes = self._file.read(_MOST_BYTES)
        data = data[: data.rfind(b"\n") + 1]
        self._read += len(data)
        lines = data.splitlines()
        return lines[-_MOST_LINES:], len(lines)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class Hops:
    """The hops of one stack, since the last time they were asked for."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self._hops = tuple(part for part in stack.arrangement.parts if part in HOPS)
        self._by_events = stack.arrangement.ask_by == "events"
        parts = stack.arrangement.parts
        self._tails = [Tail(folder / f"{stack.name}.{part}.spans.ndjson") for part in parts]

    def new(self) -> tuple[list[Hop], int]:
        """At most MOST_HOPS of them, failed ones first, and how many there were in all, or about:
        of the lines that were not read it is assumed that they are like those that were."""
        hops: list[Hop] = []
        total = 0.0
        for tail in self._tails:
            lines, count = tail.lines()
            found = [hop for line in lines for hop in self._of(line)]
            hops += found
            total += len(found) * count / len(lines) if lines else 0
        hops.sort(key=lambda hop: (hop[6], -hop[4]))
        return hops[:MOST_HOPS], round(total)

    def close(self) -> None:
        for tail in self._tails:
            tail.close()

    def _of(self, line: bytes) -> Iterator[Hop]:
        try:
            span = json.loads(line)
        except ValueError:
            return
        if span["kind"] == "consumer":
            yield from _heard(span)
        asker = span["service"]
        if asker == MONOLITH:
            asker = ASKS_IN_MONOLITH.get(span["name"], "")
        for note in span.get("asked", ()):
            what, ok = f"{note['what'].partition('?')[0]}", "failed" not in note
            for one, other in self._way(asker, note["whom"]):
                yield one, other, "ask", what, note["at"], note["ms"], ok

    def _way(self, asker: str, whom: str) -> list[tuple[str, str]]:
        whom = who_is(whom, asker, self._hops)
        return [(asker, BUS), (BUS, whom)] if self._by_events else [(asker, whom)]


def _heard(span: dict[str, Any]) -> Iterator[Hop]:
    """An event's way in. Its way out, from its teller to the bus, is told once, of those who hear
    it by the first."""
    event, who = span["name"], span["service"]
    ok = "failed" not in span
    if HEARD_BY.get(event, ("",))[0] == who:
        yield TOLD_BY[event], BUS, "tell", event, span["at"], span["ms"], ok
    yield BUS, who, "tell", event, span["at"], span["ms"], ok


def of_load(call: list[Any], now_s: float) -> Hop:
    """A call of the load's, as its report has it."""
    service, what, at_ms, took_ms, ok = call
    return CLIENT, service, "ask", what, now_s + at_ms / 1_000, took_ms, ok
