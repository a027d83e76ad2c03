"""Socket options of the proxy, and listening on both loopback addresses.

Many servers write the head and the body of a response separately, and their kernel holds the body
back until the head is acknowledged (Nagle). On a kept-alive connection the receiving kernel delays
this (40 ms on Linux). With `acknowledge` the sidecar avoids this delay.
"""

import socket
import struct
from contextlib import suppress
from typing import Protocol

from lab.service.http import listen

# ── Options

_QUICKACK = getattr(socket, "TCP_QUICKACK", None)


class SocketOptions(Protocol):
    """A socket, or a transport's view of it."""

    def setsockopt(self, level: int, option: int, value: int | bytes, /) -> None: ...


def acknowledge_now(sock: SocketOptions) -> None:
    """Acknowledge received data now. Has an effect on Linux only."""
    if _QUICKACK is not None:
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)


def reset_on_close(sock: SocketOptions) -> None:
    """Make the next close a reset (SO_LINGER with 0 s)."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


# ── Listening


def listen_on_loopbacks(port: int, reuse_port: bool = True) -> list[socket.socket]:
    """Listeners on 127.0.0.1 and, if possible, ::1: callers' `localhost` may mean either."""
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
