"""The shell that every process of both stacks stands in.

The event loop lives here and nowhere else: handlers are plain functions, run in a bounded pool of
workers as a threaded WSGI server would. So the twins differ in how they communicate, and in
nothing else.

The way of a request: host → route → body → **door** (where faults act) → worker → answer, with a
span around it. Health and control routes turn off before the door.

How a process of the lab is told to run: what every program's command line understands.

What a service runs beside its server: it can't do without it, and ends it before it ends.

A service of a known capacity: each request needs something of which there is only one.

A processor, a disk, a lock in a database: whatever it is, it takes one request at a time, in the
order in which they come, and a fixed time for each. So the service answers 1000 / `work_ms` a
second and not one more, however many workers wait for it (`apply_ms` is the same for a consumer of
events). The time is slept and not worked, so that variants don't slow each other down.
"""

import argparse
import asyncio
import contextvars
import gc
import inspect
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from lab.domain import headers
from lab.domain.errors import GivenUp, NotFound, ServiceError
from lab.faults.filter import Door
from lab.faults.kinds import CLIENT, Visit
from lab.service import deadline, idempotency
from lab.service.fault_api import as_deployed, control_routes, refused_by_fault, turned_away
from lab.service.http import (
    WHOLE_REQUEST_WITHIN_S,
    HttpServer,
    Route,
    answer,
    check_host,
    check_path,
    check_token,
    find,
    listen,
    problem,
    read_body,
)
from lab.service.openapi import openapi
from lab.service.tracing import SpanLog
from lab.support.parent_watch import watch_lifeline

# ── How a process of the lab is told to run: what every program's command line understands.

WORKERS = 8


@dataclass(frozen=True)
class ShellOptions:
    """How a process is to run; port 0 takes a free one.

    `obeys_deadlines`: it begins nothing for which nobody waits any more. `work_ms`: how long each
    request needs what there is only one of; 0: there is no such thing.
    """

    port: int
    workers: int = WORKERS
    reuse_port: bool = False
    spans: Path | None = None
    token: str = ""
    obeys_deadlines: bool = False
    work_ms: float = 0.0

    @staticmethod
    def arguments(parser: argparse.ArgumentParser, port: int) -> None:
        """Add the options that every program of the lab understands."""
        add = parser.add_argument
        add(
            "--port", type=int, default=port, help=f"port on 127.0.0.1; 0 takes a free one ({port})"
        )
        add("--workers", type=int, default=WORKERS, help=f"threads that run handlers ({WORKERS})")
        add("--spans", type=Path, metavar="FILE", help="append a JSON line for each request")
        add("--reuse-port", action="store_true", help="the lab holds the port for us")

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> "ShellOptions":
        return cls(
            port=arguments.port,
            workers=arguments.workers,
            reuse_port=arguments.reuse_port,
            spans=arguments.spans,
            token=os.environ.get("LAB_TOKEN", ""),
        )


class Main(Protocol):
    """The `main` of a program: starts it by hand, or in a process that was forked for it."""

    def __call__(self, argv: Sequence[str] | None = None) -> None: ...


# ── What a service runs beside its server: it can't do without it, and ends it before it ends.

GOODBYE_WITHIN_S = 2.0
"""How long one may take to end before it is told to once more."""


async def or_die(work: Coroutine[Any, Any, None]) -> None:
    """Run it: when it breaks, so does the process."""
    try:
        await work
    except asyncio.CancelledError:
        raise
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


async def ended(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel them until they are.

    Once is not enough: a cancellation that comes together with what a task waits for can get lost.
    `asyncio.wait_for` of Python 3.11, in which nats-py waits, returns the answer instead.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=GOODBYE_WITHIN_S)


# ── A service of a known capacity: each request needs something of which there is only one.


