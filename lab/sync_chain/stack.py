"""The shared base of the chain's services: the service class, its options, its `main`."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lab.domain.services import BUS, HOPS, SERVICES, by_hand_port, by_hand_url
from lab.service import idempotency
from lab.service.options import Main
from lab.service.server import Shell, ShellOptions
from lab.sync_chain.ask.http import HttpTransport, Transport
from lab.sync_chain.ask.service import ARRANGEMENT, ChainService
from lab.sync_chain.resilience.layers import ResilienceOptions, wrap

__all__ = ["ChainService", "program"]

ARRANGEMENTS = {"http": ARRANGEMENT, "events": "request-reply"}
ASK_TIMEOUT_MS = 5_000


def program(service: ChainService) -> Main:
    """Build the `main` of a service's file: parse the command line, open the store, serve."""

    def main(argv: Sequence[str] | None = None) -> None:
        arguments = _parse_arguments(service.name, argv)
        service.name, service.extra_callees = arguments.name, tuple(arguments.also_ask)
        service.arrangement = ARRANGEMENTS[arguments.ask_by]
        timeout_s = arguments.timeout_ms / 1_000
        options = replace(
            ShellOptions.of(arguments),
            enforce_deadlines=arguments.deadline,
            work_ms=arguments.work_ms,
        )
        if arguments.idempotency:
            service.enable_idempotency()
        server = Shell(service.arrangement, service.name, service.routes, options)
        server.state = lambda: {
            "asks": service.tally.snapshot(),
            "breakers": dict(service.tally.breakers),
            "given_up": server.expired_count,
            "under_way": server.in_flight,
        }

        def wrap_transport(transport: Transport) -> Transport:
            resilience = ResilienceOptions.from_arguments(arguments)
            wrapped = wrap(transport, resilience, service.tally, options.workers, service.fallbacks)
            if arguments.width == 1:
                return wrapped
            from lab.sync_chain.ask.fan_out import FanOut

            return FanOut(wrapped, arguments.width, options.workers)

        if service.schema:
            service.open_store(arguments.data)
        if arguments.ask_by == "http":
            transport = HttpTransport(arguments.peers, timeout_s, service.name, service.tally)
            service.transport = wrap_transport(transport)
            server.run()
        else:
            # Imported here, because a service that asks over HTTP needs no bus.
            from lab.bus.connect import open_bus
            from lab.sync_chain.ask.events import EventTransport

            bus = open_bus(arguments.bus, service.name)
            event_transport = EventTransport(
                service.name, service.source, bus, server, timeout_s, service.tally
            )
            service.transport = wrap_transport(event_transport)
            server.not_ready_because = lambda: event_transport.not_ready_because
            server.run(event_transport.run)

    return main


def _parse_arguments(name: str, argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"python -m lab.sync_chain.{name}",
        description=f"The {name} service of the sync chain, as a program of its own.",
        epilog=f"Try: curl http://127.0.0.1:{by_hand_port(ARRANGEMENT, name)}/health",
    )
    ShellOptions.arguments(parser, by_hand_port(ARRANGEMENT, name))
    add = parser.add_argument
    add("--name", default=name, help=f"its name, where several processes run this file ({name})")
    add("--data", type=Path, default=Path("runs/by-hand/sync-chain"))
    add(
        "--ask-by",
        choices=tuple(ARRANGEMENTS),
        default="http",
        help="how requests travel: http, or events over the bus (http)",
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
        help="where the event bus listens, for requests that travel as events",
    )
    add(
        "--timeout-ms",
        type=float,
        default=ASK_TIMEOUT_MS,
        help="how long to wait for an answer",
    )
    add(
        "--deadline",
        action="store_true",
        help="refuse requests whose caller has stopped waiting, and pass the deadline on",
    )
    add(
        "--work-ms",
        type=float,
        default=0.0,
        help="time that each request takes, one request at a time (0)",
    )
    add("--width", type=int, default=1, help="split a request about many posts into N requests (1)")
    add(
        "--also-ask",
        action="append",
        default=[],
        choices=HOPS,
        metavar="HOP",
        help="another hop to call first; may be repeated",
    )
    idempotency.add_argument(parser)
    ResilienceOptions.add_arguments(parser)
    arguments = parser.parse_args(argv)
    arguments.peers = {peer: by_hand_url(ARRANGEMENT, peer) for peer in (*SERVICES, *HOPS)}
    arguments.peers |= _parse_peers(parser, arguments.peer)
    return arguments


def _parse_peers(parser: argparse.ArgumentParser, pairs: list[str]) -> Mapping[str, str]:
    peers = {}
    for pair in pairs:
        name, _, url = pair.partition("=")
        if name not in (*SERVICES, *HOPS) or not url.startswith("http://"):
            parser.error(
                f"--peer {pair!r}: expected NAME=URL, as posts=http://127.0.0.1:4100; "
                f"names are {', '.join((*SERVICES, *HOPS))}."
            )
        peers[name] = url.rstrip("/")
    return peers
