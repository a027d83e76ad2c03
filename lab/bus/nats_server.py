"""The `nats` engine's process: a nats-server, and beside it a door for people and for the lab.

    lab ──HTTP──▶ this program ──starts──▶ nats-server ◀──NATS── posts, comments, query, …

Services talk to nats-server directly. This program starts it, is there as long as it is (both are
in one process group, so whatever kills or suspends one does it to both; and the kernel ends the
server when this program ends), and answers over HTTP what nats-server itself answers only on a
monitoring port, which every page in a browser could read: is it ready, how far is the stream.

Several of these, each told of all their `--nodes`, make a cluster with a replicated stream.
"""

import argparse
import asyncio
import ctypes
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress
from pathlib import Path

from aiohttp import web
from pydantic_core import to_json

from lab.bus.base import BusUnavailable
from lab.bus.log_server import ARRANGEMENT, asyncapi_document, read_envelopes, what_to_read
from lab.bus.nats import NatsBus
from lab.bus.nats_files import NatsFiles
from lab.domain.directory import BUS, BY_HAND_PORTS
from lab.domain.errors import TimedOut, Unreachable
from lab.nats_here import NatsMissing, find_server
from lab.shell import Shell, ShellOptions
from lab.web import Route, answer, check_token

STARTED_WITHIN_S = 10.0
LOOK_EVERY_S = 0.005
ASK_WITHIN_S = 0.5
GOODBYE_WITHIN_S = 1.0
_PR_SET_PDEATHSIG = 1


class NatsServer:
    """One nats-server, called `name`, of the cluster of `nodes`; `token` is the lab's."""

    def __init__(
        self, program: Path, files: NatsFiles, name: str, nodes: tuple[str, ...], token: str
    ) -> None:
        self._program, self._files, self._token = program, files, token
        self._name, self._nodes = name, nodes
        self._url: list[str] = []
        # Only the first node makes the stream; two would get in each other's way.
        replicas = len(nodes) if name == nodes[0] else None
        self._bus = NatsBus(lambda: self._url, replicas=replicas, answer_within_s=ASK_WITHIN_S)
        self.waits_for: str | None = "nats-server to start"

    async def run(self) -> None:
        """Start the server and get it ready; ends, with the whole process, only when it does."""
        routes = await self._routes()
        process = await self._start(routes)
        try:
            ready = asyncio.create_task(self._until_ready())
            status = await process.wait()
            ready.cancel()
            raise RuntimeError(f"nats-server has ended, with status {status}.")
        finally:
            await self._bus.close()
            await _end(process)

    async def append(self, request: web.BaseRequest) -> web.Response:
        """`POST /events`: one envelope, or a list of them; 201 with their sequence numbers."""
        envelopes = [one.model_dump_json() for one in await read_envelopes(request)]
        try:
            return answer({"sequences": await self._bus.append(envelopes)}, 201)
        except BusUnavailable as error:
            raise TimedOut(str(error)) from None

    async def read(self, request: web.BaseRequest) -> web.StreamResponse:
        """`GET /events?after=N`: NDJSON of all behind N; with `follow=1` it never ends."""
        position, follow = what_to_read(request)
        end = await self._head()
        stream = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await stream.prepare(request)
        if not follow and position >= end:
            return stream
        # A reader who finds the stream broken off asks again, from where it was.
        with suppress(BusUnavailable):
            async with aclosing(self._bus.read(position)) as batches:
                async for batch in batches:
                    wanted = [one for one in batch if follow or one.sequence <= end]
                    await stream.write(b"".join(to_json(one) + b"\n" for one in wanted))
                    if not follow and batch[-1].sequence >= end:
                        break
        return stream

    async def head(self, request: web.BaseRequest) -> web.Response:
        """`GET /head`: the newest sequence number."""
        return answer({"sequence": await self._head()})

    async def state(self, request: web.BaseRequest) -> web.Response:
        """`GET /_lab/state`, for the lab alone: the same, asked at this moment and not kept."""
        check_token(request, self._token)
        return answer({"head": await self._head()})

    async def _head(self) -> int:
        try:
            return await self._bus.head()
        except BusUnavailable as error:
            raise Unreachable(str(error)) from None

    async def _routes(self) -> Mapping[str, int]:
        """Where all nodes of a cluster listen for each other, once they have all said so."""
        if len(self._nodes) == 1:
            return {}
        self.waits_for = "the other nodes of its cluster to start"
        self._files.choose_route(self._name)
        while True:
            if routes := self._files.routes(self._nodes):
                return routes
            await asyncio.sleep(LOOK_EVERY_S)

    async def _start(self, routes: Mapping[str, int]) -> asyncio.subprocess.Process:
        """Start it on the port that it had, for whoever knows it; if that is taken, on another."""
        for port in (self._files.last_port(self._name), -1):
            if port is None:
                continue
            configuration = self._files.configure(self._name, port, routes)
            # This is the main thread, and must be: the signal comes when the *thread* ends.
            process = await asyncio.create_subprocess_exec(
                self._program, "-c", configuration, preexec_fn=_die_with_parent
            )
            try:
                async with asyncio.timeout(STARTED_WITHIN_S):
                    while process.returncode is None:
                        if (port := self._files.port_in_use(self._name)) is not None:
                            self._url = [self._files.tell_port(self._name, port)]
                            return process
                        await asyncio.sleep(LOOK_EVERY_S)
            except BaseException:
                await _end(process)
                raise
        raise RuntimeError("nats-server did not start; above is what it said.")

    async def _until_ready(self) -> None:
        while self.waits_for is not None:
            try:
                self.waits_for = None if await self._is_led() else "its stream to be led"
            except BusUnavailable as error:
                self.waits_for = f"its stream ({error})"
            await asyncio.sleep(LOOK_EVERY_S)

    async def _is_led(self) -> bool:
        """Whether the stream has a leader; a new stream, whether that is the first node.

        Then "the event bus is down" means that its leader is, however many copies there are.
        """
        stream = await self._bus.info()
        leader = stream.cluster.leader if stream.cluster else self._name
        if self._name == self._nodes[0] != leader and not stream.state.last_seq:
            await self._bus.wish_for_leader(self._name)
            return False
        return bool(leader)


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(GOODBYE_WITHIN_S):
            await process.wait()
    except TimeoutError:
        process.kill()


