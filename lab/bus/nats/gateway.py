"""The `nats` engine on a cluster that exists already: the stream's HTTP face, and nothing to start.

    lab ──HTTP──▶ this program ──NATS──▶ a cluster of others ◀──NATS── posts, comments, query, …

The cluster is not the lab's. All that is made there is one stream, of the given name, and at the
end it is removed again; whatever else lies there is neither read nor touched. If this program is
killed there is nobody to do that, and the stream stays until somebody removes it.

The login stands in the environment (LAB_BUS_LOGIN=USER:PASSWORD): a command line is read by every
user of the machine.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lab.bus.base import BusUnavailable
from lab.bus.connect import LOGIN, with_login
from lab.bus.log.server import ARRANGEMENT
from lab.domain.services import BUS, BY_HAND_PORTS
from lab.service.server import Shell, ShellOptions
from lab.support.nats import NatsMissing, require_client

if TYPE_CHECKING:
    from lab.bus.nats.client import NatsBus

LOOK_EVERY_S = 0.02
MADE_WITHIN_S = 3.0
ASK_WITHIN_S = 1.0
GOODBYE_WITHIN_S = 1.5


class NatsGateway:
    """A stream of ours on a cluster of others (`servers`), from its beginning to its end."""

    def __init__(self, bus: "NatsBus", servers: Sequence[str], name: str) -> None:
        self._bus, self._servers, self._name = bus, servers, name
        self.waits_for: str | None = "the cluster to make its stream"

    async def run(self) -> None:
        """Make the stream and keep it until this is cancelled; then remove it. Ends the process
        with status 3 when the cluster doesn't make it."""
        give_up_at_s = time.perf_counter() + MADE_WITHIN_S
        this = asyncio.current_task()
        assert this is not None
        try:
            # Looked at, because `head` may lose a cancellation: see `lab.service.server`.
            while self.waits_for is not None and not this.cancelling():
                try:
                    await self._bus.head()
                    self.waits_for = None
                except BusUnavailable as error:
                    self.waits_for = f"the cluster to make its stream ({error})"
                    if time.perf_counter() > give_up_at_s:
                        sys.stderr.write(f"{self._name} can't be made there. {error}\n")
                        sys.stderr.flush()
                        os._exit(3)
                    await asyncio.sleep(LOOK_EVERY_S)
            if not this.cancelling():
                await asyncio.Event().wait()
        finally:
            try:
                async with asyncio.timeout(GOODBYE_WITHIN_S):
                    await self._bus.close()
                    await self._remove()
            except (BusUnavailable, TimeoutError) as error:
                sys.stderr.write(f"The stream {self._name} may still be there: {error!r}\n")

    async def _remove(self) -> None:
        # Over a connection of its own: one that was just lost must not make the stream anew.
        from lab.bus.nats.connection import connect, remove

        connection = await connect(self._servers, ASK_WITHIN_S)
        try:
            await remove(connection.stream, self._name)
        finally:
            await connection.close()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m lab.bus.nats.gateway",
        description="A stream for the blog on a NATS cluster that exists, and a door to it.",
        epilog=f"A login stands in the environment: {LOGIN}=USER:PASSWORD",
    )
    ShellOptions.arguments(parser, BY_HAND_PORTS[ARRANGEMENT][BUS])
    add = parser.add_argument
    add("--cluster", required=True, metavar="URL", help="where it is: nats://HOST:PORT")
    add("--stream", required=True, help="the stream to make there, and to remove at the end")
    add("--replicas", choices=("1", "3"), default="1", help="how many nodes keep the stream (1)")
    arguments = parser.parse_args(argv)
    try:
        require_client()
    except NatsMissing as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(3)
    from lab.bus.nats.client import NatsBus
    from lab.bus.nats.connection import server_urls
    from lab.bus.nats.http import NatsDoor

    name = arguments.stream
    servers = server_urls(with_login(arguments.cluster))
    bus = NatsBus(
        lambda: servers, name=name, replicas=int(arguments.replicas), answer_within_s=ASK_WITHIN_S
    )
    gateway = NatsGateway(bus, servers, name)
    options = ShellOptions.of(arguments)
    shell = Shell(ARRANGEMENT, BUS, NatsDoor(bus, options.token).routes, options)
    shell.waits_for = lambda: gateway.waits_for
    shell.run(gateway.run)


if __name__ == "__main__":
    main()
