"""What readers see: posts with their comments, put together from events."""

from typing import Any
from urllib.error import URLError

from tiny import BUS, get, route, serve

posts: dict[str, dict[str, Any]] = {}


def apply(event: Any) -> None:
    data = event["data"]
    if event["type"] == "PostCreated":
        posts[data["_id"]] = {**data, "comments": {}}
    elif event["type"] in ("CommentCreated", "CommentUpdated") and data["post"] in posts:
        posts[data["post"]]["comments"][data["_id"]] = data


@route("GET", "/posts")
def feed() -> tuple[int, Any]:
    all_posts = list(posts.values())
    return 200, {
        "posts": [{**post, "comments": list(post["comments"].values())} for post in all_posts]
    }


@route("POST", "/events")
def hear(body: Any) -> tuple[int, Any]:
    apply(body)
    return 200, {}


try:
    for event in get(BUS):
        apply(event)
except URLError as error:
    print(f"nothing to catch up with: {error}", flush=True)
serve()
