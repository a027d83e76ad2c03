"""A sidecar: a small proxy process in front of an external service, with the lab's fault filter.

    the load, the lab ──► HTTP adapter ──┐
                                         ├──► fault filter ──► the external service
    other services, the bus ──► raw port ┘

`python -m lab.external.sidecar --name posts --service-port 4100 --raw-port 4000`

The adapter offers the lab's public HTTP API. The raw port listens where other services expect the
service, and forwards requests unchanged. Both use one fault filter, so a fault affects every caller
and its evidence is counted once. If callers can't be led to the sidecar, there is no raw port.
"""

import argparse
import asyncio
import gc
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError

from lab.domain.services import BUS
from lab.external.adapter import HttpAdapter
from lab.external.fault_filter import ProxyFaultFilter
from lab.external.mapping import Actions
from lab.external.proxy.client import ServicePool
from lab.external.proxy.connection import ProxyConnection, ProxyContext
from lab.external.proxy.sockets import listen_on_loopbacks
from lab.service.listener import BACKLOG, listen, serve
from lab.service.tracing import SpanLog
from lab.support.http_client import HttpOrigin
from lab.support.parent_watch import exit_with_parent

SHUTDOWN_TIMEOUT_S = 2.0
_GC_THRESHOLD = 10_000


@dataclass(frozen=True)
class SidecarOptions:
    """All ports are on this machine; 0 is a free one. `raw_port` None: no raw port.

    `hosts`: ports by the host names with which services call each other. `events_path`: where
    events are delivered. `spans`: file for the spans of requests.
    """

    name: str
    service_port: int
    port: int = 0
    raw_port: int | None = None
    ready: str | None = None
    actions: Actions = field(default_factory=Actions)
    hosts: Mapping[str, int] = field(default_factory=dict)
    events_path: str | None = "/events"
    answer_within_s: float = 10.0
    arrangement: str = "foreign"
    token: str = ""
    spans: Path | None = None
    reuse_port: bool = False


class Sidecar:
    """Serves inside `async with`. `adapter_url` is the adapter's URL, `raw_url` the raw port's."""

    def __init__(self, options: SidecarOptions) -> None:
        self._options = options
        fault_filter, pool = ProxyFaultFilter(), ServicePool(options.name)
        service = HttpOrigin("127.0.0.1", options.service_port)
        self._pool = pool
        self._adapter_socket = listen(options.port, options.reuse_port)
        self._raw_sockets = []
        if options.raw_port is not None:
            self._raw_sockets = listen_on_loopbacks(options.raw_port, options.reuse_port)
        hosts = {
            name.lower(): HttpOrigin("127.0.0.1", port) for name, port in options.hosts.items()
        }
        self._proxy = ProxyContext(
            options.name,
            service,
            fault_filter,
            pool,
            hosts,
            events_path=options.events_path,
        )
        self._spans = SpanLog(options.spans, options.name)
        self._adapter = HttpAdapter(
            options.name,
            options.arrangement,
            options.actions,
            service,
            fault_filter,
            pool,
            spans=self._spans,
            token=options.token,
            port=self._adapter_socket.getsockname()[1],
            ready=options.ready,
            answer_within_s=options.answer_within_s,
            state=self._state,
        )

    @property
    def adapter_url(self) -> str:
        return f"http://127.0.0.1:{self._adapter.port}"

    @property
    def raw_url(self) -> str | None:
        if not self._raw_sockets:
            return None
        return f"http://127.0.0.1:{self._raw_sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._adapter_server = serve(
            self._adapter,
            self._adapter_socket,
            shutdown_within_s=SHUTDOWN_TIMEOUT_S,
            handler_cancellation=True,  # when the caller disconnects
        )
        await self._adapter_server.__aenter__()
        self._raw_listeners = [
            await loop.create_server(
                lambda: ProxyConnection(self._proxy), sock=raw, backlog=BACKLOG
            )
            for raw in self._raw_sockets
        ]
        self._idle_check = asyncio.create_task(self._proxy.close_idle_connections())
        return self

    async def __aexit__(self, *_: object) -> None:
        for listener in self._raw_listeners:
            listener.close()
        self._idle_check.cancel()
        await self._adapter_server.__aexit__(None, None, None)
        self._proxy.close()
        self._pool.close()
        self._spans.close()
        await asyncio.sleep(0)  # let the aborted connections run their callbacks

    def _state(self) -> dict[str, Any]:
        """`busy`: a request or event is under way. `head` of a bus is None: it has no offsets."""
        counts = self._proxy.counts
        under_way = self._adapter.under_way + counts.under_way
        state = asdict(counts) | {
            "under_way": under_way,
            "busy": bool(under_way or self._proxy.delivering),
        }
        return state | ({"head": None} if self._options.name == BUS else {})


