"""The server that every process of both stacks runs.

The event loop is here and nowhere else: handlers are plain functions, run in a bounded pool of
workers as in a threaded WSGI server. So the twins differ only in how they communicate. A handler
that waits for nothing runs at once, as long as a worker would be free for it.

The steps of a request are those of `FaultableApp` (`fault_api.py`). This server adds deadlines,
idempotency keys and the workers. It also runs a service's background tasks, and can limit its
capacity to that of a single server, in the sense of queueing theory.
"""

import asyncio
import contextvars
import gc
import io
import os
import signal
import sqlite3
import sys
import threading
import time
import traceback
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TextIO

from aiohttp import web

from lab.domain import headers
from lab.domain.errors import DeadlineExceeded, DiskFailed, ServiceError
from lab.faults.filter import FaultFilter
from lab.faults.kinds import Effect
from lab.service import deadline, idempotency, metrics
from lab.service.fault_api import FaultableApp, rewrite_response
from lab.service.http import Route, answer, problem_response
from lab.service.listener import listen, serve
from lab.service.openapi import openapi
from lab.service.options import ShellOptions
from lab.service.single_server import SingleServer
from lab.service.store import is_machine_error
from lab.service.tracing import SpanLog, SpanRecord
from lab.support.exposition import CONTENT_TYPE, RequestCounters
from lab.support.parent_watch import exit_with_parent

__all__ = ["Shell", "ShellOptions"]

SHUTDOWN_WITHIN_S = 2.0
# New objects before the garbage collector runs. A delivery of events creates thousands, none of
# them garbage; with the default of 700, collection took a third of the time of reading them.
_GC_THRESHOLD = 10_000

# Not definite: the handler may have failed after its commit.
_INTERNAL_ERROR = ServiceError("A bug in this service; its log has the traceback.", definite=False)


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


class _LossyFile(io.FileIO):
    """What is printed on a full disk is lost, and no request or event fails because of it."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def _lossy(stream: TextIO) -> TextIO:
    file = io.BufferedWriter(_LossyFile(stream.fileno(), "w", closefd=False))
    return io.TextIOWrapper(file, stream.encoding, "backslashreplace", line_buffering=True)


# ── The server


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
        self.request_counters = RequestCounters()
        self._count_lock = threading.Lock()
        self._reported_disk_error = ""
        self._arrangement, self._name = arrangement, name
        self._options = options
        self._single_server = SingleServer(options.work_ms) if options.work_ms else None
        self._pool = ThreadPoolExecutor(options.workers, thread_name_prefix=f"{name}-worker")
        self._background_tasks: list[asyncio.Task[None]] = []
        self._listener = listen(options.port, options.reuse_port, options.host)
        super().__init__(
            [
                *routes,
                Route("GET", "/health", self._health, raw=True, faultable=False),
                Route("GET", "/openapi.json", self._openapi, raw=True, faultable=False),
                Route("GET", "/metrics", self._metrics, raw=True, faultable=False),
            ],
            self._listener.getsockname()[1],
            options.token,
            FaultFilter(),
            _open_span_log(options.spans, name),
            any_host=any_host,
            allowed_hosts=options.allowed_hosts,
        )

    def run(self, *background: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Serve and run `background` until SIGTERM or SIGINT; then exit the process."""
        gc.set_threshold(_GC_THRESHOLD)
        sys.stdout, sys.stderr = _lossy(sys.stdout), _lossy(sys.stderr)
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
            sys.stdout.write(f"{self._arrangement} {self._name}: ")
            sys.stdout.write(f"http://{self._options.host}:{self.port}\n")
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
        self.set_deadline(request.headers.get(headers.DEADLINE))
        key, begun_s = request.headers.get(headers.IDEMPOTENCY_KEY), time.perf_counter()
        with nullcontext() if key is None else idempotency.use_key(key):
            response = await super().respond(request, route, parameters)
        if not route.raw and not route.control:
            took_s = time.perf_counter() - begun_s
            self.request_counters.observe(route.method, route.path, response.status, took_s)
        return response

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
                if self._single_server:
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

        at_once = route.local and not effect.delay_s and self._single_server is None
        if at_once and self.in_flight < self._options.workers:
            return work()
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

    def set_deadline(self, header: str | None) -> None:
        """Set the deadline of the current request, if this process enforces deadlines."""
        enforced = self._options.enforce_deadlines
        deadline.set_current(deadline.parse_header(header) if enforced else None)

    def read_state(self) -> dict[str, Any]:
        return {"under_way": self.in_flight, "workers": self._options.workers} | self.state()

    async def _openapi(self, request: web.BaseRequest) -> web.Response:
        return answer(openapi(self._arrangement, self._name, self.routes))

    async def _metrics(self, request: web.BaseRequest) -> web.Response:
        page = metrics.render(
            self.request_counters,
            self.read_state(),
            self.fault_filter.active(),
            ready=self.not_ready_because() is None,
        )
        return web.Response(body=page.encode(), headers={"Content-Type": CONTENT_TYPE})

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
