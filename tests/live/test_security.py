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
EACH = pytest.mark.parametrize("door", ALL, ids=lambda one: f"{one.method} {one.path}")

# HTTP/1.1 without `Host` is rejected as malformed: also good.
HOSTS = ("x", "evil.example", "127.0.0.1", "127.0.0.1:1", "[::1]:80")
ORIGINS = ("http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1", "file://")
# The token itself is no cookie value: the cookie cannot be derived from it.
COOKIES = ("", "{name}=guessed", "{name}={token}", "lab=", "{name}=")
CONTENT_TYPES = ("", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data")
BODIES = (b"", b"[]", b"\xff", b'{"pid": 1}', b"[" * 5_000, b"x" * 70_000)

WrongRequest = tuple[tuple[int, ...], dict[str, str], Any]


def path_of(access_route: AccessRoute) -> str:
    return access_route.path.replace("{name}", "main.js")


@pytest.fixture(scope="module")
def served() -> Iterator[ConsoleServer]:
    one = ConsoleServer()
    yield one
    one.close()


def wrong_requests(access_route: AccessRoute, credentials: Credentials) -> Iterator[WrongRequest]:
    """Yields the statuses that are allowed as answer, the wrong headers, the body."""
    yield from (((400, 421), {"Host": host}, {}) for host in HOSTS)
    yield from (((403,), {"Origin": origin}, {}) for origin in ORIGINS)
    if not access_route.open:
        cookies = (
            one.format(name=credentials.cookie_name, token=credentials.token) for one in COOKIES
        )
        yield from (((403,), {"Cookie": cookie}, {}) for cookie in cookies)
    if access_route.mutates:
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
    served: ConsoleServer, door: AccessRoute
) -> None:
    for statuses, headers, body in wrong_requests(door, served.credentials):
        status, told, _ = served.request(door.method, path_of(door), body, headers)
        assert status in statuses, (headers, body)
        assert told["content-type"].startswith("application/problem+json")
        assert_safe(told)


@EACH
def test_a_route_answers_one_method_only(served: ConsoleServer, door: AccessRoute) -> None:
    for method in METHODS:
        status, told, _ = served.request(method, path_of(door), {})
        assert (status == 405) == (method != door.method), method
        assert_safe(told)


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
        *("/static/../server.py", "/static/..%2fserver.py", "/static/%2e%2e/server.py"),
        *("/static//etc/passwd", "/static/", "/static/.", "/static/nothing.js", "/server.py"),
        *("/static/main.js/", "/static/main.js%00", "/static/%ff"),
    ],
)
def test_nothing_outside_the_pages_own_folder_is_served(served: ConsoleServer, path: str) -> None:
    status, *_ = served.request("GET", path)
    assert status in (400, 404)


def test_without_a_script_there_is_no_next_step(served: ConsoleServer) -> None:
    status, _, told = served.request("POST", "/api/step", {})
    assert status == 400
    assert b"--script FILE" in told


@EACH
def test_watchers_find_only_what_is_shared(served: ConsoleServer, door: AccessRoute) -> None:
    def asked(asker: ConsoleClient, **headers: str) -> int:
        return asker.request(door.method, path_of(door), None, headers)[0]

    if not door.shared:
        assert asked(served.shared, Cookie=served.cookie) == 404
        return
    assert not door.mutates
    # /api/blog needs a pane, and none is given here.
    assert asked(served.shared) == (400 if door.path == "/api/blog" else 200)
    assert asked(served.shared, Host="evil.example") == 421
    assert asked(served.shared, Host="127.0.0.1") == 421
    assert asked(served.shared, Origin="null") == 403


def test_watchers_may_use_each_of_the_machines_addresses(served: ConsoleServer) -> None:
    for name in ("localhost", socket.gethostname(), *local_addresses()):
        host = {"Host": f"{name}:{served.shared.port}"}
        assert served.shared.request("GET", "/", None, host)[0] == 200
    # The presenter's port accepts only loopback names, not the machine's other names.
    for name in local_addresses():
        assert served.request("GET", "/", None, {"Host": f"{name}:{served.port}"})[0] == 421
