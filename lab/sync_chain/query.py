"""Query: owns nothing; puts the feed together from what others own.

Asks:  posts (which are newest?), comments (what was said about them?)
Tells: nobody
Hears: nothing
"""

from lab.domain.model import Comment, FeedEntry, Limit, Post, feed_of
from lab.sync_chain.stack import ChainService, program

service = ChainService("query", fallbacks={"comments": []})

# ── What a client may ask of us ───────────────────────────────────────────


@service.get("/feed")
def get_feed(limit: Limit = 20, before: str = "~") -> list[FeedEntry]:
    posts = know_posts(limit, before)
    return feed_of(posts, know_comments(posts))


# ── How we learn what others know ─────────────────────────────────────────


def know_posts(limit: int, before: str) -> list[Post]:
    newest = service.ask("posts", "GET", "/posts", limit=limit, before=before)
    return [Post(**row) for row in newest]


def know_comments(posts: list[Post]) -> list[Comment]:
    ids = ",".join(post.id for post in posts)
    theirs = service.ask("comments", "GET", "/comments", post_ids=ids)
    return [Comment(**row) for row in theirs]


main = program(service)

if __name__ == "__main__":
    main()
