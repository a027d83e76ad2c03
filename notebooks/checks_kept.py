"""What looks at the exercises about keeping (05): a listener to be killed, a copy to be mended."""

import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import requests

import lab
from checks import Said
from lab.api.blogs import Blog

COMMENTS = 4
DEEDS = 40  # more than anybody needs for so many comments, each heard twice
SCHEMA = """
CREATE TABLE heard (sequence INTEGER NOT NULL);
CREATE TABLE counted (comments INTEGER NOT NULL);
INSERT INTO heard VALUES (0);
INSERT INTO counted VALUES (0);
"""
MISSED = ("A lemon", "An orange")
ASK_WITHIN_S = 5

# ── Heard once ──


class Killed(BaseException):
    """The end of the process. Not an Exception: nobody catches their own death."""


class Mortal:
    """A connection whose process is killed before its so-manyth deed."""

    def __init__(self, db: sqlite3.Connection, deeds: int) -> None:
        self._db, self.deeds_left = db, deeds

    def execute(self, sql: str, values: Iterable[Any] = ()) -> sqlite3.Cursor:
        self._live()
        return self._db.execute(sql, tuple(values))

    def commit(self) -> None:
        self._live()
        self._db.commit()

    def _live(self) -> None:
        self.deeds_left -= 1
        if not self.deeds_left:
            raise Killed


Listener = Callable[[Any, Mapping[str, int]], None]


def counts_once(listener: Listener) -> Said:
    """A listener that counts each comment once, killed at every moment there is."""
    wanted = f"{COMMENTS} comments counted, each told twice, and killed before any of its deeds"
    for deeds in range(1, DEEDS):
        try:
            counted = _counted(listener, deeds)
        except Exception as error:
            return Said(False, f"{type(error).__name__}: {error}", wanted)
        if counted != COMMENTS:
            seen = f"{counted} counted, when it was killed before its deed number {deeds}"
            return Said(False, seen, wanted)
    return Said(True, f"{COMMENTS} counted, whenever it was killed", wanted)


def _counted(listener: Listener, deeds: int) -> int:
    """How many it has counted in the end. It is killed once, if it does so many deeds at all."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "copy.db"
        db = sqlite3.connect(file)
        db.executescript(SCHEMA)
        mortal = Mortal(db, deeds)
        while (heard := _one(db, "SELECT sequence FROM heard")) < COMMENTS:
            try:
                for _ in ("told", "told again"):
                    listener(mortal, {"sequence": heard + 1})
            except Killed:
                db.close()
                db = sqlite3.connect(file)
                mortal = Mortal(db, 0)
            else:
                db.rollback()  # What it did not commit it has not kept.
                if _one(db, "SELECT sequence FROM heard") <= heard:
                    raise LookupError(f"event {heard + 1} was told, and heard.sequence is {heard}")
        counted = _one(db, "SELECT comments FROM counted")
        db.close()
    return counted


def _one(db: sqlite3.Connection, sql: str) -> int:
    value: int = db.execute(sql).fetchone()[0]
    return value


# ── A copy, mended by hand ──


async def mended(mend: Callable[[Blog, Any], Awaitable[None]]) -> Said:
    """A feed that is whole again, on the bus that says nothing twice."""
    wanted = "the feed with all that was written, each comment with its verdict, judged once"
    async with lab.up("async-bus", bus="course") as stacks:
        bus = stacks["async-bus"]
        known = await bus.post("Known")
        await bus.settle()
        async with bus.fault("down", "query"):
            missed = await bus.post("Missed")
            for text in MISSED:
                await bus.comment(known, text)
            while len(await bus.events(type="CommentUpdated")) < len(MISSED):
                pass  # Each look is a question to the bus, and takes its time.

        async def deliver(service: str, event: Mapping[str, Any]) -> bool:
            return _delivered(bus.urls[service], event)

        try:
            await mend(bus, deliver)
        except Exception as error:
            return Said(False, f"{type(error).__name__}: {error}", wanted)
        await bus.settle()
        feed = await bus.feed()
        judged = len(await bus.events(type="CommentModerated"))
    shown = {one["id"]: {it["content"]: it["status"] for it in one["comments"]} for one in feed}
    verdicts = dict(zip(MISSED, ("approved", "rejected"), strict=True))
    whole = shown == {known["id"]: verdicts, missed["id"]: {}}
    seen = f"{len(feed)} of 2 posts, these comments: {shown.get(known['id'], {}) or 'none'}; "
    seen += f"{judged} verdicts on {len(MISSED)} comments"
    return Said(whole and judged == len(MISSED), seen, wanted)


def _delivered(url: str, event: Mapping[str, Any]) -> bool:
    """Whether it was taken: what a service knows already it may well refuse."""
    told = {"type": event["type"], "data": event["data"]}
    with requests.Session() as session:
        session.trust_env = False
        return session.post(f"{url}/events", json=told, timeout=ASK_WITHIN_S).ok
