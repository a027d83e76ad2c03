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
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS comments (
    id      TEXT PRIMARY KEY,
    post_id TEXT NOT NULL,
    content TEXT NOT NULL,
    status  TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS comments_of_post ON comments (post_id);
"""

service = BusService("query", SCHEMA)

# ── What a client may ask of us ───────────────────────────────────────────


@service.get("/feed", local=True)
def get_feed(limit: Limit = 20, before: str = "~") -> list[FeedEntry]:
    select_posts = "SELECT * FROM posts WHERE id < ? ORDER BY id DESC LIMIT ?"
    posts = [Post(**row) for row in service.store.rows(select_posts, before, limit)]
    placeholders = ",".join("?" * len(posts))
    select_comments = f"SELECT * FROM comments WHERE post_id IN ({placeholders}) ORDER BY id"
    rows = service.store.rows(select_comments, *(post.id for post in posts))
    return feed_of(posts, [Comment(**row) for row in rows])


# ── How we learn what others know ─────────────────────────────────────────


@service.on(PostCreated)
def learn_posts(post: PostCreated, change: Change) -> None:
    change.execute("INSERT INTO posts VALUES (?, ?)", post.id, post.title)


@service.on(CommentCreated, CommentUpdated)
def learn_comments(
    comment: CommentCreated | CommentUpdated,
    change: Change,
) -> None:
    # A late CommentCreated (redriven) must not undo an update that was applied before it.
    unless_late = " WHERE excluded.status <> 'pending'" if change.late else ""
    change.execute(
        "INSERT INTO comments VALUES (?, ?, ?, ?)"
        f" ON CONFLICT (id) DO UPDATE SET status = excluded.status{unless_late}",
        *(comment.id, comment.post_id, comment.content, comment.status),
    )


main = program(service)

if __name__ == "__main__":
    main()