class Bottleneck:
    """`work_ms`: how long each request has it to itself; 0: there is none. For many threads."""

    def __init__(self, work_ms: float) -> None:
        self._work_s = work_ms / 1_000
        self._free_at_s = 0.0
        self._lock = threading.Lock()
        self._line: deque[threading.Event] = deque()

    def take_turn(self) -> None:
        """Wait until it is our turn, and have it for so long.

        Raises GivenUp when the asker's deadline has passed by then: that takes no time.
        """
        if not self._work_s:
            return
        came_s = time.perf_counter()
        turn = threading.Event()
        with self._lock:
            self._line.append(turn)
            if self._line[0] is turn:
                turn.set()
        turn.wait()
        try:
            if deadline.is_over():
                raise GivenUp("When its turn came, nobody waited any more: nothing was done.")
            # Counted on from when it was to be free, or every late awakening would cost capacity.
            self._free_at_s = max(came_s, self._free_at_s) + self._work_s
            time.sleep(max(0.0, self._free_at_s - time.perf_counter()))
        finally:
            with self._lock:
                self._line.popleft()
                if self._line:
                    self._line[0].set()


# ── The shell that every process of both stacks stands in.

__all__ = ["Main", "Shell", "ShellOptions"]

SHUTDOWN_WITHIN_S = 2.0
# So many before the garbage collector looks through them. A delivery of events is thousands of new
# objects, and none of them garbage; by default it looks at every 700, a third of the time it takes
# to read them.
_NEW_OBJECTS = 10_000

# Not definite: what broke may have broken after the commit.
_BUG = ServiceError("A bug in this service; its log has the traceback.", definite=False)


