"""What becomes of events that have come in: applied once, passed over, or laid aside.

At-least-once is all that a bus can promise: it may say a thing twice, and what it says may be lost
or overtaken on the way. What makes it *once, in order* is a number. The consumer commits what it
learnt together with its offset, and holds each event that comes against that offset: what lies at
or below it has been applied and is passed over; what lies beyond the next number shows that one is
missing, and the log is read again from there. That is the switch `dedupe`.

Without it a consumer believes what it is told, as most do that were written in an afternoon. It
applies whatever comes, however often, in whatever order, and notes its offset afterwards, in a
commit of its own: a crash between the two applies an event again. All that still helps it is a key
in a table, which refuses to hold the same row twice.

An event that can't be applied at all (the *poison*) stops everything behind it: its turn comes
again and again. With the switch `dead_letter` it is laid aside after five attempts, in the same
transaction as the offset, and the consumer goes on (`lab/async_bus/dead_letters.py`).
"""

import sqlite3
import sys
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.async_bus.dead_letters import lay_aside, reason
from lab.domain.events import Envelope, Event
from lab.spans import SpanLog
from lab.store import Store, Transaction

ATTEMPTS = 5
_REMEMBERED = 16

Listener = Callable[[Any, Transaction], None]


class DeliveryFailed(Exception):
    """This delivery was not applied to its end; the rest of it will be read again."""


class _Indigestible(Exception):
    """The event that broke a transaction; the cause says why."""

    def __init__(self, envelope: Envelope) -> None:
        super().__init__(envelope.sequence)
        self.envelope = envelope


@dataclass(frozen=True)
class Failing:
    """The event whose turn it is, and which can't be applied."""

    sequence: int
    type: str
    why: str
    attempts: int

    def __str__(self) -> str:
        return f"stuck at event {self.sequence}, a {self.type}: {self.why}"


class Applier:
    """Applies events to a store, each by the listener for its type. Not for several threads.

    `numbered`: the numbers of events are the bus's own, gapless, and can be read again.
    """

    def __init__(
        self,
        store: Store,
        listeners: Mapping[type[Event], Listener],
        spans: SpanLog,
        *,
        dedupe: bool = True,
        dead_letter: bool = False,
        numbered: bool = True,
    ) -> None:
        self._store = store
        self._listeners = {kind.type: listener for kind, listener in listeners.items()}
        self._spans = spans
        self._dedupe = dedupe
        self._dead_letter = dead_letter
        self._numbered = numbered
        self.position = store.offset()
        self.failing: Failing | None = None
        self.passed_over = 0
        self.failed_on: deque[str] = deque(maxlen=_REMEMBERED)

    def hears(self, envelope: Envelope) -> bool:
        """Whether somebody here listens for it."""
        return envelope.type in self._listeners

    @property
    def stuck(self) -> Failing | None:
        """The event behind which everything waits, once it has been tried often enough."""
        failing = self.failing
        return failing if failing and failing.attempts >= ATTEMPTS else None

    def take(self, arrivals: Sequence[Envelope]) -> None:
        """Apply what has come in, as far as it can be; raises DeliveryFailed if that is not all."""
        if not self._dedupe:
            for envelope in arrivals:
                self._apply([envelope])
            return
        unknown = {one.sequence: one for one in arrivals if one.sequence > self.position}
        self.passed_over += len(arrivals) - len(unknown)
        in_turn = [unknown[number] for number in sorted(unknown)]
        if self._numbered:
            expected = enumerate(in_turn, self.position + 1)
            in_turn = [envelope for number, envelope in expected if envelope.sequence == number]
        self._apply(in_turn)
        if len(in_turn) < len(unknown):
            raise DeliveryFailed(f"Event {self.position + 1} is missing: it has to be read again.")

    def pass_to(self, sequence: int) -> None:
        """Note that there is nothing more to come up to here, as far as anybody could tell."""
        if not (self._dedupe and self._numbered):
            self.position = max(self.position, sequence)

    def redrive(self, envelope: Envelope, change: Transaction) -> None:
        """Apply an event that had been laid aside; raises what its listener raises."""
        self._apply_one(envelope, change)

    def _apply(self, events: Sequence[Envelope]) -> None:
        """Apply events that follow each other; what comes before one that fails is kept."""
        try:
            self._commit(events)
        except _Indigestible as error:
            at = events.index(error.envelope)
            if at:
                self._apply(events[:at])
            self._note_failure(error.envelope, error.__cause__)
            self._apply(events[at + 1 :])
        except Exception as error:  # The disk is full, say: no event is to blame.
            traceback.print_exc()
            raise DeliveryFailed(repr(error)) from error

    def _commit(self, events: Sequence[Envelope]) -> None:
        """Rows and offset in one transaction; in two of them without `dedupe`."""
        if not events:
            return
        sequence = max(self.position, events[-1].sequence)
        if heard := [envelope for envelope in events if self.hears(envelope)]:
            try:
                with self._store.transaction() as change:
                    for envelope in heard:
                        try:
                            self._apply_one(envelope, change)
                        except Exception as error:
                            raise _Indigestible(envelope) from error
                    if self._dedupe:
                        change.heard(sequence)
            except _Indigestible as error:
                if self._dedupe or not isinstance(error.__cause__, sqlite3.IntegrityError):
                    raise
                _log(f"event {error.envelope.sequence} again? Its row was there: {error.__cause__}")
            if not self._dedupe:
                with self._store.transaction() as change:
                    change.heard(sequence)
        # An offset that only passed what nobody here listens for can wait for the next commit.
        self.position = sequence
        self.failing = None

    def _apply_one(self, envelope: Envelope, change: Transaction) -> None:
        event = envelope.event()
        if event is None:
            return
        with self._spans.span(envelope.type, "consumer", envelope.traceparent) as span:
            span["sequence"] = envelope.sequence
            self._listeners[envelope.type](event, change)

    def _note_failure(self, envelope: Envelope, error: BaseException | None) -> None:
        """Count an attempt. After enough of them lay the event aside, or raise DeliveryFailed."""
        before = self.failing
        again = before is not None and before.sequence == envelope.sequence
        attempts = before.attempts + 1 if before and again else 1
        why = reason(error)
        self.failing = Failing(envelope.sequence, envelope.type, why, attempts)
        if not again:
            self.failed_on.append(envelope.subject)
            traceback.print_exception(error)
        # What was pushed can't be read again: there is one attempt, then.
        if self._dead_letter and (attempts >= ATTEMPTS or not self._numbered):
            with self._store.transaction() as change:
                lay_aside(change, envelope, why, attempts)
                change.heard(max(self.position, envelope.sequence))
            self.position = max(self.position, envelope.sequence)
            self.failing = None
            _log(f"event {envelope.sequence} is laid aside after {attempts} attempts: {why}")
            return
        if attempts == ATTEMPTS:
            _log(f"{self.failing}. All that came after it waits.")
        raise DeliveryFailed(f"Event {envelope.sequence} can't be applied: {why}")


def _log(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
