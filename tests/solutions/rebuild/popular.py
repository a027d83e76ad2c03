"""Popular: owns nothing; has a count of the approved comments of each post.

Calls:     nothing
Publishes: nothing
Consumes:  PostCreated, CommentUpdated, by reading the log itself
"""

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import requests

from lab.async_bus.stack import BusService, Change, program
from lab.domain.events import CommentUpdated, Envelope, Event, PostCreated
from lab.domain.model import Limit, Value
from lab.service.store import Store

SCHEMA = """
CREATE TABLE IF NOT EXISTS popular (
    id       TEXT PRIMARY KEY,
    title    TEXT NOT NULL,
    comments INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS place (
    only     INTEGER PRIMARY KEY CHECK (only = 1),
    position INTEGER NOT NULL
);
INSERT OR IGNORE INTO place VALUES (1, 0);
"""


class Popular(BusService):
    """A service that starts to consume as soon as it has a database."""

    def open_store(self, folder: Path) -> Store:
        store = super().open_store(folder)
        threading.Thread(target=hear, daemon=True).start()
        return store


class PopularPost(Value):
    id: str
    title: str
    comments: int


service = Popular("popular", SCHEMA)
bus_url = ""

# ── What a client may ask of us ───────────────────────────────────────────


@service.get("/popular")
def list_popular(limit: Limit = 20) -> list[PopularPost]:
    most = "SELECT * FROM popular ORDER BY comments DESC, id LIMIT ?"
    return [PopularPost(**row) for row in service.store.rows(most, limit)]


# ── How we learn what others know ─────────────────────────────────────────


def hear() -> None:
    """Consume the log, forever."""
    position = service.store.rows("SELECT position FROM place")[0]["position"]
    while True:
        try:
            for envelope in told_after(position):
                with service.store.transaction() as change:
                    know(envelope.event(), change)
                    change.execute("UPDATE place SET position = ?", envelope.sequence)
                position = envelope.sequence
        except requests.RequestException as error:
            sys.stderr.write(f"nothing to be heard: {error}\n")
        time.sleep(0.02)


def know(event: Event | None, change: Change) -> None:
    """Apply an event to our copy."""
    if isinstance(event, PostCreated):
        insert = "INSERT OR IGNORE INTO popular VALUES (?, ?, 0)"
        change.execute(insert, event.id, event.title)
    elif isinstance(event, CommentUpdated) and event.status == "approved":
        count = "UPDATE popular SET comments = comments + 1 WHERE id = ?"
        change.execute(count, event.post_id)


def told_after(position: int) -> Iterator[Envelope]:
    """The events of the log after a sequence number, in order."""
    answer = requests.get(f"{bus_url}/events", params={"after": position}, timeout=5)
    answer.raise_for_status()
    for line in answer.iter_lines():
        yield Envelope.from_json(line)


def main(argv: Sequence[str] | None = None) -> None:
    global bus_url
    words = list(sys.argv[1:] if argv is None else argv)
    bus_url = words[words.index("--bus") + 1]
    program(service)(words)


if __name__ == "__main__":
    main()
