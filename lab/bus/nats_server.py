"""The `nats` engine's process: a nats-server of the lab's own, and the door to its stream.

What it is made of is imported when it is known that NATS is here: who starts it without is told
what to install.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lab.bus.log_server import ARRANGEMENT
from lab.bus.nats_files import NatsFiles
from lab.domain.directory import BUS, BY_HAND_PORTS
from lab.nats_here import NatsMissing, find_server, require_client
from lab.shell import Shell, ShellOptions


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m lab.bus.nats_server",
        description="The event bus, engine nats: a nats-server with JetStream, and a door to it.",
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
    except NatsMissing as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(3)
    from lab.bus.nats_door import NatsDoor
    from lab.bus.nats_node import NatsServer

    files = NatsFiles((arguments.data / "nats").absolute())
    files.make()
    nodes = tuple(arguments.nodes.split(",")) if arguments.nodes else (arguments.name,)
    options = ShellOptions.of(arguments)
    server = NatsServer(program, files, arguments.name, nodes)
    door = NatsDoor(server.bus, options.token)
    shell = Shell(ARRANGEMENT, arguments.name, door.routes, options)
    shell.waits_for = lambda: server.waits_for
    shell.run(server.run)


if __name__ == "__main__":
    main()
