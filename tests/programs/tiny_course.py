"""A course's blog in one file, in its naive form: `python tiny_course.py ROLE PORT`.

Environment: BUS is where the bus accepts events; EVERYBODY are the subscribers, to each of which
the bus sends an event once. `query` keeps the events it gets in a file in DATA, so a kill loses
none; it never gets the events it missed. TEXT is the name of a comment's text field. WORD is
forbidden, and MODERATE_AFTER_S is how long a verdict takes. ANSWER replaces the response to a new
post or comment. With FAIL_EVERY=3, each third comment fails. With REPLAY, `query` keeps no file:
after its start it waits for a live comment, then applies all events of the bus, and shows twice
what it got both ways.
"""

import json
import os
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Lock, Thread, Timer
from typing import Any
from urllib.request import Request, urlopen
from uuid import uuid4

TEXT = os.environ.get("TEXT", "content")
WORD = os.environ.get("WORD", "orange")
MODERATE_AFTER_S = float(os.environ.get("MODERATE_AFTER_S", "0"))
FAIL_EVERY = int(os.environ.get("FAIL_EVERY", "0"))
lock = Lock()
posts: dict[str, Any] = {}
written: list[Any] = []
published: list[Any] = []
live_event = Event()
live_ids: set[str] = set()
comments: dict[str, Any] = {}


def send(url: str, body: Any) -> None:
    data = json.dumps(body).encode()
    with urlopen(Request(url, data, {"Content-Type": "application/json"}), timeout=60) as answer:
        answer.read()


def tell(kind: str, **data: Any) -> None:
    send(os.environ["BUS"], {"type": kind, "data": data})


def create_post(body: Any) -> tuple[int, Any]:
    post = {"id": uuid4().hex[:8], "title": body["title"]}
    written.append(post)
    tell("PostCreated", **post)
    return 201, post


def create_comment(body: Any, post_id: str) -> tuple[int, Any]:
    comments[str(len(comments))] = body
    if FAIL_EVERY and len(comments) % FAIL_EVERY == 0:
        return 500, {"error": "one of several"}
    comment = {"id": uuid4().hex[:8], TEXT: body[TEXT], "status": "pending"}
    tell("CommentCreated", **comment, postId=post_id)
    return 201, comment


def hear_as_comments(body: Any) -> tuple[int, Any]:
    if body["type"] == "CommentModerated":
        known = ("id", "postId", TEXT, "status")
        tell("CommentUpdated", **{key: body["data"][key] for key in known if key in body["data"]})
    return 200, {}


def hear_as_moderation(body: Any) -> tuple[int, Any]:
    if body["type"] == "CommentCreated":
        Timer(MODERATE_AFTER_S, judge, [body["data"]]).start()
    return 200, {}


def judge(data: Any) -> None:
    tell("CommentModerated", **{**data, "status": "rejected" if WORD in data[TEXT] else "approved"})


def apply(kind: str, data: Any) -> None:
    if kind == "PostCreated":
        posts.setdefault(data["id"], {**data, "comments": {}})
    elif kind == "CommentUpdated" and data["postId"] in posts:
        posts[data["postId"]]["comments"][data["id"]] = data
    elif kind == "CommentCreated" and data["postId"] in posts:  # its verdict may overtake it
        posts[data["postId"]]["comments"].setdefault(data["id"], data)


def hear_as_query(body: Any) -> tuple[int, Any]:
    with lock, the_file().open("a") as out:
        apply(body["type"], body["data"])
        out.write(json.dumps(body) + "\n")
        live_ids.add(body["data"]["id"])
    if "Comment" in body["type"]:
        live_event.set()
    return 200, {}


def replay() -> None:
    live_event.wait()
    with urlopen(os.environ["BUS"], timeout=60) as answer:
        events = json.load(answer)
    for event in events:
        with lock:
            kind, data = event["type"], event["data"]
            apply(kind, data)
            if "Comment" in kind and data["id"] in live_ids:
                apply(kind, {**data, "id": f"{data['id']}-again"})


def feed() -> tuple[int, Any]:
    with lock:
        shown = [{**one, "comments": list(one["comments"].values())} for one in posts.values()]
    return 200, shown


def the_file() -> Path:
    return Path(os.environ["DATA"]) / "heard.ndjson"


def hear_as_bus(body: Any) -> tuple[int, Any]:
    published.append(body)
    for url in os.environ["EVERYBODY"].split():
        Thread(target=bring, args=(url, body), daemon=True).start()
    return 200, {"status": "OK"}


def bring(url: str, body: Any) -> None:
    try:
        send(url, body)
    except OSError as error:
        sys.stderr.write(f"{url}: {error}\n")


ROLES: dict[str, dict[str, Any]] = {
    "posts": {"POST /posts": create_post, "GET /posts": lambda: (200, written)},
    "comments": {
        "POST /posts/(?P<post_id>[^/]+)/comments": create_comment,
        "POST /events": hear_as_comments,
    },
    "query": {"GET /posts": feed, "POST /events": hear_as_query},
    "moderation": {"POST /events": hear_as_moderation},
    "bystander": {"POST /events": lambda body: (200, {})},
    "event-bus": {"POST /events": hear_as_bus, "GET /events": lambda: (200, published)},
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_it(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, told = self.answer({"body": json.loads(body)} if body else {})
        content = json.dumps(told).encode()
        if status == 201 and "ANSWER" in os.environ:
            content = os.environ["ANSWER"].encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def answer(self, given: dict[str, Any]) -> tuple[int, Any]:
        for route, handler in ROLES[role].items():
            if found := re.fullmatch(route, f"{self.command} {self.path.partition('?')[0]}"):
                try:
                    answer: tuple[int, Any] = handler(**found.groupdict(), **given)
                    return answer
                except OSError as error:
                    return 500, {"error": str(error)}
        return 404, {"error": "no such route"}

    do_GET = do_POST = handle_it

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True


if __name__ == "__main__":
    role = sys.argv[1]
    if role == "query" and "REPLAY" in os.environ and the_file().exists():
        Thread(target=replay, daemon=True).start()
    elif role == "query" and the_file().exists():
        for line in the_file().read_text().splitlines():
            heard = json.loads(line)
            apply(heard["type"], heard["data"])
    Server(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
