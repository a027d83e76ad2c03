"""Sockets of the proxy: a close that resets, and listening on both loopback addresses."""

import socket
import struct
from contextlib import suppress

from lab.service.listener import listen
from lab.support.http_client import SocketOptions


def reset_on_close(sock: SocketOptions) -> None:
    """Make the next close a reset (SO_LINGER with 0 s)."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


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
