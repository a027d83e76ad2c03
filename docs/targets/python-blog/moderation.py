"""Whether a comment may stay."""

from typing import Any

from tiny import route, serve, tell


@route("POST", "/events")
def hear(body: Any) -> tuple[int, Any]:
    if body["type"] == "CommentCreated":
        state = "refused" if "orange" in body["data"]["comment"] else "fine"
        tell("CommentModerated", **{**body["data"], "state": state})
    return 200, {}


serve()
