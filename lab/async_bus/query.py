"""Query: owns nothing but its copy of posts and comments, laid out as readers want them.

Asks:  nobody
Tells: nobody
Hears: PostCreated, CommentCreated, CommentUpdated
"""

from lab.async_bus.stack import BusService, Change, program
from lab.domain.events import CommentCreated, CommentUpdated, PostCreated
from lab.domain.model import Comment, FeedEntry, Limit, Post, feed_of

SCHEMA = """
CREATE TABLE IF NOT EXISTS posts (id TEXT PRIMARY KEY, title TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS comments (
    id TEXT PRIMARY KEY, post_id TEXT NOT NULL, content TEXT NOT NULL, status TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS comments_of_post ON comments (post_id);
"""

service = BusService("query", SCHEMA)

# ── What a client may ask of us ──────────────────────────────────────────────────────────────


@service.get("/feed")
def get_feed(limit: Limit = 20, before: str = "~") -> list[FeedEntry]:
    newest = "SELECT * FROM posts WHERE id < ? ORDER BY id DESC LIMIT ?"
    posts = service.store.rows(newest, before, limit)
    comments = service.store.rows(
        f"SELECT * FROM comments WHERE post_id IN (SELECT id FROM ({newest})) ORDER BY id",
        before,
        limit,
    )
    return feed_of([Post(**post) for post in posts], [Comment(**comment) for comment in comments])


# ── How we learn what others know ────────────────────────────────────────────────────────────


@service.on(PostCreated)
def know_posts(post: PostCreated, change: Change) -> None:
    change.execute("INSERT INTO posts VALUES (?, ?)", post.id, post.title)


@service.on(CommentCreated, CommentUpdated)
def know_comments(comment: CommentCreated | CommentUpdated, change: Change) -> None:
    change.execute(
        "INSERT INTO comments VALUES (?, ?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET status = excluded.status",
        *(comment.id, comment.post_id, comment.content, comment.status),
    )


main = program(service)

if __name__ == "__main__":
    main()
