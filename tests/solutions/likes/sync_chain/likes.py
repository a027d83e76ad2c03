"""Likes: owns the likes.

Calls:     posts (is there such a post?)
Publishes: nothing
Consumes:  nothing
"""

from lab.domain.model import Value, new_id
from lab.sync_chain.stack import ChainService, program

SCHEMA = """
CREATE TABLE IF NOT EXISTS likes (
    id      TEXT PRIMARY KEY,
    post_id TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS likes_of_post ON likes (post_id);
"""

service = ChainService("likes", SCHEMA)


class Likes(Value):
    post_id: str
    likes: int


# ── What a client may ask of us ───────────────────────────────────────────


@service.get("/posts/{post_id}/likes")
def count_likes(post_id: str) -> Likes:
    theirs = "SELECT count(*) AS n FROM likes WHERE post_id = ?"
    return Likes(post_id=post_id, likes=service.store.rows(theirs, post_id)[0]["n"])


@service.post("/posts/{post_id}/likes")
def create_like(post_id: str) -> Likes:
    know_post(post_id)
    with service.store.transaction() as change:
        change.execute("INSERT INTO likes VALUES (?, ?)", new_id(), post_id)
    return count_likes(post_id)


# ── How we learn what others know ─────────────────────────────────────────


def know_post(post_id: str) -> None:
    service.ask("posts", "GET", f"/posts/{post_id}")


main = program(service)

if __name__ == "__main__":
    main()
