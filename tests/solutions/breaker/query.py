"""Query: owns nothing; puts the feed together from what others own.

Calls:     posts (which are newest?), comments (what was said about them?)
Publishes: nothing
Consumes:  nothing
"""

import threading
import time
from typing import Any

from pydantic import BaseModel

from lab.domain.errors import DependencyFailed, NotAsked
from lab.domain.model import Comment, FeedEntry, Limit, Post, feed_of
from lab.sync_chain.stack import ChainService, program

FAILURES = 5
OPEN_S = 1.0


class Breaker:
    """Stops calls to a service that has failed too often. Used by eight workers at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_a_row: dict[str, int] = {}
        self._next_trial_s: dict[str, float] = {}

    def may_ask(self, whom: str) -> bool:
        """Whether to call this service now."""
        with self._lock:
            if self._in_a_row.get(whom, 0) < FAILURES:
                return True
            now_s = time.monotonic()
            if now_s < self._next_trial_s[whom]:
                return False
            self._next_trial_s[whom] = now_s + OPEN_S  # one trial, while the others wait
            return True

    def succeeded(self, whom: str) -> None:
        """Record an answer of the service."""
        with self._lock:
            self._in_a_row[whom] = 0

    def failed(self, whom: str) -> None:
        """Record a missing answer, or a server error."""
        with self._lock:
            self._in_a_row[whom] = self._in_a_row.get(whom, 0) + 1
            self._next_trial_s[whom] = time.monotonic() + OPEN_S


class Careful(ChainService):
    """A service that calls another only if its breaker allows it."""

    breaker = Breaker()

    def ask(
        self, whom: str, method: str, path: str, body: BaseModel | None = None, **query: Any
    ) -> Any:
        if not self.breaker.may_ask(whom):
            raise NotAsked(f"The circuit breaker for {whom} is open.")
        try:
            answer = super().ask(whom, method, path, body, **query)
        except DependencyFailed:
            self.breaker.failed(whom)
            raise
        self.breaker.succeeded(whom)
        return answer


service = Careful("query")

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
