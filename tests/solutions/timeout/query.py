"""Query: owns nothing; puts the feed together from what others own.

Calls:     posts (which are newest?), comments (what was said about them?)
Publishes: nothing
Consumes:  nothing
"""

import sys
from collections.abc import Sequence

from lab.domain.errors import DependencyFailed
from lab.domain.model import Comment, FeedEntry, Limit, Post, feed_of
from lab.sync_chain.stack import ChainService, program

TIMEOUT_MS = 250

service = ChainService("query")

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
    try:
        theirs = service.ask("comments", "GET", "/comments", post_ids=ids)
    except DependencyFailed:
        return []
    return [Comment(**row) for row in theirs]


def main(argv: Sequence[str] | None = None) -> None:
    words = sys.argv[1:] if argv is None else argv
    program(service)([*words, "--timeout-ms", str(TIMEOUT_MS)])


if __name__ == "__main__":
    main()