def _die_with_parent() -> None:
    """Linux: let the kernel end the server when this program ends, in whatever way."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def main(argv: Sequence[str] | None = None) -> None:
    port = BY_HAND_PORTS[ARRANGEMENT][BUS]
    parser = argparse.ArgumentParser(
        prog="python -m lab.bus.nats_server",
        description="The event bus, engine nats: a nats-server with JetStream, and a door to it.",
        epilog="Services find it by its folder: --bus nats:///PATH/OF/DATA/nats",
    )
    ShellOptions.arguments(parser, port)
    parser.add_argument("--data", type=Path, default=Path("runs/by-hand/async-bus"))
    parser.add_argument("--name", default=BUS, help=f"what this node is called ({BUS})")
    parser.add_argument("--nodes", default="", help="all nodes of a cluster: event-bus,event-bus-2")
    arguments = parser.parse_args(argv)
    try:
        program = find_server()
    except NatsMissing as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(3)
    files = NatsFiles((arguments.data / "nats").absolute())
    files.make()
    nodes = tuple(arguments.nodes.split(",")) if arguments.nodes else (arguments.name,)
    options = ShellOptions.of(arguments)
    server = NatsServer(program, files, arguments.name, nodes, options.token)
    routes = [
        Route("POST", "/events", server.append, raw=True),
        Route("GET", "/events", server.read, raw=True),
        Route("GET", "/head", server.head, raw=True),
        Route("GET", "/asyncapi.json", asyncapi_document, raw=True, door=False),
        Route("GET", "/_lab/state", server.state, raw=True, door=False),
    ]
    shell = Shell(ARRANGEMENT, arguments.name, routes, options)
    shell.waits_for = lambda: server.waits_for
    shell.run(server.run)


if __name__ == "__main__":
    main()
