"""A reserved port refuses connections; the error about a port in use names its owner."""

import contextlib
import os
import socket

import pytest

from lab.cluster.errors import PortTaken
from lab.cluster.ports import reserve


def test_a_reserved_port_refuses_connections_and_other_owners() -> None:
    with reserve() as mine, contextlib.ExitStack() as others:
        client = others.enter_context(socket.socket())
        assert client.connect_ex(("127.0.0.1", mine.port)) != 0
        with pytest.raises(PortTaken):
            reserve(mine.port)
        ports = {others.enter_context(reserve()).port for _ in range(200)}
        assert mine.port not in ports
        assert len(ports) == 200


def test_a_reserved_port_is_free_again_once_closed() -> None:
    with reserve() as first:
        port = first.port
    with reserve(port) as again:
        assert again.port == port


@pytest.mark.parametrize("reuse", [False, True], ids=["plain", "with SO_REUSEPORT"])
def test_a_taken_port_is_named_with_its_holder(reuse: bool) -> None:
    with socket.socket() as holder:
        if reuse:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(PortTaken, match=f"Port {port} is taken by") as caught:
            reserve(port)
    assert caught.value.port == port
    assert caught.value.owner is None or f"pid {os.getpid()}" in caught.value.owner


def test_old_connections_neither_block_nor_open_a_port() -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # no other option, as node
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = server.accept()
            accepted.close()  # the side that closes first keeps the port in TIME_WAIT
            assert client.recv(1) == b""
    with reserve(port) as mine:
        assert mine.port == port
        with pytest.raises(PortTaken):
            reserve(port)
