"""The `nats` engine on an existing cluster: HTTP routes to one stream; no server is started.

    lab ──HTTP──▶ this program ──NATS──▶ an external cluster ◀──NATS── posts, comments, query, …

The cluster is not the lab's. The gateway creates one stream there, with the given name, and removes
it at the end; it neither reads nor changes anything else. If this program is killed, the stream
stays until it is removed by hand.

The login is in the environment (LAB_BUS_LOGIN=USER:PASSWORD), because every user of the machine can
read a command line.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lab.bus.base import BusUnavailable
from lab.bus.connect import with_login
from lab.bus.log.server import ARRANGEMENT
from lab.domain.services import BUS, BUS_LOGIN, BY_HAND_PORTS
from lab.service.server import Shell, ShellOptions
from lab.support.nats import NatsNotInstalled, require_client

if TYPE_CHECKING:
    from lab.bus.nats.client import NatsBus

POLL_EVERY_S = 0.02
CREATED_WITHIN_S = 3.0
ASK_WITHIN_S = 1.0
REMOVED_WITHIN_S = 1.5


class NatsGateway:
    """The lab's stream on an external cluster (`servers`), from its creation to its removal."""

    def __init__(
        self, bus: "NatsBus", servers: Sequence[str], name: str, keep_stream: bool = False
    ) -> None:
        self._bus, self._servers, self._name = bus, servers, name
        self._keep_stream = keep_stream
        self.not_ready_because: str | None = "the cluster to make its stream"

    async def run(self) -> None:
        """Create the stream and keep it until this is cancelled; then remove it.

        Exits the process with status 3 when the cluster does not create it in time.
        """
        give_up_at_s = time.perf_counter() + CREATED_WITHIN_S
        current_task = asyncio.current_task()
        assert current_task is not None
        try:
            # Checked, because `head` may lose a cancellation: see `lab.service.server`.
            while self.not_ready_because is not None and not current_task.cancelling():
                try:
                    await self._bus.head()
                    self.not_ready_because = None
                except BusUnavailable as error:
                    self.not_ready_because = f"the cluster to make its stream ({error})"
                    if time.perf_counter() > give_up_at_s:
                        sys.stderr.write(f"{self._name} can't be made there. {error}\n")
                        sys.stderr.flush()
                        os._exit(3)
                    await asyncio.sleep(POLL_EVERY_S)
            if not current_task.cancelling():
                await asyncio.Event().wait()
        finally:
            try:
                async with asyncio.timeout(REMOVED_WITHIN_S):
                    await self._bus.close()
                    if not self._keep_stream:
                        await self._remove_stream()
            except (BusUnavailable, TimeoutError) as error:
                sys.stderr.write(f"The stream {self._name} may still be there: {error!r}\n")

    async def _remove_stream(self) -> None:
        # Over a separate connection: the bus's own would create the stream again on reconnecting.
        from lab.bus.nats.connection import connect, remove_stream

        connection = await connect(self._servers, ASK_WITHIN_S)
        try:
            await remove_stream(connection.stream, self._name)
        finally:
            await connection.close()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m lab.bus.nats.gateway",
        description="A stream for the blog on an existing NATS cluster, with an HTTP interface.",
        epilog=f"A login is read from the environment: {BUS_LOGIN}=USER:PASSWORD",
    )
    ShellOptions.arguments(parser, BY_HAND_PORTS[ARRANGEMENT][BUS])
    add = parser.add_argument
    add("--cluster", required=True, metavar="URL", help="where it is: nats://HOST:PORT")
    add("--stream", required=True, help="the stream to make there, and to remove at the end")
    add("--replicas", choices=("1", "3"), default="1", help="how many nodes keep the stream (1)")
    add("--keep-stream", action="store_true", help="do not remove it: services use it for longer")
    arguments = parser.parse_args(argv)
    try:
        require_client()
    except NatsNotInstalled as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(3)
    from lab.bus.nats.client import NatsBus
    from lab.bus.nats.connection import server_urls
    from lab.bus.nats.http import NatsHttpApi

    name = arguments.stream
    servers = server_urls(with_login(arguments.cluster))
    bus = NatsBus(
        lambda: servers, name=name, replicas=int(arguments.replicas), answer_within_s=ASK_WITHIN_S
    )
    gateway = NatsGateway(bus, servers, name, arguments.keep_stream)
    options = ShellOptions.of(arguments)
    shell = Shell(ARRANGEMENT, BUS, NatsHttpApi(bus, options.token).routes, options)
    shell.not_ready_because = lambda: gateway.not_ready_because
    shell.run(gateway.run)


if __name__ == "__main__":
    main()
