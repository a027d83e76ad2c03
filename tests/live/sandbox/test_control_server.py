"""Only a client with a running lab's token may inject faults.

This needs no stack: the server's fault controller has no switches here.
"""

import asyncio
import http.client
import json
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from lab.live.sandbox.control_server import ControlAddress, control_server
from lab.live.sandbox.fault_controller import FaultController
from lab.service import http as service_http

PATIENCE_S = 100.0
FAULT_BODY = b'{"kind": "down", "target": "posts"}'


@pytest.fixture
async def server() -> AsyncIterator[ControlAddress]:
    async with control_server(FaultController([])) as address:
        yield address


async def send_request(
    server: ControlAddress,
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes | None = None,
) -> tuple[int, dict[str, Any] | list[Any]]:
    """Status and JSON of one request, correct except for `headers`."""
    parts = urlsplit(server.url)
    correct_headers = {
        "Host": parts.netloc,
        "Lab-Token": server.token,
        "Content-Type": "application/json",
    }

    def exchange() -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=PATIENCE_S)
        with closing(connection):
            connection.request(method, path, body, correct_headers | headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    return await asyncio.to_thread(exchange)


async def test_the_token_is_what_lets_in(server: ControlAddress) -> None:
    assert await send_request(server, "GET", "/faults", {}) == (200, [])
    by_name = {"Host": server.url.replace("http://127.0.0.1", "localhost")}
    assert await send_request(server, "GET", "/faults", by_name) == (200, [])


FORBIDDEN_HEADERS = (
    *((403, {"Lab-Token": token}) for token in ("guessed", "")),
    *((421, {"Host": host}) for host in ("evil.example", "127.0.0.1", "127.0.0.1:1")),
)
WRONG: list[tuple[int, str, str, dict[str, str], bytes | None]] = [
    *((status, "POST", "/faults", headers, FAULT_BODY) for status, headers in FORBIDDEN_HEADERS),
    *((status, "GET", "/faults", headers, None) for status, headers in FORBIDDEN_HEADERS),
    *((status, "DELETE", "/faults", headers, None) for status, headers in FORBIDDEN_HEADERS),
    (415, "POST", "/faults", {"Content-Type": "text/plain"}, FAULT_BODY),
    (415, "POST", "/faults", {"Content-Type": "application/x-www-form-urlencoded"}, FAULT_BODY),
    (413, "POST", "/faults", {}, b'{"kind": "' + b"x" * 65536 + b'"}'),
    (400, "POST", "/faults", {}, b""),
    (400, "POST", "/faults", {}, b"\xff"),
    (400, "POST", "/faults", {}, b"[" * 5000),
    (400, "POST", "/faults", {}, b'{"kind": "down"}'),
    (400, "POST", "/faults", {}, b'{"kind": "down", "target": "posts", "pid": 1}'),
    (400, "POST", "/faults", {}, FAULT_BODY),  # valid, but no stack here has `posts`
    (400, "DELETE", "/faults?pid=1", {}, None),
    (404, "GET", "/", {}, None),
    (404, "GET", "/faults/1", {}, None),
    (405, "PUT", "/faults", {}, None),
]


async def test_every_wrong_request_is_refused_in_a_sentence(server: ControlAddress) -> None:
    for status, method, path, headers, body in WRONG:
        seen, problem = await send_request(server, method, path, headers, body)
        assert isinstance(problem, dict)
        assert (seen, problem["status"]) == (status, status), (method, path, headers, body)
        assert problem["detail"]
        assert problem["definite"] is True


@pytest.mark.parametrize("sent", ["head", "body"])
async def test_an_incomplete_request_is_cut_off(monkeypatch: pytest.MonkeyPatch, sent: str) -> None:
    # Only the tested timeout is short: the server reads that of heads when it starts.
    head_s, body_s = (0.05, PATIENCE_S) if sent == "head" else (PATIENCE_S, 0.05)
    monkeypatch.setattr(service_http, "WHOLE_REQUEST_WITHIN_S", head_s)
    async with control_server(FaultController([])) as address:
        monkeypatch.setattr(service_http, "WHOLE_REQUEST_WITHIN_S", body_s)
        parts = urlsplit(address.url)
        head = f"POST /faults HTTP/1.1\r\nHost: {parts.netloc}\r\nLab-Token: {address.token}\r\n"
        rest = "Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
        reader, writer = await asyncio.open_connection("127.0.0.1", parts.port)
        writer.write((head if sent == "head" else head + rest).encode())
        answer = await reader.read()  # until the server closes the connection
        writer.close()
        assert answer == b"" if sent == "head" else b"408" in answer.splitlines()[0]


async def test_it_listens_on_the_loopback_until_it_is_closed() -> None:
    def listens() -> list[str]:
        connections = psutil.Process().net_connections("tcp")
        return [
            connection.laddr.ip
            for connection in connections
            if connection.laddr.port == port and not connection.raddr
        ]

    async with control_server(FaultController([])) as address:
        port = urlsplit(address.url).port
        assert listens() == ["127.0.0.1"]
    assert listens() == []
