"""Query: owns nothing; has a copy of what readers want, laid out for them.

Calls:     nothing
Publishes: nothing
Consumes:  PostCreated, CommentCreated, CommentUpdated
"""

from lab.async_bus.stack import BusService, Change, program
from lab.domain.events import CommentCreated, CommentUpdated, PostCreated
from lab.domain.model import Comment, FeedEntry, Limit, Post, feed_of

SCHEMA = """
CREATE TABLE IF NOT EXISTS posts (
    id    TEXT PRIMARY KEY,
    title TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS comments (
    id      TEXT PRIMARY KEY,
    post_id TEXT NOT NULL,
    content TEXT NOT NULL,
    status  TEXT NOT NULL
);
"""

service = BusService("query", SCHEMA)

# ── What a client may ask of us ───────────────────────────────────────────


@service.get("/feed")
def get_feed(limit: Limit = 20, before: str = "~") -> list[FeedEntry]:
    newest = "SELECT * FROM posts WHERE id < ? ORDER BY id DESC LIMIT ?"
    posts = [Post(**row) for row in service.store.rows(newest, before, limit)]
    marks = ",".join("?" * len(posts))
    theirs = f"SELECT * FROM comments WHERE post_id IN ({marks}) ORDER BY id"
    rows = service.store.rows(theirs, *(post.id for post in posts))
    return feed_of(posts, [Comment(**row) for row in rows])


# ── How we learn what others know ─────────────────────────────────────────


@service.on(PostCreated)
def know_posts(post: PostCreated, change: Change) -> None:
    change.execute("INSERT OR IGNORE INTO posts VALUES (?, ?)", post.id, post.title)


@service.on(CommentCreated)
def know_comments(comment: CommentCreated, change: Change) -> None:
    change.execute(
        "INSERT OR IGNORE INTO comments VALUES (?, ?, ?, ?)",
        *(comment.id, comment.post_id, comment.content, comment.status),
    )


@service.on(CommentUpdated)
def know_verdicts(comment: CommentUpdated, change: Change) -> None:
    update = "UPDATE comments SET status = ? WHERE id = ?"
    change.execute(update, comment.status, comment.id)


main = program(service)

if __name__ == "__main__":
    main()
