"""The inbox: applies each event once and in order, skips duplicates, stores dead letters.

A bus promises at-least-once delivery: an event may come twice, and events may be lost or overtaken
on the way. The sequence number makes the effect *once, in order*. The consumer commits what it
learns together with its offset, and compares each event with that offset. An event at or below the
offset has been applied and is skipped. An event beyond the next number reveals a gap, and the
consumer reads the log again from there.

Sequence numbers belong to the log that assigned them. If a log comes back without its tail, the
publishers publish the lost events again, under other numbers. So the ids of applied events are
committed too; the consumer then reads the log from its beginning and skips known ids. All this is
the switch `dedupe`.

Without `dedupe`, a consumer applies whatever comes, however often and in whatever order, as much
naive code does. It commits its offset afterwards, in a second transaction: a crash between the two
applies an event again. Only a primary key then prevents duplicates, because a table refuses the
same row twice.

An event that can't be applied (a *poison event*) blocks all later events, because it is retried
again and again. With the switch `dead_letter` it becomes a dead letter after five attempts, in the
transaction that moves the offset, and the consumer goes on (`lab/async_bus/dead_letters.py`). An
error of the machine, such as a full disk, is no attempt: the consumer retries until it is gone.

The switch `apply_ms` reduces the consumer's *capacity*, as a slow database would.
"""

import sqlite3
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter, sleep
from typing import Any

from lab.async_bus.dead_letters import describe_error, store_dead_letter
from lab.domain.events import Envelope, Event
from lab.service.store import Store, Transaction, is_machine_error
from lab.service.tracing import SpanLog

ATTEMPTS = 5
_MAX_FAILED_SUBJECTS = 16

Listener = Callable[[Any, Transaction], None]


class DeliveryFailed(Exception):
    """This delivery was not applied completely; the consumer reads the rest again."""


class _PoisonEvent(Exception):
    """An event broke a transaction; `__cause__` says why."""

    def __init__(self, envelope: Envelope) -> None:
        super().__init__(envelope.sequence)
        self.envelope = envelope


@dataclass(frozen=True)
class FailingEvent:
    """The next event to apply, which has failed `attempts` times."""

    sequence: int
    type: str
    why: str
    attempts: int

    def __str__(self) -> str:
        return f"stuck at event {self.sequence}, a {self.type}: {self.why}"


