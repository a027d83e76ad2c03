"""What the services of the chain stand in: the shared shell, and the means to ask."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from lab.domain.directory import BY_HAND_PORTS, SERVICES, by_hand_url
from lab.service import Service
from lab.shell import Main, Shell, ShellOptions
from lab.sync_chain.ask import Carrier, HttpCarrier

ARRANGEMENT = "sync-chain"
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
        parser = argparse.ArgumentParser(
            prog=f"python -m lab.sync_chain.{service.name}",
            description=f"The {service.name} service of the sync chain, as a program of its own.",
            epilog=f"Try: curl http://127.0.0.1:{BY_HAND_PORTS[ARRANGEMENT][service.name]}/health",
        )
        ShellOptions.arguments(parser, BY_HAND_PORTS[ARRANGEMENT][service.name])
        parser.add_argument("--data", type=Path, default=Path("runs/by-hand/sync-chain"))
        parser.add_argument(
            "--peer",
            action="append",
            default=[],
            metavar="NAME=URL",
            help="where another service listens (default: its by-hand port); may be repeated",
        )
        parser.add_argument(
            "--timeout-ms",
            type=float,
            default=ASK_TIMEOUT_MS,
            help="how long to wait for an answer",
        )
        arguments = parser.parse_args(argv)
        peers = {name: by_hand_url(ARRANGEMENT, name) for name in SERVICES}
        peers |= _peers(parser, arguments.peer)
        service.carrier = HttpCarrier(peers, arguments.timeout_ms / 1_000)
        shell = Shell(ARRANGEMENT, service.name, service.routes, ShellOptions.of(arguments))
        if service.schema:
            service.open_store(arguments.data)
        shell.run()

    return main


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
