"""What becomes of events that have come in: applied once, passed over, or laid aside.

At-least-once is all that a bus can promise: it may say a thing twice, and what it says may be lost
or overtaken on the way. What makes it *once, in order* is a number. The consumer commits what it
learnt together with its offset, and holds each event that comes against that offset: what lies at
or below it has been applied and is passed over; what lies beyond the next number shows that one is
missing, and the log is read again from there.

A number is worth as much as the log that gave it. When that comes back without its tail, what was
in there is told again, under other numbers. So the ids of what was applied are committed, too; the
log is then read again from where it begins, and what is known by its id is passed over. All this is
the switch `dedupe`.

Without it a consumer believes what it is told, as most do that were written in an afternoon. It
applies whatever comes, however often, in whatever order, and notes its offset afterwards, in a
commit of its own: a crash between the two applies an event again. All that still helps it is a key
in a table, which refuses to hold the same row twice.

An event that can't be applied at all (the *poison*) stops everything behind it: its turn comes
again and again. With the switch `dead_letter` it is laid aside after five attempts, in the same
transaction as the offset, and the consumer goes on (`lab/async_bus/dead_letters.py`).

The switch `apply_ms` gives a consumer little *capacity*, as a slow database would.
"""

import sqlite3
import sys
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter, sleep
from typing import Any

from lab.async_bus.dead_letters import lay_aside, reason
from lab.domain.events import Envelope, Event
from lab.service.store import Store, Transaction
from lab.service.tracing import SpanLog

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

    `numbered`: the numbers of events are the bus's own, gapless, and can be read again. `apply_ms`:
    what each event heard here takes, its commit included; then each has a commit of its own.
    `deaf_to`: the sources whose events it passes over.
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
        apply_ms: float = 0.0,
        deaf_to: frozenset[str] = frozenset(),
    ) -> None:
        self._store = store
        self._listeners = {kind.type: listener for kind, listener in listeners.items()}
        self._spans = spans
        self._dedupe = dedupe
        self._dead_letter = dead_letter
        self._numbered = numbered
        self._apply_s, self._free_at_s = apply_ms / 1_000, 0.0
        self._deaf_to = deaf_to
        self.position = store.offset()
        self.mark = store.mark()
        self._delivered = 0, self.mark
        self.history_until = 0
        """Up to here no spans are kept: nobody waits for what happened so long ago."""
        self.failing: Failing | None = None
        self.applied = 0
        self.passed_over = 0
        self.failed_on: deque[str] = deque(maxlen=_REMEMBERED)

    def hears(self, envelope: Envelope) -> bool:
        """Whether somebody here listens for it."""
        return envelope.type in self._listeners and envelope.source not in self._deaf_to

    @property
    def stuck(self) -> Failing | None:
        """The event behind which everything waits, once it has been tried often enough."""
        failing = self.failing
        return failing if failing and failing.attempts >= ATTEMPTS else None

    def take(self, arrivals: Sequence[Envelope], mark: str = "") -> None:
        """Apply what has come in, as far as it can be; raises DeliveryFailed if that is not all.

        `mark`: what the bus gave with it, to be shown when it is read on from behind it.
        """
        if not self._dedupe:
            self._apply_one_by_one(arrivals)
            return
        self._delivered = max((one.sequence for one in arrivals), default=0), mark
        unknown = {one.sequence: one for one in arrivals if one.sequence > self.position}
        self.passed_over += len(arrivals) - len(unknown)
        in_turn = [unknown[number] for number in sorted(unknown)]
        if self._numbered:
            expected = enumerate(in_turn, self.position + 1)
            in_turn = [envelope for number, envelope in expected if envelope.sequence == number]
        (self._apply_one_by_one if self._apply_s else self._apply)(in_turn)
        if len(in_turn) < len(unknown):
            raise DeliveryFailed(f"Event {self.position + 1} is missing: it has to be read again.")

    def pass_to(self, sequence: int) -> None:
        """Note that there is nothing more to come up to here, as far as anybody could tell."""
        if not (self._dedupe and self._numbered):
            self.position = max(self.position, sequence)

    def go_back(self, to: int) -> None:
        """Hear everything behind number `to` again: the log is not the one that was heard."""
        with self._store.transaction() as change:
            change.heard(to)
        self.position, self.mark, self.failing = to, "", None

    def redrive(self, envelope: Envelope, change: Transaction) -> None:
        """Apply an event that had been laid aside; raises what its listener raises."""
        self._apply_one(envelope, change)

    def _apply_one_by_one(self, events: Sequence[Envelope]) -> None:
        """Each in a transaction of its own, and none before its time has passed."""
        if perf_counter() - self._free_at_s > self._apply_s:  # else they have been waiting
            self._free_at_s = perf_counter()
        for envelope in events:
            if self._apply_s and self.hears(envelope):
                self._free_at_s += self._apply_s  # No commit and no late waking adds to it.
                sleep(max(0.0, self._free_at_s - perf_counter()))
            self._apply([envelope])

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
                    heard = self._new_among(heard, change)
                    for envelope in heard:
                        try:
                            self._apply_one(envelope, change)
                        except Exception as error:
                            raise _Indigestible(envelope) from error
                    if self._dedupe:
                        change.heard(sequence, self._mark_behind(sequence))
            except _Indigestible as error:
                if self._dedupe or not isinstance(error.__cause__, sqlite3.IntegrityError):
                    raise
                _log(f"event {error.envelope.sequence} again? Its row was there: {error.__cause__}")
            if not self._dedupe:
                with self._store.transaction() as change:
                    change.heard(sequence)
        self.applied += len(heard)
        # An offset that only passed what nobody here listens for can wait for the next commit.
        self.position, self.mark = sequence, self._mark_behind(sequence)
        self.failing = None

    def _mark_behind(self, sequence: int) -> str:
        """The bus has told one for the end of this delivery, and none for its middle."""
        return self._delivered[1] if sequence >= self._delivered[0] else ""

    def _new_among(self, events: Sequence[Envelope], change: Transaction) -> list[Envelope]:
        """Those whose ids were never heard before; what was pushed has no ids of its own."""
        if not (self._dedupe and self._numbered):
            return list(events)
        new = change.new_among([envelope.id for envelope in events])
        if len(new) == len(events):
            return list(events)
        self.passed_over += len(events) - len(new)
        first = {envelope.id: envelope for envelope in reversed(events) if envelope.id in new}
        return [envelope for envelope in events if first.get(envelope.id) is envelope]

    def _apply_one(self, envelope: Envelope, change: Transaction) -> None:
        event = envelope.event()
        if event is None:
            return
        if envelope.sequence <= self.history_until:
            self._listeners[envelope.type](event, change)
            return
        with self._spans.span(envelope.type, "consumer", envelope.traceparent) as span:
            span["sequence"], span["told"] = envelope.sequence, envelope.time
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
                self._new_among([envelope], change)
                sequence = max(self.position, envelope.sequence)
                change.heard(sequence, self._mark_behind(sequence))
            self.position, self.mark = sequence, self._mark_behind(sequence)
            self.failing = None
            _log(f"event {envelope.sequence} is laid aside after {attempts} attempts: {why}")
            return
        if attempts == ATTEMPTS:
            _log(f"{self.failing}. All that came after it waits.")
        raise DeliveryFailed(f"Event {envelope.sequence} can't be applied: {why}")


def _log(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
