"""The server that every process of both stacks runs, and its command-line options.

The event loop is here and nowhere else: handlers are plain functions, run in a bounded pool of
workers as in a threaded WSGI server. So the twins differ only in how they communicate.

The steps of a request are those of `FaultableApp` (`fault_api.py`). This server adds deadlines,
idempotency keys and the workers. It also runs a service's background tasks, and can limit its
capacity to that of a single server, in the sense of queueing theory.
"""

import argparse
import asyncio
import contextvars
import gc
import os
import signal
import sqlite3
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
from lab.domain.errors import DeadlineExceeded, DiskFailed, NotFound, ServiceError
from lab.faults.filter import FaultFilter
from lab.faults.kinds import CLIENT, Effect
from lab.service import deadline, idempotency
from lab.service.fault_api import FaultableApp, injected_error, rewrite_response
from lab.service.http import (
    Route,
    answer,
    listen,
    match_route,
    problem_response,
    serve,
)
from lab.service.openapi import openapi
from lab.service.store import is_machine_error
from lab.service.tracing import SpanLog, SpanRecord
from lab.support.parent_watch import exit_with_parent

# ── Command-line options

WORKERS = 8
MAX_WORKERS = 1_000


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """A type for argparse: a whole number from `least` to `most`."""

    def parse(text: str) -> int:
        is_number = text.isascii() and text.isdigit() and len(text) <= len(str(most))
        if not is_number or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(
                f"{text!r}: expected a whole number from {least} to {most}."
            )
        return int(text)

    return parse


