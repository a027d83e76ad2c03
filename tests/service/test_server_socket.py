"""What a server of the lab shows of itself, and how many connections wait for it."""

import argparse
import socket
import struct
import sys
from pathlib import Path

import aiohttp
import pytest

from lab.service.http import HttpApp, Route
from lab.service.listener import BACKLOG, bind, serve
from lab.service.options import ShellOptions

TCP_INFO_BYTES = 104
_MAX_WAITING = slice(28, 32)  # tcpi_sacked, which is the backlog of a listening socket


def backlog_of(listener: socket.socket) -> int:
    info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
    (backlog,) = struct.unpack("=I", info[_MAX_WAITING])
    return int(backlog)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the backlog of a socket")
async def test_as_many_connections_wait_as_were_asked_for() -> None:
    most = int(Path("/proc/sys/net/core/somaxconn").read_text())
    listener = bind(0)
    async with serve(HttpApp([], 0), listener):
        assert backlog_of(listener) == min(BACKLOG, most)


async def test_no_answer_tells_the_versions_of_its_server() -> None:
    async def greet() -> dict[str, str]:
        return {}

    listener = bind(0)
    port = listener.getsockname()[1]
    async with (
        serve(HttpApp([Route("GET", "/", greet)], port), listener),
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
    ):
        for path, status in (("/", 200), ("/nothing", 404)):
            async with session.get(path) as response:
                assert response.status == status
                assert "Server" not in response.headers


@pytest.mark.parametrize(
    "words", ["--port 65536", "--port -1", "--port ٣", "--workers 0", f"--workers {10**9}"]
)
def test_an_option_out_of_its_bounds_is_named(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    ShellOptions.arguments(parser, 4000)
    option, value = words.split()
    with pytest.raises(SystemExit) as exited:
        parser.parse_args([f"{option}={value}"])
    assert exited.value.code == 2
    assert f"{option}: {value!r}: expected a whole number from" in capsys.readouterr().err
