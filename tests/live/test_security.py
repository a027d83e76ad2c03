"""Access to the console: every route, with every kind of wrong request.

The routes come from the server's own table, so a new route is included automatically. The session
behind them fails if a request reaches it.
"""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from lab.live.broadcast import Broadcast
from lab.live.routes import AccessRoute
from lab.live.security import HEADERS, Credentials, local_addresses
from tests.support.live_world import ConsoleClient, ConsoleServer, console_routes

ALL = console_routes(Broadcast(), Credentials.for_port(0))
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD")
EACH = pytest.mark.parametrize("route", ALL, ids=lambda route: f"{route.method} {route.path}")

# HTTP/1.1 without `Host` is rejected as malformed: also good.
HOSTS = ("x", "evil.example", "127.0.0.1", "127.0.0.1:1", "[::1]:80")
ORIGINS = ("http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1", "file://")
# The token itself is no cookie value: the cookie cannot be derived from it.
COOKIES = ("", "{name}=guessed", "{name}={token}", "lab=", "{name}=")
CONTENT_TYPES = ("", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data")
BODIES = (b"", b"[]", b"\xff", b'{"pid": 1}', b"[" * 5_000, b"x" * 70_000)

WrongRequest = tuple[tuple[int, ...], dict[str, str], Any]


def path_of(route: AccessRoute) -> str:
    return route.path.replace("{name}", "main.js")


@pytest.fixture(scope="module")
def served() -> Iterator[ConsoleServer]:
    server = ConsoleServer()
    yield server
    server.close()


def wrong_requests(route: AccessRoute, credentials: Credentials) -> Iterator[WrongRequest]:
    """Yields the statuses that are allowed as answer, the wrong headers, the body."""
    yield from (((400, 421), {"Host": host}, {}) for host in HOSTS)
    yield from (((403,), {"Origin": origin}, {}) for origin in ORIGINS)
    if not route.open:
        cookies = (
            cookie.format(name=credentials.cookie_name, token=credentials.token)
            for cookie in COOKIES
        )
        yield from (((403,), {"Cookie": cookie}, {}) for cookie in cookies)
    if route.mutates:
        yield from (((403,), {"Lab-Page": value}, {}) for value in ("", "0", "true"))
        yield from (((415,), {"Content-Type": kind}, {}) for kind in CONTENT_TYPES)
        yield from (((400, 413), {}, body) for body in BODIES)


def assert_safe(headers: dict[str, str]) -> None:
    assert {name: headers[name.lower()] for name in HEADERS} == HEADERS
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert not [name for name in headers if name.startswith("access-control")]


@EACH
def test_a_wrong_request_is_refused_at_every_route(
    served: ConsoleServer, route: AccessRoute
) -> None:
    for statuses, headers, body in wrong_requests(route, served.credentials):
        status, response_headers, _ = served.request(route.method, path_of(route), body, headers)
        assert status in statuses, (headers, body)
        assert response_headers["content-type"].startswith("application/problem+json")
        assert_safe(response_headers)


@EACH
def test_a_route_answers_one_method_only(served: ConsoleServer, route: AccessRoute) -> None:
    for method in METHODS:
        status, response_headers, _ = served.request(method, path_of(route), {})
        assert (status == 405) == (method != route.method), method
        assert_safe(response_headers)


def test_the_token_buys_a_cookie_that_no_script_reads(served: ConsoleServer) -> None:
    status, headers, body = served.request(
        "POST", "/api/enter", {"token": served.credentials.token}
    )
    assert (status, body) == (204, b"")
    pair, *flags = headers["set-cookie"].split("; ")
    assert pair.startswith(f"lab-{served.port}=")
    assert set(flags) == {"HttpOnly", "SameSite=Strict", "Path=/"}
    assert served.credentials.token not in headers["set-cookie"]


@pytest.mark.parametrize("token", ["", "guessed", "\ud800", "x" * 1_000])
def test_a_wrong_token_buys_nothing(served: ConsoleServer, token: str) -> None:
    status, headers, _ = served.request("POST", "/api/enter", {"token": token})
    assert status in (400, 403)
    assert "set-cookie" not in headers


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py",
        "/static/..%2fserver.py",
        "/static/%2e%2e/server.py",
        "/static//etc/passwd",
        "/static/",
        "/static/.",
        "/static/nothing.js",
        "/server.py",
        "/static/main.js/",
        "/static/main.js%00",
        "/static/%ff",
    ],
)
def test_nothing_outside_the_pages_own_folder_is_served(served: ConsoleServer, path: str) -> None:
    status, *_ = served.request("GET", path)
    assert status in (400, 404)


def test_without_a_script_there_is_no_next_step(served: ConsoleServer) -> None:
    status, _, body = served.request("POST", "/api/step", {})
    assert status == 400
    assert b"--script FILE" in body


@EACH
def test_watchers_find_only_what_is_shared(served: ConsoleServer, route: AccessRoute) -> None:
    def status_of(client: ConsoleClient, **headers: str) -> int:
        return client.request(route.method, path_of(route), None, headers)[0]

    if not route.shared:
        assert status_of(served.shared, Cookie=served.cookie) == 404
        return
    # All that an audience can change is its answer to a bet.
    assert not route.mutates or route.path == "/api/vote"
    # /api/blog needs a pane, and /api/vote an answer: none is given here.
    needs_more = route.path in ("/api/blog", "/api/vote")
    assert status_of(served.shared) == (400 if needs_more else 200)
    assert status_of(served.shared, Host="evil.example") == 421
    assert status_of(served.shared, Host="127.0.0.1") == 421
    assert status_of(served.shared, Origin="null") == 403


def test_watchers_may_use_each_of_the_machines_addresses(served: ConsoleServer) -> None:
    for name in ("localhost", socket.gethostname(), *local_addresses()):
        host = {"Host": f"{name}:{served.shared.port}"}
        assert served.shared.request("GET", "/", None, host)[0] == 200
    # The presenter's port accepts only loopback names, not the machine's other names.
    for name in local_addresses():
        assert served.request("GET", "/", None, {"Host": f"{name}:{served.port}"})[0] == 421
