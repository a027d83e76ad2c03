"""Likes: owns the likes; knows which posts exist.

Calls:     nothing
Publishes: nothing
Consumes:  PostCreated (there is such a post)
"""

from lab.async_bus.stack import BusService, Change, program
from lab.domain.errors import NotFound
from lab.domain.events import PostCreated
from lab.domain.model import Value, new_id

SCHEMA = """
CREATE TABLE IF NOT EXISTS likes (
    id      TEXT PRIMARY KEY,
    post_id TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS likes_of_post ON likes (post_id);
CREATE TABLE IF NOT EXISTS known_posts (id TEXT PRIMARY KEY) WITHOUT ROWID;
"""

service = BusService("likes", SCHEMA)


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
    known = "SELECT id FROM known_posts WHERE id = ?"
    with service.store.transaction() as change:
        if not change.rows(known, post_id):
            raise NotFound(f"No post {post_id} has been heard of here, yet.")
        change.execute("INSERT INTO likes VALUES (?, ?)", new_id(), post_id)
    return count_likes(post_id)


# ── How we learn what others know ─────────────────────────────────────────


@service.on(PostCreated)
def know_post(post: PostCreated, change: Change) -> None:
    change.execute("INSERT INTO known_posts VALUES (?)", post.id)


main = program(service)

if __name__ == "__main__":
    main()
