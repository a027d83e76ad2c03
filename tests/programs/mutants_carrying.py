"""Bugs on an event's way: the outbox relay, the bus client, the log, the course's bus."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from types import ModuleType
from typing import Any

from lab.async_bus import stack
from lab.bus.base import BusUnavailable
from lab.bus.course.client import CourseEvent, Poster
from lab.bus.log import storage
from lab.bus.log.storage import LogFile
from lab.domain.events import Envelope
from lab.domain.model import new_id
from tests.programs.breaking import TOO_LATE_S, one_in

# ── The relay and the bus client


class _Bus:
    """Delegates to a bus, except for what a subclass gets wrong."""

    def __init__(self, bus: Any) -> None:
        self.bus = bus

    def __getattr__(self, name: str) -> Any:
        return getattr(self.bus, name)

    async def contains(self, sequence: int, event_id: str) -> bool:
        return True  # else the relay would notice the loss and publish again


def _connected_by(wrong: type[_Bus]) -> Callable[[ModuleType], None]:
    def bug(program: ModuleType) -> None:
        connect = stack.open_bus
        stack.open_bus = lambda *where: wrong(connect(*where))  # type: ignore[assignment,return-value]

    return bug


class _NewestFirst(_Bus):
    async def append(self, envelopes: Sequence[str]) -> list[int]:
        sequences: list[int] = await self.bus.append(envelopes[::-1])
        return sequences[::-1]


class _OnlyTheFirst(_Bus):
    async def append(self, envelopes: Sequence[str]) -> list[int]:
        (sequence,) = await self.bus.append(envelopes[:1])
        return [sequence] * len(envelopes)


class _ToldThoughRefused(_Bus):
    async def append(self, envelopes: Sequence[str]) -> list[int]:
        try:
            sequences: list[int] = await self.bus.append(envelopes)
        except BusUnavailable:
            return [1] * len(envelopes)
        return sequences


class _NewIds(_Bus):
    async def append(self, envelopes: Sequence[str]) -> list[int]:
        sequences: list[int] = await self.bus.append(_under_new_ids(envelopes))
        return sequences


def _under_new_ids(envelopes: Sequence[str]) -> list[str]:
    told = map(Envelope.from_json, envelopes)
    return [one.model_copy(update={"id": new_id()}).model_dump_json() for one in told]


class _Garbling(_Bus):
    async def read(self, *where: Any) -> AsyncIterator[Any]:
        async for batch in self.bus.read(*where):
            for at, event in enumerate(batch):
                if one_in(10, event.id):
                    batch[at] = event.model_copy(update={"type": "Garbled"})
            yield batch


# ── The log and the course's bus

_Append = Callable[[LogFile, Sequence[Envelope]], tuple[list[int], list[bytes]]]


def _log_that(wrong: Callable[[_Append], _Append]) -> Callable[[ModuleType], None]:
    def bug(program: ModuleType) -> None:
        LogFile.append = wrong(LogFile.append)  # type: ignore[method-assign]

    return bug


def _drops(append: _Append) -> _Append:
    def wrong(log: LogFile, events: Sequence[Envelope]) -> tuple[list[int], list[bytes]]:
        kept = [event for event in events if not one_in(20, event.id)]
        sequences, lines = append(log, kept) if kept else ([], [])
        numbers = dict(zip((event.id for event in kept), sequences, strict=True))
        return [numbers.get(event.id, log.head) for event in events], lines

    return wrong


def _backwards(append: _Append) -> _Append:
    def wrong(log: LogFile, events: Sequence[Envelope]) -> tuple[list[int], list[bytes]]:
        sequences, lines = append(log, events[::-1])
        return sequences[::-1], lines

    return wrong


def the_log_forgets_ids(program: ModuleType) -> None:
    storage._SCHEMA = storage._SCHEMA.replace(" UNIQUE", "")


def the_log_acknowledges_before_the_commit(program: ModuleType) -> None:
    """The log acknowledges before it commits. It also claims to hold every acknowledged event:
    otherwise the publishers would notice the loss and publish again."""

    async def commit_later(log: Any, events: list[Any]) -> list[int]:
        loop = asyncio.get_running_loop()

        def commit() -> None:
            log._waiting.append((events, loop.create_future()))
            log._work_available.set()

        loop.call_later(TOO_LATE_S, commit)
        first = log.newest + 1
        return list(range(first, first + len(events)))

    program.LogServer.commit = commit_later
    LogFile.id_of = lambda log, number: _Anything()  # type: ignore[method-assign,assignment,return-value]


class _Anything:
    """Equal to any other object."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


def _course_that(posts: Callable[[CourseEvent], int]) -> Callable[[ModuleType], None]:
    """A course bus that posts an event `posts(event)` times to each subscriber."""

    def bug(program: ModuleType) -> None:
        class Wrong(Poster):
            async def __call__(self, url: str, event: CourseEvent) -> None:
                for _ in range(posts(event)):
                    await super().__call__(url, event)

        program.Poster = Wrong  # type: ignore[attr-defined]

    return bug


BUGS: dict[str, Callable[[ModuleType], None]] = {
    "tells the newest first": _connected_by(_NewestFirst),
    "tells only the first of several": _connected_by(_OnlyTheFirst),
    "counts as told what was refused": _connected_by(_ToldThoughRefused),
    "tells under a new id each time": _connected_by(_NewIds),
    "takes one in ten for nothing": _connected_by(_Garbling),
    "drops one event in twenty": _log_that(_drops),
    "acknowledges, and commits later": the_log_acknowledges_before_the_commit,
    "keeps a group backwards": _log_that(_backwards),
    "forgets ids": the_log_forgets_ids,
    "posts every event twice": _course_that(lambda event: 2),
    "does not post one event in ten": _course_that(
        lambda event: 0 if one_in(10, str(event.data)) else 1
    ),
}
