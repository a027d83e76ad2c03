"""Posts, in memory."""

from typing import Any
from uuid import uuid4

from tiny import route, serve, tell

posts: dict[str, Any] = {}


@route("POST", "/posts/create")
def create(body: Any) -> tuple[int, Any]:
    post = {"_id": uuid4().hex[:8], "title": body["title"]}
    posts[post["_id"]] = post
    tell("PostCreated", **post)
    return 201, post


@route("POST", "/events")
def hear(body: Any) -> tuple[int, Any]:
    return 200, {}


serve()
