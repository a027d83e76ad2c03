"""Posts: owns the posts.

Calls:     nothing
Publishes: PostCreated
Consumes:  nothing
"""

from lab.async_bus.stack import BusService, program
from lab.domain.errors import NotFound
from lab.domain.events import PostCreated
from lab.domain.model import Limit, Post, PostDraft, new_id

SCHEMA = """
CREATE TABLE IF NOT EXISTS posts (
    id    TEXT PRIMARY KEY,
    title TEXT NOT NULL
) WITHOUT ROWID;
"""

service = BusService("posts", SCHEMA)

# ── What a client may ask of us ───────────────────────────────────────────


@service.post("/posts")
def create_post(draft: PostDraft) -> Post:
    post = Post(id=new_id(), title=draft.title)
    with service.store.transaction() as change:
        change.execute("INSERT INTO posts VALUES (?, ?)", post.id, post.title)
        change.tell(PostCreated(id=post.id, title=post.title))
        service.remember_answer(change, post)
    return post


@service.get("/posts", local=True)
def list_posts(limit: Limit = 20, before: str = "~") -> list[Post]:
    select = "SELECT * FROM posts WHERE id < ? ORDER BY id DESC LIMIT ?"
    rows = service.store.rows(select, before, limit)
    return [Post(**row) for row in rows]


@service.get("/posts/{post_id}", local=True)
def get_post(post_id: str) -> Post:
    select = "SELECT * FROM posts WHERE id = ?"
    for row in service.store.rows(select, post_id):
        return Post(**row)
    raise NotFound(f"There is no post {post_id}.")


# ── How we learn what others know ─────────────────────────────────────────

# We need nothing that others know.

main = program(service)

if __name__ == "__main__":
    main()
