"""Probes whether a service is ready: one GET on a bare socket.

It uses no HTTP client, because it runs while everything else is starting: probing nine services
every few milliseconds must not take the CPU that they need, and importing a client would cost more
than all probes together. A refused connection, the usual result in that time, costs some tens of
microseconds.
"""

import asyncio
import json
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

MAX_RESPONSE_BYTES = 65536


@dataclass(frozen=True)
class Health:
    """`status`: the HTTP status; None without a response. `reason`: why it is not ready. `answers`:
    whether it answers requests, ready or, with an old copy, still behind."""

    status: int | None
    reason: str | None = None
    answers: bool = False


async def probe_health(url: str, timeout_s: float = 1.0) -> Health:
    """GET `url` (http, an IPv4 address and a port) once. Never raises."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    request = (
        f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
    )
    try:
        async with asyncio.timeout(timeout_s):
            response = await _exchange(host, port, request.encode())
    except ConnectionRefusedError:
        return Health(None, f"nothing listens on port {port}")
    except TimeoutError:
        return Health(None, f"port {port} takes connections, but no answer comes")
    except OSError as error:
        return Health(None, f"port {port}: {error.strerror or error}")
    return _parse_response(response)


async def _exchange(host: str, port: int, request: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, (host, port))
        await loop.sock_sendall(sock, request)
        response = b""
        while len(response) < MAX_RESPONSE_BYTES:
            chunk = await loop.sock_recv(sock, 4096)
            if not chunk:
                break
            response += chunk
        return response


def _parse_response(response: bytes) -> Health:
    head, _, body = response.partition(b"\r\n\r\n")
    words = head.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        return Health(None, "it closed the connection without an answer")
    status = int(words[1])
    if status == 200:
        return Health(status, answers=True)
    try:
        report = json.loads(body[body.find(b"{") : body.rfind(b"}") + 1])
        if "because" in report:  # a sidecar reports on its service
            return Health(status, str(report["because"]).rstrip("."))
        return Health(status, f"it says it waits for {report['waits_for']}", answers=True)
    except (ValueError, KeyError, TypeError):
        return Health(status, f"its health answer is {status}")
