"""What is set on a connection: acknowledge at once, or end it without a farewell.

Many a server writes the head and the body of an answer in two goes, and its kernel holds the second
one back until the first is acknowledged (Nagle). Ours puts that off (40 ms on Linux) on a
connection that is kept, which would be a delay that the sidecar has brought in.

Listening where others look for somebody: `localhost` may mean either loopback.
"""

import socket
import struct
from contextlib import suppress
from typing import Protocol

from lab.service.http import listen

# ── What is set on a connection: acknowledge at once, or end it without a farewell.

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


# ── Listening where others look for somebody: `localhost` may mean either loopback.


def both_loopbacks(port: int, reuse_port: bool = True) -> list[socket.socket]:
    """127.0.0.1, and ::1 where it can be had: others call `localhost`, which may mean either."""
    first = listen(port, reuse_port)
    sockets = [first]
    with suppress(OSError):
        second = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        try:
            second.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            second.bind(("::1", first.getsockname()[1]))
        except OSError:
            second.close()
            raise
        sockets.append(second)
    return sockets