class Shell:
    """A process that answers HTTP. `waits_for` says what it is not ready without, or None."""

    def __init__(
        self, arrangement: str, name: str, routes: list[Route], options: ShellOptions
    ) -> None:
        self.door = Door()
        self.waits_for: Callable[[], str | None] = lambda: None
        self.state: Callable[[], dict[str, Any]] = dict
        self.check_host = check_host
        self.given_up = 0
        self.under_way = 0
        self._counting = threading.Lock()
        self._listening = listen(options.port, options.reuse_port)
        self.port = self._listening.getsockname()[1]
        self._arrangement, self._name = arrangement, name
        self._options = options
        self.spans = SpanLog(options.spans, name)
        self._bottleneck = Bottleneck(options.work_ms)
        self._pool = ThreadPoolExecutor(options.workers, thread_name_prefix=f"{name}-worker")
        self._routes = [
            *routes,
            Route("GET", "/health", self._health, raw=True, door=False),
            Route("GET", "/openapi.json", self._openapi, raw=True, door=False),
            *control_routes(self.door, self._state, self.spans.flush),
        ]

    def run(self, *background: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Serve until SIGTERM or SIGINT, with the given coroutines beside; then leave quickly."""
        gc.set_threshold(_NEW_OBJECTS)
        asyncio.run(self._serve(background))
        self.spans.close()
        sys.stdout.flush()
        sys.stderr.flush()
        # Workers may still wait for somebody else's answer. They are left behind: what is not
        # committed was not acknowledged, and SQLite needs no farewell.
        os._exit(0)

    async def _serve(self, background: tuple[Callable[[], Coroutine[Any, Any, None]], ...]) -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        watch_lifeline(loop)
        # The timer that closes idle connections is also the one that cuts off half-sent heads.
        server = HttpServer(
            self._answer,
            keepalive_timeout=WHOLE_REQUEST_WITHIN_S,
            auto_decompress=False,
            access_log=None,
            lingering_time=1.0,
        )
        accepting = await loop.create_server(server, sock=self._listening)
        sys.stdout.write(f"{self._arrangement} {self._name}: http://127.0.0.1:{self.port}\n")
        sys.stdout.flush()
        tasks = [asyncio.create_task(or_die(work())) for work in background]
        await stop.wait()
        accepting.close()
        self.door.take_all()
        await ended(tasks)
        server.pre_shutdown()
        await server.shutdown(SHUTDOWN_WITHIN_S)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            self.check_host(request, self.port)
            check_path(request.path)
            route, path = find(self._routes, request.method, request.path)
            if route.control:
                check_token(request, self._options.token)
            if route.raw or route.control:
                return await self._pass(route, path, request, {})
            parent = request.headers.get("traceparent")
            with self.spans.span(f"{route.method} {route.path}", "server", parent) as span:
                response = await self._pass(route, path, request, span)
                span["status"] = response.status
                return response
        except ServiceError as error:
            return problem(error)

    async def _pass(
        self, route: Route, path: dict[str, str], request: web.BaseRequest, span: dict[str, Any]
    ) -> web.StreamResponse:
        """The way behind the route: body, door, worker, answer."""
        give_up_at_s = self._deadline(request.headers.get(headers.DEADLINE))
        idempotency.hear(request.headers.get(headers.IDEMPOTENCY_KEY))
        body = await read_body(request, route.max_body) if route.body else b""
        if route.control:
            told = route.handler(**route.arguments(path, request.query, body))
            return answer(await told if inspect.isawaitable(told) else told, route.status)
        caller = request.headers.get(headers.CALLER, CLIENT)
        visit = self.door.visit(caller) if route.door else Visit()
        if (instead := await turned_away(self.door, visit, request)) is not None:
            return instead
        if route.raw:
            if visit.delay_s:
                await asyncio.to_thread(self.door.hold, visit)
            response: web.StreamResponse = await route.handler(request)
            return response
        return await self._in_a_worker(route, path, request.query, body, visit, span, give_up_at_s)

    async def answer_here(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: bytes,
        traceparent: str,
        caller: str = CLIENT,
        deadline_ms: str | None = None,
    ) -> web.Response | None:
        """Answer a request that came by another way than HTTP; None when a fault took it away."""
        try:
            give_up_at_s = self._deadline(deadline_ms)
            route, names = find(self._routes, method, path)
            if route.raw or route.control:
                raise NotFound(f"There is nothing to be asked at {path}.")
            with self.spans.span(f"{method} {route.path}", "server", traceparent) as span:
                visit = self.door.visit(caller)
                if visit.unanswered or visit.torn_down:
                    return None
                if visit.status is not None:
                    return problem(refused_by_fault(), visit.status)
                response = await self._in_a_worker(
                    route, names, query, body, visit, span, give_up_at_s
                )
                span["status"] = response.status
                return response
        except ServiceError as error:
            return problem(error)

    async def _in_a_worker(
        self,
        route: Route,
        path: Mapping[str, str],
        query: Mapping[str, str],
        body: bytes,
        visit: Visit,
        span: dict[str, Any],
        give_up_at_s: float | None,
    ) -> web.Response:
        asked = time.perf_counter()

        def work() -> web.Response:
            span["queued_ms"] = round((time.perf_counter() - asked) * 1_000, 3)
            try:
                deadline.keep(give_up_at_s)  # it may have passed in the queue for a worker …
                span["held_ms"] = self.door.hold(visit)
                deadline.keep(give_up_at_s)  # … or while a fault made us slow
                self._bottleneck.take_turn()
                answered = route.handler(**route.arguments(path, query, body))
                return answer(as_deployed(self.door, answered), route.status)
            except GivenUp as error:
                with self._counting:
                    self.given_up += 1
                return problem(error)
            except ServiceError as error:
                return problem(error)
            except Exception:
                traceback.print_exc()
                return problem(_BUG)

        in_this_story = contextvars.copy_context().run
        self.under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, in_this_story, work)
        finally:
            self.under_way -= 1

    def _deadline(self, told_ms: str | None) -> float | None:
        return deadline.moment(told_ms) if self._options.obeys_deadlines else None

    def _state(self) -> dict[str, Any]:
        return {"under_way": self.under_way, "workers": self._options.workers} | self.state()

    async def _openapi(self, request: web.BaseRequest) -> web.Response:
        return answer(openapi(self._arrangement, self._name, self._routes))

    async def _health(self, request: web.BaseRequest) -> web.Response:
        told = {"service": self._name, "arrangement": self._arrangement, "status": "ready"}
        if waits_for := self.waits_for():
            return answer(told | {"status": "waiting", "waits_for": waits_for}, 503)
        return answer(told)
