"""Comments: owns the comments and their status; knows which posts exist.

Calls:     nothing
Publishes: CommentCreated, CommentUpdated
Consumes:  PostCreated (there is such a post), CommentModerated (may it stay?)
"""

from lab.async_bus.stack import BusService, Change, program
from lab.domain.errors import NotFound
from lab.domain.events import CommentCreated, CommentModerated, CommentUpdated, PostCreated
from lab.domain.model import Comment, CommentDraft, new_id

SCHEMA = """
CREATE TABLE IF NOT EXISTS comments (
    id      TEXT PRIMARY KEY,
    post_id TEXT NOT NULL,
    content TEXT NOT NULL,
    status  TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS comments_of_post ON comments (post_id);
CREATE TABLE IF NOT EXISTS known_posts (id TEXT PRIMARY KEY) WITHOUT ROWID;
"""
INSERT = "INSERT INTO comments VALUES (?, ?, ?, ?)"

service = BusService("comments", SCHEMA)

# ── What a client may ask of us ───────────────────────────────────────────


@service.post("/posts/{post_id}/comments")
def create_comment(post_id: str, draft: CommentDraft) -> Comment:
    comment = Comment(
        id=new_id(),
        post_id=post_id,
        content=draft.content,
        status="pending",
    )
    select = "SELECT id FROM known_posts WHERE id = ?"
    with service.store.transaction() as change:
        if not change.rows(select, post_id):
            raise NotFound(f"No post {post_id} has been heard of here, yet.")
        change.execute(INSERT, *comment.model_dump().values())
        change.tell(CommentCreated(**comment.model_dump()))
        service.remember_answer(change, comment)
    return comment


@service.get("/posts/{post_id}/comments", local=True)
def list_comments(post_id: str) -> list[Comment]:
    return find_comments([post_id])


@service.get("/comments", local=True)
def list_comments_of_many(post_ids: str) -> list[Comment]:
    return find_comments(post_ids.split(","))


def find_comments(post_ids: list[str]) -> list[Comment]:
    placeholders = ",".join("?" * len(post_ids))
    select = f"SELECT * FROM comments WHERE post_id IN ({placeholders}) ORDER BY id"
    rows = service.store.rows(select, *post_ids)
    return [Comment(**row) for row in rows]


# ── How we learn what others know ─────────────────────────────────────────


@service.on(PostCreated)
def learn_post(post: PostCreated, change: Change) -> None:
    change.execute("INSERT INTO known_posts VALUES (?)", post.id)


@service.on(CommentModerated)
def moderate(verdict: CommentModerated, change: Change) -> None:
    update = "UPDATE comments SET status = ? WHERE id = ?"
    change.execute(update, verdict.status, verdict.id)
    change.tell(CommentUpdated(**verdict.model_dump()))


main = program(service)

if __name__ == "__main__":
    main()
