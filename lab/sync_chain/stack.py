"""What the services of the chain stand in: the shared shell, and the means to ask."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from lab.domain.directory import BUS, BY_HAND_PORTS, SERVICES, by_hand_url
from lab.service import Service
from lab.shell import Main, Shell, ShellOptions
from lab.sync_chain.ask import Carrier, HttpCarrier

ARRANGEMENT = "sync-chain"
ARRANGEMENTS = {"http": ARRANGEMENT, "events": "request-reply"}
ASK_TIMEOUT_MS = 5_000


class ChainService(Service):
    """A service that asks others for what it needs to know, and waits."""

    def __init__(self, name: str, schema: str = "") -> None:
        super().__init__(ARRANGEMENT, name, schema)
        self.carrier: Carrier | None = None

    def ask(
        self, whom: str, method: str, path: str, body: BaseModel | None = None, **query: Any
    ) -> Any:
        """Ask another service, and wait for its JSON answer.

        Raises NotFound when it does not know the thing, DependencyFailed when it can't be
        reached, does not answer in time, or fails itself.
        """
        if self.carrier is None:
            raise RuntimeError(f"{self.name} is not running: its program decides how it asks.")
        return self.carrier(whom, method, path, body, query)


def program(service: ChainService) -> Main:
    """The `main` of a service's file: read the command line, open the store, serve."""

    def main(argv: Sequence[str] | None = None) -> None:
        arguments = _arguments(service.name, argv)
        service.arrangement = ARRANGEMENTS[arguments.ask_by]
        timeout_s = arguments.timeout_ms / 1_000
        shell = Shell(service.arrangement, service.name, service.routes, ShellOptions.of(arguments))
        if service.schema:
            service.open_store(arguments.data)
        if arguments.ask_by == "http":
            service.carrier = HttpCarrier(arguments.peers, timeout_s, service.name)
            shell.run()
        else:
            # Here and not above: who asks over HTTP needs no bus.
            from lab.bus.open import open_bus
            from lab.sync_chain.ask_by_events import EventCarrier

            bus = open_bus(arguments.bus, service.name)
            carrier = EventCarrier(service.name, service.source, bus, shell, timeout_s)
            service.carrier = carrier
            shell.waits_for = lambda: carrier.waits_for
            shell.run(carrier.run)

    return main


def _arguments(name: str, argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"python -m lab.sync_chain.{name}",
        description=f"The {name} service of the sync chain, as a program of its own.",
        epilog=f"Try: curl http://127.0.0.1:{BY_HAND_PORTS[ARRANGEMENT][name]}/health",
    )
    ShellOptions.arguments(parser, BY_HAND_PORTS[ARRANGEMENT][name])
    add = parser.add_argument
    add("--data", type=Path, default=Path("runs/by-hand/sync-chain"))
    add(
        "--ask-by",
        choices=tuple(ARRANGEMENTS),
        default="http",
        help="how questions travel: http, or events over the bus (http)",
    )
    add(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=URL",
        help="where another service listens (default: its by-hand port); may be repeated",
    )
    add(
        "--bus",
        default=by_hand_url("request-reply", BUS),
        help="where the event bus listens, for questions that travel by events",
    )
    add(
        "--timeout-ms",
        type=float,
        default=ASK_TIMEOUT_MS,
        help="how long to wait for an answer",
    )
    arguments = parser.parse_args(argv)
    arguments.peers = {peer: by_hand_url(ARRANGEMENT, peer) for peer in SERVICES}
    arguments.peers |= _peers(parser, arguments.peer)
    return arguments


def _peers(parser: argparse.ArgumentParser, pairs: list[str]) -> Mapping[str, str]:
    peers = {}
    for pair in pairs:
        name, _, url = pair.partition("=")
        if name not in SERVICES or not url.startswith("http://"):
            parser.error(
                f"--peer {pair!r}: expected NAME=URL, as posts=http://127.0.0.1:4100; "
                f"names are {', '.join(SERVICES)}."
            )
        peers[name] = url.rstrip("/")
    return peers
