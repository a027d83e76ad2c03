"""The shared base of the services on the bus: the service class, its options, its `main`."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from lab.async_bus.consumer import Alerts, Consumer
from lab.async_bus.dead_letters import TABLE, count_dead_letters, read_dead_letters, redrive
from lab.async_bus.dual_write import DualWrite
from lab.async_bus.inbox import Inbox, Listener
from lab.async_bus.outbox import OutboxRelay
from lab.bus.connect import open_bus
from lab.domain.events import Event
from lab.domain.services import BUS, HOPS, by_hand_port, by_hand_url
from lab.faults.versions import rewrite_envelope
from lab.service import idempotency
from lab.service.http import Route
from lab.service.options import Main
from lab.service.server import Shell, ShellOptions
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

    def on(self, *event_types: type[Event]) -> Callable[[Handler], Handler]:
        """Register a listener: `@service.on(PostCreated)` above `def know_post(post, change)`.

        The listener changes rows, and may publish events, through the transaction `change`; the
        offset moves in the same transaction.
        """

        def declare(listener: Handler) -> Handler:
            for event_type in event_types:
                self.listeners[event_type] = listener
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
        for name, (default, description) in SWITCHES.items():
            parser.add_argument(
                f"--{name}",
                choices=("on", "off"),
                default=default,
                help=f"{description} ({default})",
            )
        parser.add_argument(
            "--apply-ms", type=float, default=0.0, help="what applying one event takes (0)"
        )
        idempotency.add_argument(parser)
        arguments = parser.parse_args(argv)
        service.name = arguments.name
        if arguments.idempotency:
            service.enable_idempotency()
        bus = open_bus(arguments.bus, service.name)
        # Pushed events have no order in which a position could mean anything.
        replayable = not bus.routes

        def list_dead_letters() -> list[dict[str, Any]]:
            return read_dead_letters(store)

        async def redrive_all() -> Any:
            return await consumer.between_batches(lambda: redrive(store, inbox.redrive))

        routes = [
            *service.routes,
            *bus.routes,
            Route("GET", "/_lab/dead", list_dead_letters, control=True),
            Route("POST", "/_lab/redrive", redrive_all, control=True),
        ]
        server = Shell(ARRANGEMENT, service.name, routes, ShellOptions.of(arguments))
        store = service.open_store(arguments.data)
        alerts = Alerts()
        rewrite = partial(server.fault_filter.rewrite_outgoing, rewrite=rewrite_envelope)
        publisher = (
            OutboxRelay(store, bus, alerts, rewrite)
            if arguments.outbox == "on"
            else DualWrite(store, bus, rewrite)
        )
        inbox = Inbox(
            store,
            service.listeners,
            server.spans,
            dedupe=arguments.dedupe == "on",
            dead_letter=arguments.dead_letter == "on",
            replayable=replayable,
            apply_ms=arguments.apply_ms,
            ignored_sources=frozenset(f"/{ARRANGEMENT}/{name}" for name in arguments.not_from),
        )
        consumer = Consumer(bus, inbox, server.fault_filter, bool(service.listeners), alerts)

        def state() -> dict[str, Any]:
            stuck = inbox.stuck_event
            committed, published = publisher.positions()
            return {
                "offset": inbox.position if service.listeners and replayable else None,
                "untold": publisher.count_unpublished(),
                "committed": committed,
                "published": published,
                "stuck": asdict(stuck) if stuck else None,
                "failed_on": list(inbox.failed_subjects),
                "dead": count_dead_letters(store),
                "applied": inbox.applied,
                "passed_over": inbox.skipped,
                "alarms": list(alerts.messages),
            }

        server.not_ready_because = lambda: consumer.not_ready_because
        server.state = state
        server.run(publisher.run, consumer.run)

    return main
