"""The process of the `nats` engine: starts a nats-server, and offers HTTP routes to its stream.

    lab ──HTTP──▶ this program ──starts──▶ nats-server ◀──NATS── posts, comments, query, …

Both are in one process group, so a signal to the group kills or suspends both; on Linux, the kernel
also ends the server when this program ends. Several such programs, each with the names of all
nodes, form a cluster with a replicated stream.

Modules that need nats-py are imported after the check for NATS, so that a user without it gets a
message on what to install.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.bus.base import BusUnavailable
from lab.bus.log.server import ARRANGEMENT
from lab.bus.nats.files import NatsFiles
from lab.domain.services import BUS, BY_HAND_PORTS
from lab.service.server import Shell, ShellOptions
from lab.support.nats import (
    NatsNotInstalled,
    find_server,
    require_client,
    set_parent_death_signal,
    terminate,
)

# ── The nats-server

STARTED_WITHIN_S = 10.0
POLL_EVERY_S = 0.005
ASK_WITHIN_S = 0.5


class NatsServer:
    """One nats-server, called `name`, of the cluster of `nodes`, and a `bus` connected to it."""

    def __init__(self, program: Path, files: NatsFiles, name: str, nodes: tuple[str, ...]) -> None:
        from lab.bus.nats.client import NatsBus  # needs nats-py, which `main` has looked for

        self._program, self._files = program, files
        self._name, self._nodes = name, nodes
        self._urls: list[str] = []
        # Only the first node creates the stream; two at once would conflict.
        replicas = len(nodes) if name == nodes[0] else None
        self.bus = NatsBus(lambda: self._urls, replicas=replicas, answer_within_s=ASK_WITHIN_S)
        self.not_ready_because: str | None = "nats-server to start"

    async def run(self) -> None:
        """Start the server and wait for it. Raises RuntimeError when it ends."""
        routes = await self._wait_for_routes()
        process = await self._start(routes)
        try:
            ready = asyncio.create_task(self._wait_until_ready())
            status = await process.wait()
            ready.cancel()
            raise RuntimeError(f"nats-server has ended, with status {status}.")
        finally:
            await self.bus.close()
            await terminate(process)

    async def _wait_for_routes(self) -> Mapping[str, int]:
        """The cluster ports of all nodes, once all have chosen theirs; empty for a single node."""
        if len(self._nodes) == 1:
            return {}
        self.not_ready_because = "the other nodes of its cluster to start"
        self._files.reserve_route_port(self._name)
        while True:
            if routes := self._files.route_ports(self._nodes):
                return routes
            await asyncio.sleep(POLL_EVERY_S)

    async def _start(self, routes: Mapping[str, int]) -> asyncio.subprocess.Process:
        """Start the server on its last port, which clients know; if that fails, on a free one."""
        for port in (self._files.last_port(self._name), -1):
            if port is None:
                continue
            configuration = self._files.write_configuration(self._name, port, routes)
            # This must be the main thread: the signal comes when the *thread* ends.
            process = await asyncio.create_subprocess_exec(
                self._program, "-c", configuration, preexec_fn=set_parent_death_signal
            )
            try:
                async with asyncio.timeout(STARTED_WITHIN_S):
                    while process.returncode is None:
                        if (port := self._files.port_in_use(self._name)) is not None:
                            self._urls = [self._files.write_port(self._name, port)]
                            return process
                        await asyncio.sleep(POLL_EVERY_S)
            except BaseException:
                await terminate(process)
                raise
        raise RuntimeError("nats-server did not start; above is what it said.")

    async def _wait_until_ready(self) -> None:
        while self.not_ready_because is not None:
            try:
                self.not_ready_because = (
                    None if await self._has_leader() else "its stream to be led"
                )
            except BusUnavailable as error:
                self.not_ready_because = f"its stream ({error})"
            await asyncio.sleep(POLL_EVERY_S)

    async def _has_leader(self) -> bool:
        """Whether the stream has a leader; for a new stream, whether that is the first node.

        So "the event bus is down" means that the leader is down, however many replicas there are.
        """
        stream = await self.bus.info()
        leader = stream.cluster.leader if stream.cluster else self._name
        if self._name == self._nodes[0] != leader and not stream.state.last_seq:
            await self.bus.prefer_leader(self._name)
            return False
        return bool(leader)


# ── Program


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m lab.bus.nats.server",
        description="The event bus, engine nats: nats-server with JetStream and HTTP interface.",
        epilog="Services find it by its folder: --bus nats:///PATH/OF/DATA/nats",
    )
    ShellOptions.arguments(parser, BY_HAND_PORTS[ARRANGEMENT][BUS])
    parser.add_argument("--data", type=Path, default=Path("runs/by-hand/async-bus"))
    parser.add_argument("--name", default=BUS, help=f"what this node is called ({BUS})")
    parser.add_argument("--nodes", default="", help="all nodes of a cluster: event-bus,event-bus-2")
    arguments = parser.parse_args(argv)
    try:
        require_client()
        program = find_server()
    except NatsNotInstalled as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(3)
    from lab.bus.nats.http import NatsHttpApi

    files = NatsFiles((arguments.data / "nats").absolute())
    files.create_folder()
    nodes = tuple(arguments.nodes.split(",")) if arguments.nodes else (arguments.name,)
    options = ShellOptions.of(arguments)
    server = NatsServer(program, files, arguments.name, nodes)
    api = NatsHttpApi(server.bus, options.token)
    shell = Shell(ARRANGEMENT, arguments.name, api.routes, options)
    shell.not_ready_because = lambda: server.not_ready_because
    shell.run(server.run)


if __name__ == "__main__":
    main()
