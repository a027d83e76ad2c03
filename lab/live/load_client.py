"""The connection to the load: sends it the plan and changes, and receives its reports.

The load is a process of the supervisor. It connects to a loopback port that is given on its command
line, and authenticates with a token from its environment. Messages are lines of JSON.
"""

import asyncio
import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lab.cluster.errors import LabCannotRun
from lab.cluster.forkserver_client import log_tail
from lab.cluster.ports import HOST
from lab.cluster.program import Program
from lab.cluster.supervisor import Supervisor

PROGRAM_NAME = "load"
_MAX_LINE_BYTES = 1 << 20
_CONNECT_WITHIN_S = 10.0

Report = Mapping[str, Any]


class LoadClient:
    """One load process, from `start` until `stop`. Calls `on_report` in the running loop."""

    def __init__(self, supervisor: Supervisor, on_report: Callable[[Report], None]) -> None:
        self._supervisor, self._on_report = supervisor, on_report
        self._token = secrets.token_urlsafe(24)
        self._server: asyncio.Server | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._plan: Mapping[str, Any] = {}
        self._connected = asyncio.Event()

    async def start(self, plan: Mapping[str, Any], folder: Path) -> None:
        """Start the process, and send it the plan once it has connected.

        Raises LabCannotRun if it can't start, or does not connect in time."""
        self._plan = plan
        self._server = await asyncio.start_server(
            self._serve_connection, HOST, 0, limit=_MAX_LINE_BYTES
        )
        port = self._server.sockets[0].getsockname()[1]
        log = folder / "load.log"
        env = {"LAB_TOKEN": self._token}
        await self._supervisor.start(
            Program(
                PROGRAM_NAME,
                "lab.load.continuous",
                (str(port),),
                log,
                env,
                may_fail=True,
                high_priority=True,
            )
        )
        try:
            async with asyncio.timeout(_CONNECT_WITHIN_S):
                await self._connected.wait()
        except TimeoutError:
            message = "\n  ".join(["The load did not begin. The end of its log:", *log_tail(log)])
            raise LabCannotRun(message) from None

    def change(self, **changes: Any) -> None:
        """Change the load: `rate` (requests per second), `mix` (weights by operation). Takes effect
        within a twentieth of a second."""
        if self._writer is not None:
            self._writer.write(json.dumps(changes).encode() + b"\n")

    @property
    def alive(self) -> bool:
        return self._supervisor.alive(PROGRAM_NAME)

    async def stop(self) -> None:
        """Kill the process, and close the connection. It has no state to save."""
        if self.alive:
            with suppress(LabCannotRun):
                await self._supervisor.kill(PROGRAM_NAME)
        if self._writer is not None:
            self._writer.close()
        if self._server is not None:
            self._server.close()

    async def _serve_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            with suppress(OSError, ValueError, TypeError, AttributeError):
                token = str(json.loads(await reader.readline()).get("token", ""))
                if hmac.compare_digest(token.encode(), self._token.encode()):
                    self._writer = writer
                    writer.write(json.dumps(self._plan).encode() + b"\n")
                    self._connected.set()
                    while line := await reader.readline():
                        self._on_report(json.loads(line))
        finally:
            writer.close()
