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
from lab.domain.errors import DeadlineExceeded, NotFound, ServiceError
from lab.faults.filter import FaultFilter
from lab.faults.kinds import CLIENT, Effect
from lab.service import deadline, idempotency
from lab.service.fault_api import control_routes, fault_response, injected_error, rewrite_response
from lab.service.http import (
    WHOLE_REQUEST_WITHIN_S,
    HttpServer,
    Route,
    answer,
    check_host,
    check_path,
    check_token,
    listen,
    match_route,
    problem_response,
    read_body,
)
from lab.service.openapi import openapi
from lab.service.tracing import SpanLog
from lab.support.parent_watch import exit_with_parent

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
    enforce_deadlines: bool = False
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

CANCEL_AGAIN_AFTER_S = 2.0
"""How long the tasks have to end before they are cancelled again."""


async def exit_on_failure(work: Coroutine[Any, Any, None]) -> None:
    """Await `work`; if it fails, print the traceback and exit the process with status 1."""
    try:
        await work
    except asyncio.CancelledError:
        raise
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


async def cancel_until_done(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel the tasks until they have all ended.

    One cancellation may not be enough: it can get lost when it arrives together with the result
    that the task awaits. `asyncio.wait_for` of Python 3.11, which nats-py uses, then returns the
    result.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_AFTER_S)


# ── Limited capacity


class SingleServer:
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
        self._queue: deque[threading.Event] = deque()

    def serve(self) -> None:
        """Wait for this request's turn, then hold the server for `work_ms`.

        Raises GivenUp, without holding it, when the request's deadline has passed by then.
        """
        if not self._work_s:
            return
        arrived_at_s = time.perf_counter()
        turn = threading.Event()
        with self._lock:
            self._queue.append(turn)
            if self._queue[0] is turn:
                turn.set()
        turn.wait()
        try:
            if deadline.expired():
                raise DeadlineExceeded(
                    "When its turn came, nobody waited any more: nothing was done."
                )
            # From the scheduled end of the last request: late wake-ups must not cost capacity.
            self._free_at_s = max(arrived_at_s, self._free_at_s) + self._work_s
            time.sleep(max(0.0, self._free_at_s - time.perf_counter()))
        finally:
            with self._lock:
                self._queue.popleft()
                if self._queue:
                    self._queue[0].set()


# ── The server

__all__ = ["Main", "Shell", "ShellOptions"]

SHUTDOWN_WITHIN_S = 2.0
# New objects before the garbage collector runs. A delivery of events creates thousands, none of
# them garbage; with the default of 700, collection took a third of the time of reading them.
_GC_THRESHOLD = 10_000

# Not definite: the handler may have failed after its commit.
_INTERNAL_ERROR = ServiceError("A bug in this service; its log has the traceback.", definite=False)


