"""Only the lab can inject faults: control routes need the run's token, and sockets are local."""

import itertools
import socket
from collections.abc import Iterator

import psutil
import pytest

from lab.cluster.ports import reserve
from lab.cluster.program import Program
from lab.domain import headers
from lab.service.server import Shell, ShellOptions
from tests.support.laboratory import PATIENCE_S, Laboratory, RunningBlog
from tests.support.refusals import assert_is_problem

ORDER = {"kind": "error", "target": "posts", "options": {}}


def _control_routes() -> list[tuple[str, str]]:
    """Method and path of every control route, read from the table that every process has."""
    shell = Shell("tests", "nobody", [], ShellOptions(port=0))
    return [(route.method, route.path) for route in shell.routes if route.control]


ROUTES = _control_routes()


@pytest.fixture(scope="module")
def by_hand(laboratory: Laboratory) -> Iterator[str]:
    """A service started by hand: without a token in its environment."""
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


def test_a_control_route_is_closed_without_the_right_token(blog: RunningBlog) -> None:
    assert ("PUT", "/_lab/faults/{name}") in ROUTES
    assert all(path.startswith("/_lab/") for _, path in ROUTES)
    right = blog.stack.token
    wrong = ["", "wrong", "x" * len(right), right[:-1], "\xff\xfe", right + right]
    every = [{}, *({headers.TOKEN: token} for token in wrong)]
    for target in blog.stack.arrangement.targets:
        for (method, path), given in itertools.product(ROUTES, every):
            path = path.replace("{name}", "x")
            assert_is_problem(blog.ask(method, target, path, json=ORDER, headers=given), 403)
        hanging = blog.ask("GET", target, "/_lab/faults", headers={headers.TOKEN: right})
        assert hanging.json() == {}


def test_started_by_hand_all_control_routes_are_closed(
    by_hand: str, chain_blog: RunningBlog
) -> None:
    for (method, path), token in itertools.product(ROUTES, ("", "None", chain_blog.stack.token)):
        response = chain_blog.session.request(
            method,
            by_hand + path.replace("{name}", "x"),
            json=ORDER,
            headers={headers.TOKEN: token},
            timeout=PATIENCE_S,
        )
        assert_is_problem(response, 403)


def test_every_process_listens_on_the_loopback_only(blog: RunningBlog) -> None:
    for target, url in blog.stack.urls.items():
        connections = psutil.Process(blog.pid(target)).net_connections("all")
        listening = [c.laddr for c in connections if c.status == psutil.CONN_LISTEN]
        assert [f"http://{address.ip}:{address.port}" for address in listening] == [url]
        assert all(c.family != socket.AF_INET6 for c in connections)


def test_the_token_is_in_no_file_or_command_line(blogs: dict[str, RunningBlog]) -> None:
    tokens = [blog.stack.token for blog in blogs.values()]
    for blog in blogs.values():
        for target in blog.stack.arrangement.targets:
            words = " ".join(psutil.Process(blog.pid(target)).cmdline())
            assert not any(token in words for token in tokens)
    files = [path for path in blog.laboratory.folder.rglob("*") if path.is_file()]
    assert files
    for path in files:
        content = path.read_bytes()
        assert not any(token.encode() in content for token in tokens), path
