"""The little of a web framework that five small services need: routes, JSON, and a way to tell."""

import json
import re
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.request import Request, urlopen

BUS = "http://event-bus-srv:4005/events"
_routes: list[tuple[str, re.Pattern[str], Callable[..., Any]]] = []


def route(method: str, path: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`<name>` in the path is handed to the function, and so is the JSON that came, if any."""
    pattern = re.compile(re.sub(r"<(\w+)>", r"(?P<\1>[^/]+)", path))

    def note(function: Callable[..., Any]) -> Callable[..., Any]:
        _routes.append((method, pattern, function))
        return function

    return note


def tell(type: str, **data: Any) -> None:
    """Bring an event to the bus; HTTPError and URLError when it does not take it."""
    post(BUS, {"type": type, "data": data})


def post(url: str, body: Any) -> None:
    headers = {"Content-Type": "application/json"}
    with urlopen(Request(url, json.dumps(body).encode(), headers), timeout=5) as answer:
        answer.read()


def get(url: str) -> Any:
    with urlopen(url, timeout=5) as answer:
        return json.load(answer)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            status, told = self._answer(json.loads(body) if body else None)
        except ValueError:
            status, told = 400, {"error": "the body is no JSON"}
        content = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _answer(self, body: Any) -> tuple[int, Any]:
        for method, pattern, function in _routes:
            found = pattern.fullmatch(self.path.partition("?")[0])
            if found and method == self.command:
                try:
                    answer: tuple[int, Any] = function(
                        **found.groupdict(), **({} if body is None else {"body": body})
                    )
                    return answer
                except Exception as error:
                    print(f"{self.command} {self.path}: {error}", flush=True)
                    return 500, {"error": str(error)}
        return 404, {"error": f"no route {self.command} {self.path}"}

    do_GET = do_POST = _handle

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing of what went well."""


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


def serve() -> None:
    """Serve until the end, on the port that the command line names."""
    with _Server(("127.0.0.1", int(sys.argv[1])), _Handler) as server:
        server.serve_forever()
