"""Nobody but the lab breaks a service: control routes want the run's token, sockets are local."""

import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lab.cluster.ports import reserve
from lab.cluster.program import Program
from lab.cluster.topology import ARRANGEMENTS
from lab.shell import Shell, ShellOptions
from lab.web import TOKEN_HEADER
from tests.support.laboratory import Blog, Laboratory
from tests.support.refusals import assert_is_problem

ORDER = {"kind": "error", "target": "posts", "options": {}}


def _control_routes() -> list[tuple[str, str]]:
    """Method and path of every control route, read from the table that every process has."""
    shell = Shell("tests", "nobody", [], ShellOptions(port=0))
    return [(route.method, route.path) for route in shell._routes if route.control]


ROUTES = _control_routes()


@pytest.fixture(scope="module")
def by_hand(laboratory: Laboratory) -> Iterator[str]:
    """A service as somebody starts it by hand: without a token in its environment."""
    with reserve() as port:
        url = f"http://127.0.0.1:{port.port}"
        folder = laboratory.folder / "by-hand"
        argv = ("--port", str(port.port), "--reuse-port", "--data", str(folder))
        log = laboratory.folder / "by-hand.log"
        program = Program(
            "by-hand", "lab.sync_chain.posts", argv, log, {"LAB_TOKEN": ""}, f"{url}/health"
        )
        with laboratory.start(program):
            yield url


def test_there_are_control_routes_to_look_at() -> None:
    assert ("PUT", "/_lab/faults/{name}") in ROUTES
    assert all(path.startswith("/_lab/") for _, path in ROUTES)


@pytest.mark.parametrize(
    "token", [None, "", "wrong", "SAME-LENGTH", "PREFIX", "\xff\xfe", "TOKEN "]
)
@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_a_control_route_is_closed_without_the_right_token(
    blogs: dict[str, Blog], arrangement: str, method: str, path: str, token: str | None
) -> None:
    blog = blogs[arrangement]
    right = blog.stack.token
    variations = {
        "SAME-LENGTH": "x" * len(right),
        "PREFIX": right[:-1],
        "TOKEN ": right + right,
    }
    headers = {} if token is None else {TOKEN_HEADER: variations.get(token, token)}
    for target in blog.stack.arrangement.targets:
        response = blog.ask(
            method, target, path.replace("{name}", "x"), json=ORDER, headers=headers
        )
        assert_is_problem(response, 403)
        hanging = blog.ask("GET", target, "/_lab/faults", headers={TOKEN_HEADER: right})
        assert hanging.json() == {}


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_started_by_hand_a_control_route_is_closed_to_everybody(
    by_hand: str, blogs: dict[str, Blog], method: str, path: str
) -> None:
    posts = blogs["sync-chain"]
    for token in ("", "None", posts.stack.token):
        response = posts.session.request(
            method,
            by_hand + path.replace("{name}", "x"),
            json=ORDER,
            headers={TOKEN_HEADER: token},
            timeout=5,
        )
        assert_is_problem(response, 403)


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_every_process_listens_on_the_loopback_only(
    blogs: dict[str, Blog], arrangement: str
) -> None:
    blog = blogs[arrangement]
    for target, url in blog.stack.urls.items():
        connections = psutil.Process(blog.pid(target)).net_connections("all")
        listening = [c.laddr for c in connections if c.status == psutil.CONN_LISTEN]
        assert [f"http://{address.ip}:{address.port}" for address in listening] == [url]
        assert all(c.family != socket.AF_INET6 for c in connections)


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_the_token_is_in_no_file_and_on_no_command_line(
    blogs: dict[str, Blog], arrangement: str
) -> None:
    blog = blogs[arrangement]
    token = blog.stack.token
    for target in blog.stack.arrangement.targets:
        assert token not in " ".join(psutil.Process(blog.pid(target)).cmdline())
    for path in Path(blog.laboratory.folder).rglob("*"):
        if path.is_file():
            assert token.encode() not in path.read_bytes(), path