@dataclass(frozen=True)
class ShellOptions:
    """How a process runs; port 0 takes a free port.

    `enforce_deadlines`: requests are refused once their deadline has passed. `work_ms`: how long
    each request holds the single server; with 0 there is none.
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
            "--port",
            type=whole_number(0, 65_535),
            default=port,
            help=f"port on 127.0.0.1; 0 takes a free one ({port})",
        )
        add(
            "--workers",
            type=whole_number(1, MAX_WORKERS),
            default=WORKERS,
            help=f"threads that run handlers ({WORKERS})",
        )
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

        Raises DeadlineExceeded, without holding it, when the request's deadline has passed by then.
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

SHUTDOWN_WITHIN_S = 2.0
# New objects before the garbage collector runs. A delivery of events creates thousands, none of
# them garbage; with the default of 700, collection took a third of the time of reading them.
_GC_THRESHOLD = 10_000

# Not definite: the handler may have failed after its commit.
_INTERNAL_ERROR = ServiceError("A bug in this service; its log has the traceback.", definite=False)


class Shell(FaultableApp):
    """A process that answers HTTP requests.

    `not_ready_because` returns what readiness is waiting for; None when the process is ready.
    `state` returns the process's progress, for `GET /_lab/state`.
    """

    def __init__(
        self,
        arrangement: str,
        name: str,
        routes: list[Route],
        options: ShellOptions,
        *,
        any_host: bool = False,
    ) -> None:
        self.not_ready_because: Callable[[], str | None] = lambda: None
        self.state: Callable[[], dict[str, Any]] = dict
        self.expired_count = 0
        self.in_flight = 0
        self._count_lock = threading.Lock()
        self._reported_disk_error = ""
        self._arrangement, self._name = arrangement, name
        self._options = options
        self._single_server = SingleServer(options.work_ms)
        self._pool = ThreadPoolExecutor(options.workers, thread_name_prefix=f"{name}-worker")
        self._background_tasks: list[asyncio.Task[None]] = []
        self._listener = listen(options.port, options.reuse_port)
        super().__init__(
            [
                *routes,
                Route("GET", "/health", self._health, raw=True, faultable=False),
                Route("GET", "/openapi.json", self._openapi, raw=True, faultable=False),
            ],
            self._listener.getsockname()[1],
            options.token,
            FaultFilter(),
            _open_span_log(options.spans, name),
            any_host=any_host,
        )

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
        async with serve(self, self._listener, shutdown_within_s=SHUTDOWN_WITHIN_S):
            sys.stdout.write(f"{self._arrangement} {self._name}: http://127.0.0.1:{self.port}\n")
            sys.stdout.flush()
            self._background_tasks = [
                asyncio.create_task(exit_on_failure(work())) for work in background
            ]
            await stop.wait()

    async def release_requests(self) -> None:
        """Remove all faults, and end the background tasks."""
        await super().release_requests()
        await cancel_until_done(self._background_tasks)

    async def respond(
        self, request: web.BaseRequest, route: Route, parameters: Mapping[str, str]
    ) -> web.StreamResponse:
        self._set_deadline(request.headers.get(headers.DEADLINE))
        idempotency.set_key(request.headers.get(headers.IDEMPOTENCY_KEY))
        return await super().respond(request, route, parameters)

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
            self._set_deadline(deadline_ms)
            route, parameters = match_route(self.routes, method, path)
            if route.raw or route.control:
                raise NotFound(f"There is nothing to be asked at {path}.")
            with self.spans.span(f"{method} {route.path}", "server", traceparent) as span:
                effect = self.fault_filter.decide(caller)
                if effect.unanswered or effect.connection_reset:
                    return None
                if effect.status is not None:
                    return problem_response(injected_error(), effect.status)
                response = await self.run_handler(route, parameters, query, body, effect, span)
                span["status"] = response.status
                return response
        except ServiceError as error:
            return problem_response(error)

    async def run_handler(
        self,
        route: Route,
        parameters: Mapping[str, str],
        query: Mapping[str, str],
        body: bytes,
        effect: Effect,
        span: SpanRecord,
    ) -> web.Response:
        """Run the handler in a worker, after the injected latency and its turn at the server."""
        queued_at_s = time.perf_counter()

        def work() -> web.Response:
            span["queued_ms"] = round((time.perf_counter() - queued_at_s) * 1_000, 3)
            try:
                deadline.check()  # It may have passed while the request waited for a worker …
                span["held_ms"] = self.fault_filter.delay(effect)
                deadline.check()  # … or during an injected latency.
                self._single_server.serve()
                result = route.handler(**route.arguments(parameters, query, body))
                return answer(rewrite_response(self.fault_filter, result), route.status)
            except DeadlineExceeded as error:
                with self._count_lock:
                    self.expired_count += 1
                return problem_response(error)
            except ServiceError as error:
                return problem_response(error)
            except Exception as error:
                if isinstance(error, sqlite3.DatabaseError) and is_machine_error(error):
                    return problem_response(self._report_disk_error(error))
                traceback.print_exc()
                return problem_response(_INTERNAL_ERROR)

        in_this_trace = contextvars.copy_context().run
        self.in_flight += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, in_this_trace, work)
        finally:
            self.in_flight -= 1

    def _report_disk_error(self, error: sqlite3.DatabaseError) -> DiskFailed:
        reason = (
            f"The database of {self._name} can't be read or written ({error}). Is its disk full or "
            "broken, or the file damaged? What is not acknowledged may not be stored."
        )
        if reason != self._reported_disk_error:
            self._reported_disk_error = reason
            sys.stderr.write(f"{reason}\n")
            sys.stderr.flush()
        return DiskFailed(reason, definite=False)

    def _set_deadline(self, header: str | None) -> None:
        enforced = self._options.enforce_deadlines
        deadline.set_current(deadline.parse_header(header) if enforced else None)

    def read_state(self) -> dict[str, Any]:
        return {"under_way": self.in_flight, "workers": self._options.workers} | self.state()

    async def _openapi(self, request: web.BaseRequest) -> web.Response:
        return answer(openapi(self._arrangement, self._name, self.routes))

    async def _health(self, request: web.BaseRequest) -> web.Response:
        health = {"service": self._name, "arrangement": self._arrangement, "status": "ready"}
        if reason := self.not_ready_because():
            return answer(health | {"status": "waiting", "waits_for": reason}, 503)
        return answer(health)


def _open_span_log(path: Path | None, name: str) -> SpanLog:
    try:
        return SpanLog(path, name)
    except OSError as error:
        sys.stderr.write(f"{path} can't be written ({error.strerror}): give another --spans.\n")
        sys.exit(3)
