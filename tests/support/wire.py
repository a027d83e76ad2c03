"""Raw bytes to a service and back, for requests that no correct client would send."""

import json
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tests.support.laboratory import PATIENCE_S


@dataclass(frozen=True)
class RawReply:
    """The bytes received until the service closed the connection; `status` 0 if there were none."""

    status: int
    content_type: str
    body: bytes

    @property
    def data(self) -> Any:
        return json.loads(self.body)


def connect(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), PATIENCE_S)


def read_until_closed(connection: socket.socket) -> RawReply:
    """Read until the other side closes; raises TimeoutError if it does not."""
    received = b""
    try:
        while part := connection.recv(65536):
            received += part
    except ConnectionResetError:
        pass
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    status = int(lines[0].split()[1]) if lines[0] else 0
    types = [line for line in lines if line.lower().startswith("content-type:")]
    return RawReply(status, types[0].partition(":")[2].strip() if types else "", body)


def request(url: str, first_line: str, body: bytes = b"", **headers: str) -> bytes:
    """The bytes of a request with `Connection: close`; `headers` as `Content_Type=…`."""
    given = {"Host": url.removeprefix("http://"), "Connection": "close"}
    if body:
        given |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = [f"{first_line} HTTP/1.1", *(f"{k}: {v}" for k, v in given.items() if v), "", ""]
    return "\r\n".join(head).encode("latin-1") + body


def send(url: str, data: bytes) -> RawReply:
    with connect(url) as connection:
        with suppress(ConnectionResetError, BrokenPipeError):  # answered before it read everything
            connection.sendall(data)
        return read_until_closed(connection)
