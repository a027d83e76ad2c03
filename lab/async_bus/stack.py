"""What the services on the bus stand in: the shared shell, and the means to tell and to hear."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lab.async_bus.hear import Inbox, Listener
from lab.async_bus.tell import Relay
from lab.bus.open import open_bus
from lab.domain.directory import BUS, BY_HAND_PORTS, by_hand_url
from lab.domain.events import Event
from lab.service import Handler, Service
from lab.shell import Main, Shell, ShellOptions
from lab.store import Transaction as Change

__all__ = ["BusService", "Change", "program"]

ARRANGEMENT = "async-bus"


class BusService(Service):
    """A service that keeps copies of what others know, and hears when it changes."""

    def __init__(self, name: str, schema: str = "") -> None:
        super().__init__(ARRANGEMENT, name, schema)
        self.listeners: dict[type[Event], Listener] = {}

    def on(self, *kinds: type[Event]) -> Callable[[Handler], Handler]:
        """Hear events: `@service.on(PostCreated)` above `def know_post(post, change)`.

        The listener changes rows, and may tell, through the `change` it is given; the offset
        moves in the same transaction.
        """

        def declare(listener: Handler) -> Handler:
            for kind in kinds:
                self.listeners[kind] = listener
            return listener

        return declare


def program(service: BusService) -> Main:
    """The `main` of a service's file: read the command line, open the store, serve."""

    def main(argv: Sequence[str] | None = None) -> None:
        parser = argparse.ArgumentParser(
            prog=f"python -m lab.async_bus.{service.name}",
            description=f"The {service.name} service on the event bus, as a program of its own.",
            epilog=f"Try: curl http://127.0.0.1:{BY_HAND_PORTS[ARRANGEMENT][service.name]}/health",
        )
        ShellOptions.arguments(parser, BY_HAND_PORTS[ARRANGEMENT][service.name])
        parser.add_argument("--data", type=Path, default=Path("runs/by-hand/async-bus"))
        parser.add_argument(
            "--bus", default=by_hand_url(ARRANGEMENT, BUS), help="where the event bus listens"
        )
        arguments = parser.parse_args(argv)
        bus = open_bus(arguments.bus)
        shell = Shell(ARRANGEMENT, service.name, service.routes, ShellOptions.of(arguments))
        store = service.open_store(arguments.data)
        relay = Relay(store, bus)
        inbox = Inbox(store, bus, service.listeners, shell.door, shell.spans)

        def state() -> dict[str, Any]:
            offset = inbox.position if service.listeners else None
            return {"offset": offset, "untold": relay.waiting()}

        shell.waits_for = lambda: inbox.waits_for
        shell.state = state
        shell.run(relay.run, inbox.run)

    return main
