"""Comments: owns the comments and their status.

Calls:     posts (is there such a post?), moderation (may this comment stay?)
Publishes: nothing; whoever needs a comment asks for it
Consumes:  nothing
"""

from lab.domain.model import Comment, CommentDraft, ModerationVerdict, Status, new_id
from lab.sync_chain.stack import ChainService, program

SCHEMA = """
CREATE TABLE IF NOT EXISTS comments (
    id      TEXT PRIMARY KEY,
    post_id TEXT NOT NULL,
    content TEXT NOT NULL,
    status  TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS comments_of_post ON comments (post_id);
"""
INSERT = "INSERT INTO comments VALUES (?, ?, ?, ?)"

service = ChainService("comments", SCHEMA)

# ── What a client may ask of us ───────────────────────────────────────────


@service.post("/posts/{post_id}/comments")
def create_comment(post_id: str, draft: CommentDraft) -> Comment:
    learn_post(post_id)
    status = moderate(draft)
    comment = Comment(
        id=new_id(),
        post_id=post_id,
        content=draft.content,
        status=status,
    )
    with service.store.transaction() as change:
        change.execute(INSERT, *comment.model_dump().values())
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


def learn_post(post_id: str) -> None:
    service.ask("posts", "GET", f"/posts/{post_id}")


def moderate(draft: CommentDraft) -> Status:
    verdict = service.ask("moderation", "POST", "/verdicts", draft)
    return ModerationVerdict(**verdict).status


main = program(service)

if __name__ == "__main__":
    main()
