"""Checks of the exercises in 05: a listener that is killed, a copy to repair."""

import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import requests

import lab
from checks import Feedback
from lab.api.blogs import Blog

COMMENTS = 4
MAX_STEPS = 40  # more than any solution needs for 4 comments, each delivered twice
SCHEMA = """
CREATE TABLE heard (sequence INTEGER NOT NULL);
CREATE TABLE counted (comments INTEGER NOT NULL);
INSERT INTO heard VALUES (0);
INSERT INTO counted VALUES (0);
"""
MISSED = ("A lemon", "An orange")
TIMEOUT_S = 5

# ── Applied once ──


class Killed(BaseException):
    """The process was killed. Not an Exception, so that no listener catches it."""


class MortalConnection:
    """A connection whose process is killed before its step number `steps`; 0: never."""

    def __init__(self, db: sqlite3.Connection, steps: int) -> None:
        self._db, self._steps_left = db, steps

    def execute(self, sql: str, values: Iterable[Any] = ()) -> sqlite3.Cursor:
        self._step()
        return self._db.execute(sql, tuple(values))

    def commit(self) -> None:
        self._step()
        self._db.commit()

    def _step(self) -> None:
        self._steps_left -= 1
        if not self._steps_left:
            raise Killed


Listener = Callable[[Any, Mapping[str, int]], None]


def counts_once(listener: Listener) -> Feedback:
    """A listener that counts each comment once, killed before each of its steps in turn."""
    wanted = f"{COMMENTS} comments counted, each delivered twice, killed before any of its steps"
    for steps in range(1, MAX_STEPS):
        try:
            counted = _count_with_a_kill(listener, steps)
        except Exception as error:
            return Feedback(False, f"{type(error).__name__}: {error}", wanted)
        if counted != COMMENTS:
            seen = f"{counted} counted, when it was killed before its step number {steps}"
            return Feedback(False, seen, wanted)
    return Feedback(True, f"{COMMENTS} counted, whenever it was killed", wanted)


def _count_with_a_kill(listener: Listener, steps: int) -> int:
    """The final count of a listener that is killed once, before its step number `steps`."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "copy.db"
        db = sqlite3.connect(file)
        db.executescript(SCHEMA)
        connection = MortalConnection(db, steps)
        while (offset := _read_number(db, "SELECT sequence FROM heard")) < COMMENTS:
            try:
                for _ in ("delivered", "delivered again"):
                    listener(connection, {"sequence": offset + 1})
            except Killed:
                db.close()
                db = sqlite3.connect(file)
                connection = MortalConnection(db, 0)
            else:
                db.rollback()  # What it did not commit is gone.
                if _read_number(db, "SELECT sequence FROM heard") <= offset:
                    raise LookupError(f"after event {offset + 1}, heard.sequence is still {offset}")
        counted = _read_number(db, "SELECT comments FROM counted")
        db.close()
    return counted


def _read_number(db: sqlite3.Connection, sql: str) -> int:
    value: int = db.execute(sql).fetchone()[0]
    return value


# ── A copy, repaired by hand ──


async def mended(mend: Callable[[Blog, Any], Awaitable[None]]) -> Feedback:
    """A complete feed, on the bus that never repeats an event."""
    wanted = "the feed with all posts and comments, each comment judged once"
    async with lab.up("async-bus", bus="course") as stacks:
        bus = stacks["async-bus"]
        known = await bus.post("Known")
        await bus.settle()
        async with bus.fault("down", "query"):
            missed = await bus.post("Missed")
            for text in MISSED:
                await bus.comment(known, text)
            while len(await bus.events(type="CommentUpdated")) < len(MISSED):
                pass  # Each call is a request to the bus, so this is no busy loop.

        async def deliver(service: str, event: Mapping[str, Any]) -> bool:
            return _deliver(bus.urls[service], event)

        try:
            await mend(bus, deliver)
        except Exception as error:
            return Feedback(False, f"{type(error).__name__}: {error}", wanted)
        await bus.settle()
        feed = await bus.feed()
        judged = len(await bus.events(type="CommentModerated"))
    shown = {
        post["id"]: {comment["content"]: comment["status"] for comment in post["comments"]}
        for post in feed
    }
    verdicts = dict(zip(MISSED, ("approved", "rejected"), strict=True))
    whole = shown == {known["id"]: verdicts, missed["id"]: {}}
    seen = f"{len(feed)} of 2 posts, these comments: {shown.get(known['id'], {}) or 'none'}; "
    seen += f"{judged} verdicts on {len(MISSED)} comments"
    return Feedback(whole and judged == len(MISSED), seen, wanted)


def _deliver(url: str, event: Mapping[str, Any]) -> bool:
    """Whether the service accepted the event; it may refuse one that it knows already."""
    body = {"type": event["type"], "data": event["data"]}
    with requests.Session() as session:
        session.trust_env = False
        return session.post(f"{url}/events", json=body, timeout=TIMEOUT_S).ok
