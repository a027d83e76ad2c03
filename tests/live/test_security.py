"""Who may use the console: every route that there is, asked in every way that is not right.

The table of routes is the server's own, so a route that is new is tried here by itself. Behind it
is a session that nothing may reach.
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from lab.live.routes import Door, doors
from lab.live.security import HEADERS, Keys, loopback_hosts, own_addresses
from lab.live.server import Desk, listen_on, serving, streaming
from lab.live.session import Session
from lab.live.share import OwnHosts, shared_doors
from lab.live.show import Show
from lab.live.static_files import static_file
from tests.support.live_world import Asker


class Nobody:
    """A session that must not be reached: whoever does gets a 500."""

    def __init__(self, show: Show) -> None:
        self.show = show

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"a request that should have been refused came to session.{name}")


def table(show: Show, keys: Keys) -> list[Door]:
    nobody = cast(Session, Nobody(show))
    return list(doors(nobody, keys, None, static_file, streaming(show, "presenter")))


ALL = table(Show(), Keys.of(0))
EACH = pytest.mark.parametrize("door", ALL, ids=lambda one: f"{one.route.method} {one.route.path}")
CHANGING = [one for one in ALL if one.changes]
CLOSED = [one for one in ALL if not one.open]
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD")


def called(doors: list[Door]) -> Any:
    ids = [f"{one.route.method} {one.route.path}" for one in doors]
    return pytest.mark.parametrize("door", doors, ids=ids)


def path_of(door: Door) -> str:
    return door.route.path.replace("{name}", "main.js")


class Served(Asker):
    """A console without stacks, and what a looker-on finds. `shared`: its other port."""

    def __init__(self) -> None:
        self.show = Show()
        listening, elsewhere = listen_on("127.0.0.1", 0), listen_on("127.0.0.1", 0)
        super().__init__(listening.getsockname()[1])
        self.keys = Keys.of(self.port)
        self.shared = Asker(elsewhere.getsockname()[1])
        full = table(self.show, self.keys)
        here = Desk(full, lambda: loopback_hosts(self.port), self.keys)
        nobody = cast(Session, Nobody(self.show))
        there = Desk(shared_doors(full, nobody), OwnHosts(self.shared.port), None)
        self._loop, self._up = asyncio.new_event_loop(), threading.Event()
        self._end = asyncio.Event()

        async def serve() -> None:
            async with (
                serving(here, listening, self.show),
                serving(there, elsewhere, self.show),
            ):
                self._up.set()
                await self._end.wait()

        def run() -> None:
            self._loop.run_until_complete(serve())
            self._loop.close()

        self._thread = threading.Thread(target=run)
        self._thread.start()
        assert self._up.wait(10)

    def call(self, what: Callable[[], object]) -> None:
        """Do it in the server's own loop."""

        async def there() -> None:
            what()

        asyncio.run_coroutine_threadsafe(there(), self._loop).result(10)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    one = Served()
    one.enter(one.keys.token)
    yield one
    one.close()


@EACH
@pytest.mark.parametrize("host", ["", "evil.example", "127.0.0.1", "127.0.0.1:1", "[::1]:80"])
def test_another_host_is_refused_at_every_route(served: Served, door: Door, host: str) -> None:
    # `Host` can't be left out of HTTP/1.1 without being refused as no HTTP at all: also good.
    status, *_ = served.ask(door.route.method, path_of(door), {}, {"Host": host or "x"})
    assert status in (400, 421)


@EACH
@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1", "file://"]
)
def test_a_page_from_elsewhere_is_refused_at_every_route(
    served: Served, door: Door, origin: str
) -> None:
    status, headers, _ = served.ask(door.route.method, path_of(door), {}, {"Origin": origin})
    assert status == 403
    assert not [name for name in headers if name.startswith("access-control")]


@called(CLOSED)
@pytest.mark.parametrize("cookie", ["", "{name}=guessed", "{name}={token}", "lab=", "{name}="])
def test_who_has_not_entered_is_refused_at_every_route_that_is_not_open(
    served: Served, door: Door, cookie: str
) -> None:
    # The token itself is no cookie: who has seen the one can't make the other.
    given = cookie.format(name=served.keys.cookie, token=served.keys.token)
    status, *_ = served.ask(door.route.method, path_of(door), {}, {"Cookie": given})
    assert status == 403


