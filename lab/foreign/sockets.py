"""What is set on a connection: acknowledge at once, or end it without a farewell.

Many a server writes the head and the body of an answer in two goes, and its kernel holds the second
one back until the first is acknowledged (Nagle). Ours puts that off (40 ms on Linux) on a
connection that is kept, which would be a delay that the sidecar has brought in.
"""

import socket
import struct
from contextlib import suppress
from typing import Protocol

_QUICK = getattr(socket, "TCP_QUICKACK", None)


class Socket(Protocol):
    """What can be set on a socket, or on a transport's view of it."""

    def setsockopt(self, level: int, option: int, value: int | bytes, /) -> None: ...


def acknowledge(sock: Socket) -> None:
    """Acknowledge now what has come in; elsewhere than on Linux nothing can be done."""
    if _QUICK is not None:
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, _QUICK, 1)


def end_hard(sock: Socket) -> None:
    """Let its closing be a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
