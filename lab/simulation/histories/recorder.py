"""Records what happens in a world: messages, moments, and which lifeline holds which write.

Only the history that is shown is recorded; the search itself runs without a recorder.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lab.domain.services import BUS
from lab.load.content import PENDING
from lab.simulation.histories.history import Holding, Message, Moment, MomentKind

if TYPE_CHECKING:
    from lab.simulation.histories.world import Stage

_TABLES = {
    "posts": ("SELECT title, '' FROM posts ORDER BY id",),
    "comments": ("SELECT content, status FROM comments ORDER BY id",),
    "moderation": ("SELECT content, status FROM verdicts ORDER BY rowid",),
    "query": (
        "SELECT title, '' FROM posts ORDER BY id",
        "SELECT content, status FROM comments ORDER BY id",
    ),
    BUS: ("SELECT line, '' FROM events ORDER BY sequence",),
}
"""By lifeline: text and status of all that it holds."""


class Recorder:
    """`consumed`: by service, the types of events that it consumes."""

    def __init__(self, write_of: Callable[[str], int], consumed: dict[str, set[str]]) -> None:
        self._write_of = write_of
        self._consumed = consumed
        self._held: dict[str, dict[int, str]] = {}
        self.now_ms: Callable[[], float] = lambda: 0.0
        self.messages: list[Message] = []
        self.moments: list[Moment] = []
        self.holdings: list[Holding] = []

    def message(self, message: Message) -> None:
        received = message.received_ms
        self.messages.append(
            replace(
                message,
                sent_ms=round(message.sent_ms, 3),
                received_ms=None if received is None else round(received, 3),
            )
        )

    def moment(
        self, kind: MomentKind, lifeline: str, label: str = "", writes: tuple[int, ...] = ()
    ) -> None:
        self.moments.append(Moment(round(self.now_ms(), 3), kind, lifeline, label, writes))

    def received_events(self, reader: str, lines: Sequence[bytes], sent_s: float) -> None:
        """The log has sent these lines to a service."""
        for line in lines:
            event = json.loads(line)
            if event["type"] not in self._consumed.get(reader, ()):
                continue
            write = self._write_of(line.decode())
            sent_ms = sent_s * 1_000
            self.message(
                Message("event", BUS, reader, sent_ms, self.now_ms(), event["type"], write)
            )

    def committed(self, lifeline: str, stage: "Stage") -> None:
        """A transaction was committed: note what the lifeline holds now, and did not before."""
        disk = stage.log_disk if lifeline == BUS else stage.disks[lifeline]
        known, changed = self._held.setdefault(lifeline, {}), []
        for select in _TABLES[lifeline]:
            for text, status in disk.writer.execute(select).fetchall():
                line = text.decode() if isinstance(text, bytes) else text
                if (write := self._write_of(line)) and known.get(write) != status:
                    known[write] = status
                    changed.append(write)
                    holding = Holding(round(self.now_ms(), 3), lifeline, write, status)
                    self.holdings.append(holding)
        if changed:
            self.moment("commit", lifeline, "", tuple(changed))

    def last_status(self, lifeline: str, write: int) -> str | None:
        """The status with which a lifeline holds a write at the end; None if it does not."""
        return self._held.get(lifeline, {}).get(write)

    def lacking(self, write: int, lifelines: Sequence[str]) -> Iterator[str]:
        """The lifelines that lack a write at the end, or hold it as pending."""
        for lifeline in lifelines:
            if self.last_status(lifeline, write) in (None, PENDING):
                yield lifeline