@called(CHANGING)
def test_what_changes_something_needs_the_header_of_our_page(served: Served, door: Door) -> None:
    for value in ("", "0", "true"):
        status, *_ = served.ask("POST", path_of(door), {}, {"Lab-Page": value})
        assert status == 403


@called(CHANGING)
@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_what_changes_something_comes_as_json(served: Served, door: Door, kind: str) -> None:
    status, *_ = served.ask("POST", path_of(door), {}, {"Content-Type": kind})
    assert status == 415


@called(CHANGING)
@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b'{"pid": 1}', b"[" * 5_000, b"x" * 70_000])
def test_a_body_that_is_no_wish_is_refused(served: Served, door: Door, body: bytes) -> None:
    status, headers, _ = served.ask("POST", path_of(door), body)
    assert status in (400, 413)
    assert headers["content-type"] == "application/problem+json"


@EACH
def test_every_answer_has_the_headers_that_keep_browsers_in_order(
    served: Served, door: Door
) -> None:
    right = (door.route.method, path_of(door), {})
    for headers in ({}, {"Host": "evil.example"}, {"Origin": "null"}, {"Cookie": "none"}):
        _, told, _ = served.ask(*right, headers)
        assert {name: told[name.lower()] for name in HEADERS} == HEADERS
        assert "default-src 'self'" in told["content-security-policy"]
        assert "frame-ancestors 'none'" in told["content-security-policy"]


@EACH
def test_a_route_answers_one_method_only(served: Served, door: Door) -> None:
    for method in METHODS:
        if method != door.route.method:
            status, *_ = served.ask(method, path_of(door), {})
            assert status == 405, method


def test_who_brings_the_token_gets_a_cookie_that_no_script_reads(served: Served) -> None:
    status, headers, body = served.ask("POST", "/api/enter", {"token": served.keys.token})
    assert (status, body) == (204, b"")
    pair, *flags = headers["set-cookie"].split("; ")
    assert pair.startswith(f"lab-{served.port}=")
    assert set(flags) == {"HttpOnly", "SameSite=Strict", "Path=/"}
    assert served.keys.token not in headers["set-cookie"]


@pytest.mark.parametrize("token", ["", "guessed", "\ud800", "x" * 1_000])
def test_another_token_gets_none(served: Served, token: str) -> None:
    status, headers, _ = served.ask("POST", "/api/enter", {"token": token})
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
def test_nothing_outside_the_pages_own_folder_is_served(served: Served, path: str) -> None:
    status, *_ = served.ask("GET", path)
    assert status in (400, 404)


@called(ALL)
def test_lookers_on_find_only_what_is_shared(served: Served, door: Door) -> None:
    cookie = {"Cookie": served.cookie}
    status, *_ = served.shared.ask(door.route.method, path_of(door), {}, cookie)
    if door.shared:
        assert not door.changes
        assert door.route.path == "/api/blog" or status == 200  # the blog: there is no half named
    else:
        assert status == 404


@called([one for one in ALL if one.shared])
@pytest.mark.parametrize(
    ("header", "status"),
    [({"Host": "evil.example"}, 421), ({"Host": "127.0.0.1"}, 421), ({"Origin": "null"}, 403)],
)
def test_lookers_on_must_name_this_machine_too(
    served: Served, door: Door, header: dict[str, str], status: int
) -> None:
    assert served.shared.ask("GET", path_of(door), None, header)[0] == status


def test_lookers_on_find_this_machine_by_each_of_its_own_addresses(served: Served) -> None:
    for name in ("localhost", socket.gethostname(), *own_addresses()):
        host = {"Host": f"{name}:{served.shared.port}"}
        assert served.shared.ask("GET", "/", None, host)[0] == 200
    # On the listener for who controls only the loopback counts, whoever else we are.
    for name in own_addresses():
        assert served.ask("GET", "/", None, {"Host": f"{name}:{served.port}"})[0] == 421


def test_lookers_on_are_told_that_they_only_look(served: Served) -> None:
    with served.shared.stream() as shared, served.stream() as own:
        assert shared.until("hello")["role"] == "watcher"
        assert own.until("hello")["role"] == "presenter"


def test_no_route_takes_the_number_of_a_process() -> None:
    for door in ALL:
        if door.route.body:
            assert "pid" not in door.route.body[1].model_fields
