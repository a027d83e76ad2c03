"""How fast `query` rebuilds its read model from all events on the bus.

The bus holds a million events, as a blog with three comments per post publishes them; `query`
starts with an empty database. The clock runs from the start of its interpreter until its offset is
the last event.
"""

import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import perf_counter

import requests

from lab.bus.log.storage import LogFile
from lab.domain import headers
from lab.domain.events import (
    CommentCreated,
    CommentModerated,
    CommentUpdated,
    Envelope,
    Event,
    PostCreated,
)
from lab.domain.model import new_id
from tests.bench.buses import TOKEN, lab_program, until
from tests.bench.table import Figure, at_least

RUNS = 3
EVENTS = 1_000_000
_A_COMMIT = 20_000
_COMMENTS_A_POST = 3
_WITHIN_S = 300.0


def figures() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory(dir=".") as place:
        fill(Path(place), EVENTS)
        with lab_program("lab.bus.log.server", "--port", "0", "--data", place) as bus:
            runs = [rebuilt(bus, EVENTS) for _ in range(RUNS)]
    yield at_least(
        f"read model (query) rebuilt from {EVENTS:,} events on the bus", 100_000, runs, "events/s"
    )


def fill(folder: Path, count: int) -> None:
    """Append `count` events to an empty log, without a server."""
    with closing(LogFile(folder / "event-bus.db")) as log:
        group: list[Envelope] = []
        for event, _ in zip(_story(), range(count), strict=False):
            group.append(Envelope.around(event, source="/bench", traceparent=_TRACE))
            if len(group) == _A_COMMIT:
                log.append(group)
                group = []
        log.append(group)


def rebuilt(bus: str, count: int) -> float:
    """Events per second from the start of a new `query` until its offset is `count`."""
    with tempfile.TemporaryDirectory(dir=".") as place:
        begun = perf_counter()
        with lab_program(
            "lab.async_bus.query", "--port", "0", "--data", place, "--bus", bus
        ) as url:

            def has_heard_all() -> bool:
                with_token = {headers.TOKEN: TOKEN}
                state = requests.get(f"{url}/_lab/state", headers=with_token, timeout=30).json()
                return bool(state["offset"] == count)

            until(has_heard_all, _WITHIN_S, every_s=0.05)
            seconds = perf_counter() - begun
            (newest,) = requests.get(f"{url}/feed", {"limit": 1}, timeout=30).json()
    if [one["status"] for one in newest["comments"]] != ["approved"] * _COMMENTS_A_POST:
        raise RuntimeError(f"the copy is not whole: {newest}")
    return count / seconds


_TRACE = f"00-{'a' * 32}-{'b' * 16}-01"


def _story() -> Iterator[Event]:
    """Endless events: a post, then each of its comments created, moderated, and updated."""
    while True:
        post = PostCreated(id=new_id(), title="A post about nothing in particular")
        yield post
        for _ in range(_COMMENTS_A_POST):
            fields = {"id": new_id(), "post_id": post.id, "content": "A comment of some length"}
            yield CommentCreated(**fields)
            yield CommentModerated(**fields, status="approved")
            yield CommentUpdated(**fields, status="approved")
