"""A blog in memory for the checker: four services and a log, with a copy of all data in `query`.

The load sends it requests, and `readback.py` reads what it stores. A bug replaces one of its
methods. Events are applied one by one, a few reads after they were published, so readers see a
comment as pending first.
"""

import json
from collections import deque
from typing import Any
from urllib.parse import parse_qs, urlsplit

from lab.cluster.arrangements import ARRANGEMENTS
from lab.cluster.control_client import ControlResponse
from lab.domain.model import moderate_content
from lab.domain.services import BUS, SERVICES
from tests.support.load_blog import FakeAnswer

Row = dict[str, Any]


class ContentBlog:
    """Stands for a stack as well. `reads_until_applied`: how many reads an event waits."""

    name = "content"
    urls = {name: name for name in (*SERVICES, BUS)}  # noqa: RUF012
    arrangement = ARRANGEMENTS["async-bus"]
    history_length = 0

    def __init__(self, reads_until_applied: int = 2) -> None:
        self.reads_until_applied = reads_until_applied
        self.reads = self.ids = 0
        self.posts: dict[str, Row] = {}
        self.comments: dict[str, Row] = {}
        self.verdicts: list[Row] = []
        self.log: list[Row] = []
        self.feed_posts: dict[str, Row] = {}
        self.feed_comments: dict[str, Row] = {}
        self._events: deque[tuple[int, Row]] = deque()
        self.seed = self.create_post("The first post")["id"]
        self.settle()

    def new_id(self) -> str:
        self.ids += 1
        return f"1{self.ids:013d}"

    # ── Owners

    def create_post(self, title: str) -> Row:
        post = {"id": self.new_id(), "title": title}
        self.posts[post["id"]] = post
        self.publish("PostCreated", post)
        return dict(post)

    def create_comment(self, post_id: str, content: str) -> Row:
        comment = {
            "id": self.new_id(),
            "post_id": post_id,
            "content": content,
            "status": "pending",
        }
        self.comments[comment["id"]] = comment
        self.publish("CommentCreated", comment)
        return dict(comment)

    def judge(self, comment: Row) -> str:
        return moderate_content(comment["content"])

    # ── Events

    def publish(self, kind: str, data: Row) -> None:
        event = {"type": kind, "source": "/content", "data": dict(data)}
        self.log.append(event)
        self._events.append((self.reads + self.reads_until_applied, event))

    def apply(self, event: Row) -> None:
        kind, data = event["type"], event["data"]
        if kind == "CommentCreated":
            self.moderate(data)
        elif kind == "CommentModerated":
            self.decide(data)
        self.copy(kind, data)

    def moderate(self, comment: Row) -> None:
        status = self.judge(comment)
        self.verdicts.append({"content": comment["content"], "status": status})
        self.publish("CommentModerated", comment | {"status": status})

    def decide(self, verdict: Row) -> None:
        self.comments[verdict["id"]]["status"] = verdict["status"]
        self.publish("CommentUpdated", verdict)

    def copy(self, kind: str, data: Row) -> None:
        """`query` applies an event."""
        if kind == "PostCreated":
            self.feed_posts[data["id"]] = dict(data)
        elif kind in ("CommentCreated", "CommentUpdated"):
            self.feed_comments[data["id"]] = dict(data)

    def settle(self) -> None:
        while self._events:
            self.apply(self._events.popleft()[1])

    # ── Reads

    def feed(self, limit: int, before: str) -> list[Row]:
        ids = sorted((one for one in self.feed_posts if one < before), reverse=True)[:limit]
        return [self.feed_posts[one] | {"comments": self.comments_of(one)} for one in ids]

    def comments_of(self, post_id: str) -> list[Row]:
        rows = sorted(self.feed_comments.values(), key=lambda row: str(row["id"]))
        return [dict(row) for row in rows if row["post_id"] == post_id]

    def answer(self, method: str, path: str, body: bytes) -> FakeAnswer:
        """The answer to a request of the load."""
        url = urlsplit(path)
        if method == "GET":
            query = parse_qs(url.query)
            self.reads += 1
            while self._events and self._events[0][0] <= self.reads:
                self.apply(self._events.popleft()[1])
            return 200, self.feed(int(query["limit"][0]), query.get("before", ["~"])[0])
        text = json.loads(body)
        if url.path == "/posts":
            return 201, self.create_post(text["title"])
        return 201, self.create_comment(url.path.split("/")[2], text["content"])

    async def call(self, method: str, url: str, path: str) -> ControlResponse:
        """The answer to a request of the checker."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
        if url == BUS:
            lines = "".join(f"{json.dumps(event)}\n" for event in self.log)
            return ControlResponse(200, "", None, lines.encode())
        if url == "moderation":
            numbered = [{"number": n, **row} for n, row in enumerate(self.verdicts, 1)]
            after = int(query["after"])
            return ControlResponse(200, "", numbered[after : after + int(query["limit"])])
        if url == "comments":
            wanted = query.get("post_ids", "").split(",")
            rows = [one for one in self.comments.values() if one["post_id"] in wanted]
            return ControlResponse(200, "", rows)
        limit, before = int(query["limit"]), query["before"]
        if url == "query":
            return ControlResponse(200, "", self.feed(limit, before))
        ids = sorted((one for one in self.posts if one < before), reverse=True)[:limit]
        return ControlResponse(200, "", [self.posts[one] for one in ids])
