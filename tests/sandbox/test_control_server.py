"""Who may break the services of a running lab: whoever has its token, and nobody else.

No stack is needed for that: the server stands before a switchboard without switches.
"""

import asyncio
import http.client
import json
import socket
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import pytest

import lab.web
from lab.byhand import control_server as module
from lab.byhand.control_server import Address, control_server
from lab.byhand.switchboard import Switchboard

PATIENCE_S = 10.0
WISH = b'{"kind": "down", "target": "posts"}'


@pytest.fixture
async def server() -> AsyncIterator[Address]:
    async with control_server(Switchboard([])) as address:
        yield address


async def ask(
    server: Address, method: str, path: str, headers: dict[str, str], body: bytes | None = None
) -> tuple[int, dict[str, Any] | list[Any]]:
    """Status and JSON of one request, which is right but for `headers`."""
    parts = urlsplit(server.url)
    right = {"Host": parts.netloc, "Lab-Token": server.token, "Content-Type": "application/json"}

    def exchange() -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=PATIENCE_S)
        with closing(connection):
            connection.request(method, path, body, right | headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    return await asyncio.to_thread(exchange)


async def test_who_has_the_token_is_answered(server: Address) -> None:
    assert await ask(server, "GET", "/faults", {}) == (200, [])
    by_name = {"Host": server.url.replace("http://127.0.0.1", "localhost")}
    assert await ask(server, "GET", "/faults", by_name) == (200, [])


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (403, {"Lab-Token": "guessed"}),
        (403, {"Lab-Token": ""}),
        (421, {"Host": "evil.example"}),
        (421, {"Host": "127.0.0.1"}),
        (421, {"Host": "127.0.0.1:1"}),
    ],
)
async def test_a_stranger_is_refused_at_every_route(
    server: Address, method: str, status: int, headers: dict[str, str]
) -> None:
    refused = await ask(server, method, "/faults", headers, WISH if method == "POST" else None)
    assert refused[0] == status
    assert isinstance(refused[1], dict)
    assert refused[1]["definite"] is True


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (415, {"Content-Type": "text/plain"}, WISH),
        (415, {"Content-Type": "application/x-www-form-urlencoded"}, WISH),
        (413, {}, b'{"kind": "' + b"x" * 65536 + b'"}'),
        (400, {}, b""),
        (400, {}, b"\xff"),
        (400, {}, b"[" * 5000),
        (400, {}, b'{"kind": "down"}'),
        (400, {}, b'{"kind": "down", "target": "posts", "pid": 1}'),
        (400, {}, WISH),  # Right, but there is no stack here that has posts.
    ],
)
async def test_a_body_that_is_no_wish_is_refused(
    server: Address, status: int, headers: dict[str, str], body: bytes
) -> None:
    seen, problem = await ask(server, "POST", "/faults", headers, body)
    assert isinstance(problem, dict)
    assert (seen, problem["status"]) == (status, status)
    assert problem["detail"]


@pytest.mark.parametrize(
    ("status", "method", "path"),
    [
        (404, "GET", "/"),
        (404, "GET", "/faults/1"),
        (405, "PUT", "/faults"),
        (400, "DELETE", "/faults?pid=1"),
    ],
)
async def test_there_is_nothing_else_to_ask_for(
    server: Address, status: int, method: str, path: str
) -> None:
    assert (await ask(server, method, path, {}))[0] == status


@pytest.mark.parametrize("sent", ["head", "body"])
async def test_a_request_that_does_not_arrive_whole_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, sent: str
) -> None:
    monkeypatch.setattr(module, "WHOLE_REQUEST_WITHIN_S", 0.05)
    monkeypatch.setattr(lab.web, "WHOLE_REQUEST_WITHIN_S", 0.05)
    async with control_server(Switchboard([])) as address:
        parts = urlsplit(address.url)
        head = f"POST /faults HTTP/1.1\r\nHost: {parts.netloc}\r\nLab-Token: {address.token}\r\n"
        rest = "Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
        reader, writer = await asyncio.open_connection("127.0.0.1", parts.port)
        writer.write((head if sent == "head" else head + rest).encode())
        async with asyncio.timeout(PATIENCE_S):
            answer = await reader.read()  # Until the server closes the connection.
        writer.close()
        assert answer == b"" if sent == "head" else b"408" in answer.splitlines()[0]


async def test_it_listens_on_the_loopback_only_and_not_any_more_when_it_is_closed() -> None:
    async with control_server(Switchboard([])) as address:
        parts = urlsplit(address.url)
        assert parts.hostname == "127.0.0.1"
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", parts.port or 0)) != 0
