"""Posts: owns the posts.

Calls:     nothing
Publishes: PostCreated
Consumes:  nothing
"""

import sys
import threading
import time
from collections.abc import Sequence

import requests

from lab.async_bus.stack import BusService, program
from lab.domain.errors import NotFound
from lab.domain.events import Envelope, PostCreated
from lab.domain.model import Limit, Post, PostDraft, new_id

SCHEMA = """
CREATE TABLE IF NOT EXISTS posts (
    id    TEXT PRIMARY KEY,
    title TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS letters (
    number   INTEGER PRIMARY KEY,
    envelope TEXT NOT NULL
);
"""

service = BusService("posts", SCHEMA)
bus_url = ""

# ── What a client may ask of us ───────────────────────────────────────────


@service.post("/posts")
def create_post(draft: PostDraft) -> Post:
    post = Post(id=new_id(), title=draft.title)
    with service.store.transaction() as change:
        change.execute("INSERT INTO posts VALUES (?, ?)", post.id, post.title)
        envelope = Envelope.around(PostCreated(**post.model_dump()), source=service.source)
        insert = "INSERT INTO letters (envelope) VALUES (?)"
        change.execute(insert, envelope.model_dump_json())
    return post


@service.get("/posts")
def list_posts(limit: Limit = 20, before: str = "~") -> list[Post]:
    newest = "SELECT * FROM posts WHERE id < ? ORDER BY id DESC LIMIT ?"
    rows = service.store.rows(newest, before, limit)
    return [Post(**row) for row in rows]


@service.get("/posts/{post_id}")
def get_post(post_id: str) -> Post:
    it = "SELECT * FROM posts WHERE id = ?"
    for row in service.store.rows(it, post_id):
        return Post(**row)
    raise NotFound(f"There is no post {post_id}.")


# ── How others learn what we know ─────────────────────────────────────────


def tell(envelope: str) -> bool:
    """Publish an event; whether the bus has acknowledged it."""
    try:
        answer = requests.post(
            f"{bus_url}/events",
            data=envelope,
            headers={"Content-Type": "application/json"},
            timeout=1,
        )
    except requests.RequestException as error:
        sys.stderr.write(f"not told yet: {error}\n")
        return False
    return answer.ok


def carry_letters() -> None:
    """Publish the events in the table, in order, forever."""
    while True:
        try:
            waiting = service.store.rows("SELECT * FROM letters ORDER BY number LIMIT 1")
        except RuntimeError:
            waiting = []  # the program has not opened its database yet
        if waiting and tell(waiting[0]["envelope"]):
            with service.store.transaction() as change:
                change.execute("DELETE FROM letters WHERE number = ?", waiting[0]["number"])
        else:
            time.sleep(0.05)


def main(argv: Sequence[str] | None = None) -> None:
    global bus_url
    words = list(sys.argv[1:] if argv is None else argv)
    bus_url = words[words.index("--bus") + 1]
    threading.Thread(target=carry_letters, daemon=True).start()
    program(service)(words)


if __name__ == "__main__":
    main()