class Shell:
    """A process that answers HTTP requests.

    `waits_for` returns what readiness is waiting for; None when the process is ready. `state`
    returns the process's progress, for `GET /_lab/state`.
    """

    def __init__(
        self, arrangement: str, name: str, routes: list[Route], options: ShellOptions
    ) -> None:
        self.fault_filter = FaultFilter()
        self.not_ready_because: Callable[[], str | None] = lambda: None
        self.state: Callable[[], dict[str, Any]] = dict
        self.check_host = check_host
        self.expired_count = 0
        self.in_flight = 0
        self._count_lock = threading.Lock()
        self._listener = listen(options.port, options.reuse_port)
        self.port = self._listener.getsockname()[1]
        self._arrangement, self._name = arrangement, name
        self._options = options
        self.spans = SpanLog(options.spans, name)
        self._single_server = SingleServer(options.work_ms)
        self._pool = ThreadPoolExecutor(options.workers, thread_name_prefix=f"{name}-worker")
        self._routes = [
            *routes,
            Route("GET", "/health", self._health, raw=True, faultable=False),
            Route("GET", "/openapi.json", self._openapi, raw=True, faultable=False),
            *control_routes(self.fault_filter, self._state, self.spans.flush),
        ]

    def run(self, *background: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Serve and run `background` until SIGTERM or SIGINT; then exit the process."""
        gc.set_threshold(_GC_THRESHOLD)
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
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signal_number, stop.set)
        exit_with_parent(loop)
        # This timeout closes idle connections, and also those with a half-sent request head.
        server = HttpServer(
            self._handle,
            keepalive_timeout=WHOLE_REQUEST_WITHIN_S,
            auto_decompress=False,
            access_log=None,
            lingering_time=1.0,
        )
        accepting = await loop.create_server(server, sock=self._listener)
        sys.stdout.write(f"{self._arrangement} {self._name}: http://127.0.0.1:{self.port}\n")
        sys.stdout.flush()
        tasks = [asyncio.create_task(exit_on_failure(work())) for work in background]
        await stop.wait()
        accepting.close()
        self.fault_filter.clear()
        await cancel_until_done(tasks)
        server.pre_shutdown()
        await server.shutdown(SHUTDOWN_WITHIN_S)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            self.check_host(request, self.port)
            check_path(request.path)
            route, path_parameters = match_route(self._routes, request.method, request.path)
            if route.control:
                check_token(request, self._options.token)
            if route.raw or route.control:
                return await self._process(route, path_parameters, request, {})
            parent = request.headers.get("traceparent")
            with self.spans.span(f"{route.method} {route.path}", "server", parent) as span:
                response = await self._process(route, path_parameters, request, span)
                span["status"] = response.status
                return response
        except ServiceError as error:
            return problem_response(error)

    async def _process(
        self,
        route: Route,
        path_parameters: dict[str, str],
        request: web.BaseRequest,
        span: dict[str, Any],
    ) -> web.StreamResponse:
        """The steps after routing: body, fault filter, worker, response."""
        deadline_at_s = self._parse_deadline(request.headers.get(headers.DEADLINE))
        idempotency.set_key(request.headers.get(headers.IDEMPOTENCY_KEY))
        body = await read_body(request, route.max_body) if route.body else b""
        if route.control:
            result = route.handler(**route.arguments(path_parameters, request.query, body))
            return answer(await result if inspect.isawaitable(result) else result, route.status)
        caller = request.headers.get(headers.CALLER, CLIENT)
        effect = self.fault_filter.decide(caller) if route.faultable else Effect()
        if (fault_answer := await fault_response(self.fault_filter, effect, request)) is not None:
            return fault_answer
        if route.raw:
            if effect.delay_s:
                await asyncio.to_thread(self.fault_filter.delay, effect)
            response: web.StreamResponse = await route.handler(request)
            return response
        return await self._run_in_worker(
            route, path_parameters, request.query, body, effect, span, deadline_at_s
        )

    async def dispatch(
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
            deadline_at_s = self._parse_deadline(deadline_ms)
            route, path_parameters = match_route(self._routes, method, path)
            if route.raw or route.control:
                raise NotFound(f"There is nothing to be asked at {path}.")
            with self.spans.span(f"{method} {route.path}", "server", traceparent) as span:
                effect = self.fault_filter.decide(caller)
                if effect.unanswered or effect.connection_reset:
                    return None
                if effect.status is not None:
                    return problem_response(injected_error(), effect.status)
                response = await self._run_in_worker(
                    route, path_parameters, query, body, effect, span, deadline_at_s
                )
                span["status"] = response.status
                return response
        except ServiceError as error:
            return problem_response(error)

    async def _run_in_worker(
        self,
        route: Route,
        path_parameters: Mapping[str, str],
        query: Mapping[str, str],
        body: bytes,
        effect: Effect,
        span: dict[str, Any],
        deadline_at_s: float | None,
    ) -> web.Response:
        queued_at_s = time.perf_counter()

        def work() -> web.Response:
            span["queued_ms"] = round((time.perf_counter() - queued_at_s) * 1_000, 3)
            try:
                deadline.set_current(
                    deadline_at_s
                )  # it may have passed in the queue for a worker …
                span["held_ms"] = self.fault_filter.delay(effect)
                deadline.set_current(deadline_at_s)  # … or during an injected latency
                self._single_server.serve()
                result = route.handler(**route.arguments(path_parameters, query, body))
                return answer(rewrite_response(self.fault_filter, result), route.status)
            except DeadlineExceeded as error:
                with self._count_lock:
                    self.expired_count += 1
                return problem_response(error)
            except ServiceError as error:
                return problem_response(error)
            except Exception:
                traceback.print_exc()
                return problem_response(_INTERNAL_ERROR)

        in_this_trace = contextvars.copy_context().run
        self.in_flight += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, in_this_trace, work)
        finally:
            self.in_flight -= 1

    def _parse_deadline(self, header: str | None) -> float | None:
        return deadline.parse_header(header) if self._options.enforce_deadlines else None

    def _state(self) -> dict[str, Any]:
        return {"under_way": self.in_flight, "workers": self._options.workers} | self.state()

    async def _openapi(self, request: web.BaseRequest) -> web.Response:
        return answer(openapi(self._arrangement, self._name, self._routes))

    async def _health(self, request: web.BaseRequest) -> web.Response:
        health = {"service": self._name, "arrangement": self._arrangement, "status": "ready"}
        if reason := self.not_ready_because():
            return answer(health | {"status": "waiting", "waits_for": reason}, 503)
        return answer(health)
