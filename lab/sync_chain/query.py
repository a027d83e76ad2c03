"""Query: owns nothing; puts the feed together from what others own.

Asks:  posts (which are the newest?), comments (what was said about them?)
Tells: nobody
Hears: nothing
"""

from lab.domain.model import Comment, FeedEntry, Limit, Post, feed_of
from lab.sync_chain.stack import ChainService, program

service = ChainService("query")

# ── What a client may ask of us ──────────────────────────────────────────────────────────────


@service.get("/feed")
def get_feed(limit: Limit = 20, before: str = "~") -> list[FeedEntry]:
    posts = know_posts(limit, before)
    return feed_of(posts, know_comments(posts))


# ── How we learn what others know ────────────────────────────────────────────────────────────


def know_posts(limit: int, before: str) -> list[Post]:
    posts = service.ask("posts", "GET", "/posts", limit=limit, before=before)
    return [Post(**post) for post in posts]


def know_comments(posts: list[Post]) -> list[Comment]:
    post_ids = ",".join(post.id for post in posts)
    comments = service.ask("comments", "GET", "/comments", post_ids=post_ids)
    return [Comment(**comment) for comment in comments]


main = program(service)

if __name__ == "__main__":
    main()
