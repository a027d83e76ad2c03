"""Listening where others look for somebody: `localhost` may mean either loopback."""

import socket
from contextlib import suppress

from lab.listener import listen


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
