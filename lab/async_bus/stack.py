"""The shared base of the services on the bus: the service class, its options, its `main`."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lab.async_bus.consumer import Alarms, Inbox
from lab.async_bus.dead_letters import TABLE, count_dead, dead_letters, redrive
from lab.async_bus.inbox import Applier, Listener
from lab.async_bus.outbox import DualWrite, Relay
from lab.bus.connect import open_bus
from lab.domain.events import Event
from lab.domain.services import BUS, HOPS, by_hand_port, by_hand_url
from lab.faults.versions import told_in_version
from lab.service import idempotency
from lab.service.http import Route
from lab.service.server import Main, Shell, ShellOptions
from lab.service.service import Handler, Service
from lab.service.store import Transaction as Change

__all__ = ["BusService", "Change", "program"]

ARRANGEMENT = "async-bus"

SWITCHES = {
    "outbox": ("on", "tell by an outbox in the rows' own transaction; off: after the commit"),
    "dedupe": ("on", "hold what comes against the offset; off: believe whatever comes"),
    "dead-letter": ("off", "lay an event aside that failed five times; off: wait behind it"),
}
"""Each with its default. The defaults lose no event: a consumer that waits behind a poison event
loses nothing."""


class BusService(Service):
    """A service that keeps copies of other services' data and updates them from events."""

    def __init__(self, name: str, schema: str = "") -> None:
        super().__init__(ARRANGEMENT, name, TABLE + schema)
        self.listeners: dict[type[Event], Listener] = {}

    def on(self, *kinds: type[Event]) -> Callable[[Handler], Handler]:
        """Register a listener: `@service.on(PostCreated)` above `def know_post(post, change)`.

        The listener changes rows, and may publish events, through the transaction `change`; the
        offset moves in the same transaction.
        """

        def declare(listener: Handler) -> Handler:
            for kind in kinds:
                self.listeners[kind] = listener
            return listener

        return declare


def program(service: BusService) -> Main:
    """Build the `main` of a service's file: parse the command line, open the store, serve."""

    def main(argv: Sequence[str] | None = None) -> None:
        parser = argparse.ArgumentParser(
            prog=f"python -m lab.async_bus.{service.name}",
            description=f"The {service.name} service on the event bus, as a program of its own.",
            epilog=f"Try: curl http://127.0.0.1:{by_hand_port(ARRANGEMENT, service.name)}/health",
        )
        ShellOptions.arguments(parser, by_hand_port(ARRANGEMENT, service.name))
        parser.add_argument(
            "--name", default=service.name, help="what it is called, where there are several"
        )
        parser.add_argument(
            "--not-from",
            action="append",
            default=[],
            choices=("comments", *HOPS),
            metavar="NAME",
            help="somebody whose events are not heard here; may be repeated",
        )
        parser.add_argument("--data", type=Path, default=Path("runs/by-hand/async-bus"))
        parser.add_argument(
            "--bus", default=by_hand_url(ARRANGEMENT, BUS), help="where the event bus listens"
        )
        for name, (default, says) in SWITCHES.items():
            parser.add_argument(
                f"--{name}",
                choices=("on", "off"),
                default=default,
                help=f"{says} ({default})",
            )
        parser.add_argument(
            "--apply-ms", type=float, default=0.0, help="what applying one event takes (0)"
        )
        idempotency.argument(parser)
        arguments = parser.parse_args(argv)
        service.name = arguments.name
        if arguments.idempotency:
            service.answer_repeats()
        bus = open_bus(arguments.bus, service.name)
        # Pushed events have no order in which a position could mean anything.
        numbered = not bus.routes

        def dead() -> list[dict[str, Any]]:
            return dead_letters(store)

        async def redriven() -> Any:
            return await inbox.in_turn(lambda: redrive(store, applier.redrive))

        routes = [
            *service.routes,
            *bus.routes,
            Route("GET", "/_lab/dead", dead, control=True),
            Route("POST", "/_lab/redrive", redriven, control=True),
        ]
        shell = Shell(ARRANGEMENT, service.name, routes, ShellOptions.of(arguments))
        store = service.open_store(arguments.data)
        alarms = Alarms()

        def as_told(envelope: str) -> str:
            return shell.door.let_out(envelope, told_in_version)

        teller = (
            Relay(store, bus, alarms, as_told)
            if arguments.outbox == "on"
            else DualWrite(store, bus, as_told)
        )
        applier = Applier(
            store,
            service.listeners,
            shell.spans,
            dedupe=arguments.dedupe == "on",
            dead_letter=arguments.dead_letter == "on",
            numbered=numbered,
            apply_ms=arguments.apply_ms,
            deaf_to=frozenset(f"/{ARRANGEMENT}/{name}" for name in arguments.not_from),
        )
        inbox = Inbox(bus, applier, shell.door, bool(service.listeners), alarms)

        def state() -> dict[str, Any]:
            stuck = applier.stuck
            return {
                "offset": applier.position if service.listeners and numbered else None,
                "untold": teller.waiting(),
                "stuck": asdict(stuck) if stuck else None,
                "failed_on": list(applier.failed_on),
                "dead": count_dead(store),
                "applied": applier.applied,
                "passed_over": applier.passed_over,
                "alarms": list(alarms.sentences),
            }

        shell.waits_for = lambda: inbox.waits_for
        shell.state = state
        shell.run(teller.run, inbox.run)

    return main
