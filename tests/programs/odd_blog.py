"""A blog in one process that is odd in one way: `python odd_blog.py PORT HOW`.

HOW is a key of `ODD`, or of `stray.HOW` for ways that do not concern answers. The posts survive a
restart, in a file in the folder.
"""

import gzip
import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import uuid4

import stray

KEPT = Path("posts.json")
lock = Lock()
posts: dict[str, dict[str, Any]] = json.loads(KEPT.read_text()) if KEPT.exists() else {}


def answer(method: str, path: str, body: Any) -> tuple[int, Any]:
    if (method, path) == ("POST", "/posts"):
        post = {"id": uuid4().hex, "title": body["title"], "comments": []}
        posts[post["id"]] = post
        return 201, post
    if (method, path) == ("GET", "/posts"):
        return 200, posts
    found = re.fullmatch(r"/posts/(\w+)/comments", path)
    if found and method == "POST":
        status = "rejected" if "orange" in body["content"] else "approved"
        comment = {"id": uuid4().hex, "content": body["content"], "status": status}
        posts[found[1]]["comments"].append(comment)
        return 201, comment
    return 404, {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_it(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            with lock:
                status, told = answer(self.command, self.path, json.loads(body) if body else None)
                KEPT.write_text(json.dumps(posts))
        except ValueError:
            status, told = 400, {}
        ODD.get(how, plain)(self, status, json.dumps(told).encode())

    do_GET = do_POST = handle_it

    def say(self, status: int, content: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(content)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def plain(it: Handler, status: int, content: bytes) -> None:
    it.say(status, content, ("Content-Type", "application/json"))


def html(it: Handler, status: int, content: bytes) -> None:
    it.say(200, b"<!DOCTYPE html><title>Hello</title>", ("Content-Type", "text/html"))


def packed(it: Handler, status: int, content: bytes) -> None:
    it.say(status, gzip.compress(content), ("Content-Encoding", "gzip"))


def in_chunks(it: Handler, status: int, content: bytes) -> None:
    it.send_response(status)
    it.send_header("Transfer-Encoding", "chunked")
    it.end_headers()
    for begin in range(0, len(content), 7):
        piece = content[begin : begin + 7]
        it.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
    it.wfile.write(b"0\r\n\r\n")


def of_3_mb(it: Handler, status: int, content: bytes) -> None:
    plain(it, status, content + b" " * 3_000_000)


def of_9_mb(it: Handler, status: int, content: bytes) -> None:
    plain(it, status, content + b" " * 9_000_000)


def closes_early(it: Handler, status: int, content: bytes) -> None:
    it.send_response(status)
    it.send_header("Content-Length", str(len(content) + 10))
    it.end_headers()
    it.wfile.write(content)
    it.close_connection = True


def redirects(it: Handler, status: int, content: bytes) -> None:
    it.say(301, b"", ("Location", f"{it.path}/"))


ODD = {
    one.__name__: one
    for one in (html, packed, in_chunks, of_3_mb, of_9_mb, closes_early, redirects)
}


def ends(it: Handler, status: int, content: bytes) -> None:
    """Exit on a request that has no route."""
    if status == 404:
        sys.stderr.write("no route, no life\n")
        stray.os._exit(9)
    plain(it, status, content)


ODD["ends"] = ends


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    stray.note(stray.os.getpid())
    port, how = int(sys.argv[1]), sys.argv[2]
    if how in stray.HOW:
        stray.HOW[how]()
    server = Server(("127.0.0.1", port + (how == "listens_elsewhere")), Handler)
    if how == "listens_elsewhere":
        sys.stderr.write("listening\n")
    server.serve_forever()
