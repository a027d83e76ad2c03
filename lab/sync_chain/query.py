"""Query: owns nothing; puts the feed together from what others own.

Calls:     posts (which are newest?), comments (what was said about them?)
Publishes: nothing
Consumes:  nothing
"""

from lab.domain.model import Comment, FeedEntry, Limit, Post, feed_of
from lab.sync_chain.stack import ChainService, program

service = ChainService("query", fallbacks={"comments": []})

# ── What a client may ask of us ───────────────────────────────────────────


@service.get("/feed")
def get_feed(limit: Limit = 20, before: str = "~") -> list[FeedEntry]:
    posts = learn_posts(limit, before)
    return feed_of(posts, learn_comments(posts))


# ── How we learn what others know ─────────────────────────────────────────


def learn_posts(limit: int, before: str) -> list[Post]:
    rows = service.ask("posts", "GET", "/posts", limit=limit, before=before)
    return [Post(**row) for row in rows]


def learn_comments(posts: list[Post]) -> list[Comment]:
    ids = ",".join(post.id for post in posts)
    rows = service.ask("comments", "GET", "/comments", post_ids=ids)
    return [Comment(**row) for row in rows]


main = program(service)

if __name__ == "__main__":
    main()
