"""The server that every process of both stacks runs, and its command-line options.

The event loop is here and nowhere else: handlers are plain functions, run in a bounded pool of
workers as in a threaded WSGI server. So the twins differ only in how they communicate.

A request passes these steps, inside a span: host → route → body → **fault filter** → worker →
response. Raw and control routes have no span; control routes and health bypass the fault filter.

The server also runs a service's background tasks, and can limit its capacity to that of a single
server, in the sense of queueing theory.
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

# ── Command-line options

WORKERS = 8


@dataclass(frozen=True)
class ShellOptions:
    """How a process runs; port 0 takes a free port.

    `obeys_deadlines`: requests are refused once their deadline has passed. `work_ms`: how long each
    request holds the single server; with 0 there is none.
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
        """Add the options that every program of the lab has; `port` is the default."""
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
    """The `main` of a program: started by hand, or called in a forked process."""

    def __call__(self, argv: Sequence[str] | None = None) -> None: ...


# ── Background tasks

GOODBYE_WITHIN_S = 2.0
"""How long the tasks have to end before they are cancelled again."""


async def or_die(work: Coroutine[Any, Any, None]) -> None:
    """Await `work`; if it fails, print the traceback and exit the process with status 1."""
    try:
        await work
    except asyncio.CancelledError:
        raise
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


async def ended(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel the tasks until they have all ended.

    One cancellation may not be enough: it can get lost when it arrives together with the result
    that the task awaits. `asyncio.wait_for` of Python 3.11, which nats-py uses, then returns the
    result.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=GOODBYE_WITHIN_S)


# ── Limited capacity


class Bottleneck:
    """A single server: it takes one request at a time, in order of arrival. Thread-safe.

    Each request holds it for `work_ms`, so the service completes at most 1000 / `work_ms` requests
    per second, however many workers wait. It models a processor, a disk, a lock in a database.
    (`apply_ms` does the same for a consumer of events.) The time is slept, not computed, so that
    variants do not slow each other down. With `work_ms` 0 there is no limit.
    """

    def __init__(self, work_ms: float) -> None:
        self._work_s = work_ms / 1_000
        self._free_at_s = 0.0
        self._lock = threading.Lock()
        self._line: deque[threading.Event] = deque()

    def take_turn(self) -> None:
        """Wait for this request's turn, then hold the server for `work_ms`.

        Raises GivenUp, without holding it, when the request's deadline has passed by then.
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
            # From the scheduled end of the last request: late wake-ups must not cost capacity.
            self._free_at_s = max(came_s, self._free_at_s) + self._work_s
            time.sleep(max(0.0, self._free_at_s - time.perf_counter()))
        finally:
            with self._lock:
                self._line.popleft()
                if self._line:
                    self._line[0].set()


# ── The server

__all__ = ["Main", "Shell", "ShellOptions"]

SHUTDOWN_WITHIN_S = 2.0
# New objects before the garbage collector runs. A delivery of events creates thousands, none of
# them garbage; with the default of 700, collection took a third of the time of reading them.
_NEW_OBJECTS = 10_000

# Not definite: the handler may have failed after its commit.
_BUG = ServiceError("A bug in this service; its log has the traceback.", definite=False)


class Shell:
    """A process that answers HTTP requests.

    `waits_for` returns what readiness is waiting for; None when the process is ready. `state`
    returns the process's progress, for `GET /_lab/state`.
    """

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
        """Serve and run `background` until SIGTERM or SIGINT; then exit the process."""
        gc.set_threshold(_NEW_OBJECTS)
        asyncio.run(self._serve(background))
        self.spans.close()
        sys.stdout.flush()
        sys.stderr.flush()
        # Workers may still wait for other services. They are abandoned: what is not committed was
        # not acknowledged, and SQLite needs no clean close.
        os._exit(0)

    async def _serve(self, background: tuple[Callable[[], Coroutine[Any, Any, None]], ...]) -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        watch_lifeline(loop)
        # This timeout closes idle connections, and also those with a half-sent request head.
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
        """The steps after routing: body, fault filter, worker, response."""
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
        """Handle a request that came by another way than HTTP.

        Returns None when a fault leaves the request unanswered or resets the connection.
        """
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
                deadline.keep(give_up_at_s)  # … or during an injected latency
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
