"""Comments by the post they belong to; pending until moderation has spoken."""

from typing import Any
from uuid import uuid4

from tiny import route, serve, tell

comments: dict[str, dict[str, Any]] = {}


@route("POST", "/posts/<post_id>/comments")
def create(post_id: str, body: Any) -> tuple[int, Any]:
    comment = {"_id": uuid4().hex[:8], "comment": body["comment"], "state": "waiting"}
    comments[comment["_id"]] = comment
    tell("CommentCreated", **comment, post=post_id)
    return 201, comment


@route("POST", "/events")
def hear(body: Any) -> tuple[int, Any]:
    if body["type"] == "CommentModerated" and body["data"]["_id"] in comments:
        comments[body["data"]["_id"]]["state"] = body["data"]["state"]
        tell("CommentUpdated", **body["data"])
    return 200, {}


serve()
