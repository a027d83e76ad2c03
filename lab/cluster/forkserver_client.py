"""The lab's end of the socket to the fork server: starts it, sends requests, receives exits.

The fork server gets the lab's import path, so that it finds every module that the lab finds, also
in a notebook. It gets no certificate files: all traffic is plain HTTP on the loopback interface,
and loading them would cost each start some 40 ms.
"""

import asyncio
import itertools
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lab.cluster.errors import ForkServerLost, LabCannotRun
from lab.support.process_identity import process_identity

LAB_RUN = "LAB_RUN"
START_METHOD = "LAB_START"
GONE_WITHIN_S = 3.0

_numbers = itertools.count(1)


class ForkServerRefused(LabCannotRun):
    """The fork server could not carry out a request; the message says why."""


class ForkServerClient:
    """The connection to one fork server.

    `on_exit(name, status)` is called when a child has ended, `on_lost()` when the fork server has.
    """

    def __init__(
        self,
        preload: Sequence[str],
        log: Path,
        on_exit: Callable[[str, int], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._preload, self.log = tuple(preload), log
        self._on_exit, self._on_lost = on_exit, on_lost
        self._pending_responses: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._read_task: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.lost = False

    @property
    def pid(self) -> int:
        """The process id of the fork server."""
        assert self._process is not None
        return self._process.pid

    def launch(self) -> None:
        """Start the fork server; don't wait for its imports. A second call does nothing."""
        if self._process is not None:
            return
        lab_end, server_end = socket.socketpair()
        fd, method = str(server_end.fileno()), start_method()
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "lab.cluster.forkserver", fd, method, *self._preload],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[server_end.fileno()],
                env=_build_environment(),
                start_new_session=True,  # A Ctrl-C in the terminal reaches only the lab.
            )
        except BaseException:
            lab_end.close()
            raise
        finally:
            server_end.close()
            os.close(log)
        self._socket = lab_end

    async def connect(self) -> None:
        """Begin to read messages, in the running loop."""
        assert self._socket is not None
        reader, self._writer = await asyncio.open_unix_connection(sock=self._socket)
        self._read_task = asyncio.create_task(
            self._read_messages(reader), name="fork server messages"
        )

    async def request(self, **message: object) -> dict[str, Any]:
        """Send a message and return the response. Raises ForkServerRefused, ForkServerLost."""
        if self.lost or self._writer is None:
            raise ForkServerLost(log_tail(self.log))
        number = next(_numbers)
        response_future = self._pending_responses[number] = (
            asyncio.get_running_loop().create_future()
        )
        try:
            self._writer.write(json.dumps({"id": number, **message}).encode() + b"\n")
            response: dict[str, Any] = await response_future
        finally:
            del self._pending_responses[number]
        if "error" in response:
            raise ForkServerRefused(str(response["error"]))
        return response

    async def close(self) -> None:
        """End the fork server and every child that still runs; return when it has ended."""
        if self._process is None:
            return
        if self._writer is not None and self._read_task is not None:
            if not self.lost:
                self._writer.write_eof()
            # When it exits, the kernel closes its end of the socket: no need to poll.
            await asyncio.wait([self._read_task], timeout=GONE_WITHIN_S)
        self.abandon()

    def abandon(self) -> None:
        """Do the same as `close`, but at once and without an event loop."""
        if self._process is None or self._socket is None:
            return
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if self._read_task is not None:
            self._read_task.cancel()
        try:
            self._process.wait(GONE_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()  # Perhaps suspended. The kernel ends its children.
            self._process.wait()
        if self._writer is not None:
            self._writer.close()
        self._socket.close()

    async def _read_messages(self, reader: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while line := await reader.readline():
                message = json.loads(line)
                if "exit" in message:
                    self._on_exit(message["exit"], message["status"])
                elif (
                    response_future := self._pending_responses.get(message["id"])
                ) and not response_future.done():
                    response_future.set_result(message)
        self.lost = True
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)  # It is about to exit, and has to be reaped.
        for response_future in self._pending_responses.values():
            if not response_future.done():
                response_future.set_exception(ForkServerLost(log_tail(self.log)))
        self._on_lost()


def _build_environment() -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if name not in _CHANGED_VARIABLES}
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return {
        **env,
        "PYTHONPATH": path,
        "SSL_CERT_FILE": os.devnull,
        "SSL_CERT_DIR": os.devnull,
        LAB_RUN: run_mark(),
    }


_CHANGED_VARIABLES = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "SSL_CERT_FILE", "SSL_CERT_DIR")


def original_environment() -> dict[str, str | None]:
    """This process's values of the variables that are different in the fork server."""
    return {name: os.environ.get(name) for name in _CHANGED_VARIABLES}


def run_mark() -> str:
    """The value of LAB_RUN for children of this process:
    "<pid>:<begin, in seconds since 1970>:<identity of the process>".

    The begin tells two runs of one process apart; only the identity decides whether the lab lives.
    """
    return f"{os.getpid()}:{time.time():.2f}:{process_identity(os.getpid())}"


def start_method() -> str:
    """How children start: "fork" on Linux, "exec" elsewhere or when LAB_START says so."""
    return "fork" if sys.platform == "linux" and os.environ.get(START_METHOD) != "exec" else "exec"


_NODE_STACK = re.compile(r"\s+at .*:\d+:\d+\)?( \{)?$|Node\.js v[\d.]+$|\s*$")


def log_tail(log: Path, begin: int = 0, lines: int = 10) -> list[str]:
    """The last `lines` lines that were written to a log after the byte `begin`.

    Reads at most 16 KiB; an unreadable log gives an empty list. Node prints an error above many
    lines of its stack, so these are left out, and blank ones.
    """
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            # A log shorter than `begin` was cut meanwhile, so all of it is new.
            file.seek(max(begin if begin <= size else 0, size - 16384))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if not _NODE_STACK.match(line)][-lines:]