class Inbox:
    """Applies events to a store, each by the listener for its type. Not thread-safe.

    `replayable`: the bus numbers its events without gaps and can replay them. `apply_ms`: time that
    each consumed event takes, its commit included; events are then committed one by one.
    `ignored_sources`: sources whose events are skipped.
    """

    def __init__(
        self,
        store: Store,
        listeners: Mapping[type[Event], Listener],
        spans: SpanLog,
        *,
        dedupe: bool = True,
        dead_letter: bool = False,
        replayable: bool = True,
        apply_ms: float = 0.0,
        ignored_sources: frozenset[str] = frozenset(),
    ) -> None:
        self._store = store
        self._listeners = {kind.type: listener for kind, listener in listeners.items()}
        self._spans = spans
        self._dedupe = dedupe
        self._dead_letter = dead_letter
        self._replayable = replayable
        self._apply_s, self._free_at_s = apply_ms / 1_000, 0.0
        self._ignored_sources = ignored_sources
        self.position = store.offset()
        self.cursor = store.cursor()
        self.history_until = 0
        """Events up to this number are history and leave no spans."""
        self.failing_event: FailingEvent | None = None
        self.applied = 0
        self.skipped = 0
        self.failed_subjects: deque[str] = deque(maxlen=_MAX_FAILED_SUBJECTS)

    def consumes(self, envelope: Envelope) -> bool:
        """Whether this service consumes the event."""
        return envelope.type in self._listeners and envelope.source not in self._ignored_sources

    @property
    def stuck_event(self) -> FailingEvent | None:
        """The event that blocks all later ones, once it has failed ATTEMPTS times; else None."""
        event = self.failing_event
        return event if event and event.attempts >= ATTEMPTS else None

    def apply_batch(self, events: Sequence[Envelope]) -> None:
        """Apply a delivery as far as possible. Raises DeliveryFailed if that is not all of it."""
        with _delaying():
            self._apply_batch(events)

    def _apply_batch(self, events: Sequence[Envelope]) -> None:
        if not self._dedupe:
            self._apply_one_by_one(events)
            return
        unseen = {event.sequence: event for event in events if event.sequence > self.position}
        self.skipped += len(events) - len(unseen)
        ordered = [unseen[number] for number in sorted(unseen)]
        if self._replayable:
            expected = enumerate(ordered, self.position + 1)
            ordered = [envelope for number, envelope in expected if envelope.sequence == number]
        (self._apply_one_by_one if self._apply_s else self._apply)(ordered)
        if len(ordered) < len(unseen):
            raise DeliveryFailed(f"Event {self.position + 1} is missing: it has to be read again.")

    def skip_to(self, sequence: int) -> None:
        """Without `dedupe`, or on a bus without replay: move the position on to `sequence`."""
        if not (self._dedupe and self._replayable):
            self.position = max(self.position, sequence)

    def rewind(self, sequence: int, cursor: str) -> None:
        """Rewind to number `sequence`, because the log was replaced; later events come again.

        Raises DeliveryFailed.
        """
        with _delaying(), self._store.transaction() as change:
            change.set_offset(sequence, cursor)
        self.position, self.cursor, self.failing_event = sequence, cursor, None

    def redrive(self, envelope: Envelope, change: Transaction) -> None:
        """Apply a dead letter; raises what its listener raises."""
        change.late = True
        self._apply_one(envelope, change)

    def _apply_one_by_one(self, events: Sequence[Envelope]) -> None:
        """Apply each event in a separate transaction, and with `apply_ms` not before its time."""
        if perf_counter() - self._free_at_s > self._apply_s:  # the consumer was idle
            self._free_at_s = perf_counter()
        for envelope in events:
            if self._apply_s and self.consumes(envelope):
                self._free_at_s += self._apply_s  # Commits and late wake-ups add nothing to it.
                sleep(max(0.0, self._free_at_s - perf_counter()))
            self._apply([envelope])

    def _apply(self, events: Sequence[Envelope]) -> None:
        """Apply consecutive events. If one fails, the ones before it stay applied.

        Raises DeliveryFailed.
        """
        try:
            self._commit(events)
        except _PoisonEvent as error:
            index = events.index(error.envelope)
            if index:
                self._apply(events[:index])
            self._record_failure(error.envelope, error.__cause__)
            self._apply(events[index + 1 :])

    def _commit(self, events: Sequence[Envelope]) -> None:
        """Commit rows and offset in one transaction, or in two without `dedupe`."""
        if not events:
            return
        sequence, cursor = self._offset_after(events[-1])
        if consumed := [envelope for envelope in events if self.consumes(envelope)]:
            try:
                with self._store.transaction() as change:
                    consumed = self._insert_unseen(consumed, change)
                    for envelope in consumed:
                        try:
                            self._apply_one(envelope, change)
                        except Exception as error:
                            # A pushed event comes once: as a dead letter it is not lost.
                            if is_machine_error(error) and self._replayable:
                                raise
                            raise _PoisonEvent(envelope) from error
                    if self._dedupe:
                        change.set_offset(sequence, cursor)
            except _PoisonEvent as error:
                if self._dedupe or not isinstance(error.__cause__, sqlite3.IntegrityError):
                    raise
                _log(f"event {error.envelope.sequence} again? Its row was there: {error.__cause__}")
            if not self._dedupe:
                with self._store.transaction() as change:
                    change.set_offset(sequence, cursor)
        self.applied += len(consumed)
        # An offset that only passed events not consumed here is saved with the next commit.
        self.position, self.cursor = sequence, cursor
        self.failing_event = None

    def _offset_after(self, event: Envelope) -> tuple[int, str]:
        """The position after `event`, with its cursor. Without `dedupe` an event may be older than
        the position, and the cursor ("") proves nothing."""
        if self._dedupe:
            return event.sequence, event.cursor
        return max(self.position, event.sequence), ""

    def _insert_unseen(self, events: Sequence[Envelope], change: Transaction) -> list[Envelope]:
        """The events whose ids were never applied; all of them without `dedupe` or replay."""
        if not (self._dedupe and self._replayable):
            return list(events)
        unseen_ids = change.insert_unseen([envelope.id for envelope in events])
        if len(unseen_ids) == len(events):
            return list(events)
        self.skipped += len(events) - len(unseen_ids)
        first = {
            envelope.id: envelope for envelope in reversed(events) if envelope.id in unseen_ids
        }
        return [envelope for envelope in events if first.get(envelope.id) is envelope]

    def _apply_one(self, envelope: Envelope, change: Transaction) -> None:
        event = envelope.event()
        if event is None:
            return
        if envelope.sequence <= self.history_until:
            self._listeners[envelope.type](event, change)
            return
        trace = envelope.traceparent, envelope.tracestate
        with self._spans.span(envelope.type, "consumer", *trace) as span:
            span["sequence"], span["told"] = envelope.sequence, envelope.time
            span["subject"] = envelope.subject
            self._listeners[envelope.type](event, change)

    def _record_failure(self, envelope: Envelope, error: BaseException | None) -> None:
        """Count a failed attempt. Raises DeliveryFailed, or stores the event as a dead letter if
        that is switched on and the attempts are used up."""
        previous = self.failing_event
        is_retry = previous is not None and previous.sequence == envelope.sequence
        attempts = previous.attempts + 1 if previous and is_retry else 1
        why = describe_error(error)
        self.failing_event = FailingEvent(envelope.sequence, envelope.type, why, attempts)
        if not is_retry:
            self.failed_subjects.append(envelope.subject)
            traceback.print_exception(error)
        # A pushed event can't be read again, so it has one attempt.
        if self._dead_letter and (attempts >= ATTEMPTS or not self._replayable):
            with self._store.transaction() as change:
                store_dead_letter(change, envelope, why, attempts)
                self._insert_unseen([envelope], change)
                position, cursor = self._offset_after(envelope)
                change.set_offset(position, cursor)
            self.position, self.cursor = position, cursor
            self.failing_event = None
            _log(f"event {envelope.sequence} is laid aside after {attempts} attempts: {why}")
            return
        if attempts == ATTEMPTS:
            _log(f"{self.failing_event}. All that came after it waits.")
        raise DeliveryFailed(f"Event {envelope.sequence} can't be applied: {why}")


@contextmanager
def _delaying() -> Iterator[None]:
    """Any error of the machine, such as a full disk, only delays a delivery: it comes again."""
    try:
        yield
    except DeliveryFailed:
        raise
    except Exception as error:
        traceback.print_exc()
        raise DeliveryFailed(repr(error)) from error


def _log(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