async def _serve(options: SidecarOptions) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    exit_with_parent(loop)
    async with Sidecar(options) as sidecar:
        sys.stdout.write(f"{options.arrangement} {options.name}: {sidecar.adapter_url}\n")
        if sidecar.raw_url:
            sys.stdout.write(f"{options.arrangement} {options.name}, raw: {sidecar.raw_url}\n")
        sys.stdout.flush()
        await stop.wait()


def _parse_mapping(text: str) -> Actions:
    """A mapping from a file, or from the argument if that is JSON."""
    try:
        content = text if text.lstrip().startswith("{") else Path(text).read_text("utf-8")
        return Actions.model_validate_json(content)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error.strerror}.") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        at = ".".join(str(key) for key in first["loc"]) or "it"
        raise argparse.ArgumentTypeError(f"{at}: {first['msg']}.") from None


def _parse_host(text: str) -> tuple[str, int]:
    """Host and port from `posts-clusterip-srv:4000=4000`."""
    name, equals, port = text.rpartition("=")
    if not (name and equals and port.isdecimal() and int(port) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME:PORT=PORT, as event-bus:80=4005.")
    return name, int(port)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m lab.external.sidecar",
        description="A proxy with the lab's fault filter in front of an external service.",
        epilog="Try: curl http://127.0.0.1:PORT/health",
    )
    add = parser.add_argument
    add("--name", required=True, help="name of the service: posts, comments, query, event-bus, …")
    add("--service-port", type=int, required=True, help="port on which the service listens")
    add("--port", type=int, default=0, help="port of the HTTP adapter; 0 is any free one")
    add("--raw-port", type=int, help="port that forwards unchanged; 0 is any free one")
    add("--ready", metavar="PATH", help="a ready service responds here with less than 500")
    add(
        "--mapping",
        type=_parse_mapping,
        default=Actions(),
        help="a JSON file, or JSON; default: the course's mapping",
    )
    add(
        "--host",
        type=_parse_host,
        action="append",
        default=[],
        metavar="NAME:PORT=PORT",
        help="port of a host name, for services that use this sidecar as a proxy",
    )
    add("--events", default="/events", metavar="PATH", help="where events are delivered (/events)")
    add("--within-s", type=float, default=10.0, help="timeout of a request of the adapter (10)")
    add("--arrangement", default="foreign", help="what /health calls the system (foreign)")
    add("--spans", type=Path, metavar="FILE", help="append a JSON line for each request")
    add("--reuse-port", action="store_true", help="the lab holds the port for us")
    args = parser.parse_args(argv)
    options = SidecarOptions(
        name=args.name,
        service_port=args.service_port,
        port=args.port,
        raw_port=args.raw_port,
        ready=args.ready,
        actions=args.mapping,
        hosts=dict(args.host),
        events_path=args.events,
        answer_within_s=args.within_s,
        arrangement=args.arrangement,
        token=os.environ.get("LAB_TOKEN", ""),
        spans=args.spans,
        reuse_port=args.reuse_port,
    )
    gc.set_threshold(_GC_THRESHOLD)
    asyncio.run(_serve(options))


if __name__ == "__main__":
    main()
