"""Requests to another service over the event bus: one event asks, another one answers.

The caller publishes a question and waits for the answer event that names the question's id (its
correlation id). No service calls another directly, but every drawback of a call remains: the
caller waits, the callee has to be up, and a chain of questions takes as long as all of them
together. Changing the transport does not change the coupling.
"""

import asyncio
import json
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from aiohttp import web
from pydantic import BaseModel

from lab.bus.base import Bus, BusUnavailable, LogTruncated, OffsetExpired
from lab.domain.errors import NotFound, ServiceError, TimedOut, Unreachable
from lab.domain.events import Envelope
from lab.faults.kinds import CLIENT
from lab.service import deadline, tracing
from lab.service.counters import CallCounters
from lab.service.fault_api import injected_error
from lab.service.http import match_route, problem_response
from lab.service.server import Shell
from lab.sync_chain.ask.http import decode_answer

REQUEST_TYPE = "Asked"
REPLY_TYPE = "Answered"
PAUSE_S = 0.05


class EventTransport:
    """Publishes questions, and answers the questions that others publish for this service."""

    def __init__(
        self, name: str, source: str, bus: Bus, server: Shell, timeout_s: float, tally: CallCounters
    ) -> None:
        self._name = name
        self._source = source
        self._bus = bus
        self._server = server
        self._timeout_s = timeout_s
        self._tally = tally
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pending: dict[str, Future[tuple[int, bytes]]] = {}
        self._reply_tasks: set[asyncio.Task[None]] = set()
        self.not_ready_because: str | None = "the event bus"

    def __call__(
        self, callee: str, method: str, path: str, body: BaseModel | None, query: Mapping[str, Any]
    ) -> Any:
        """Publish a question and block the calling worker until the answer event arrives.

        Raises TimedOut, Unreachable, and what `decode_answer` raises.
        """
        timeout_s = deadline.cap(self._timeout_s)
        deadline_ms = None if deadline.remaining_s() is None else str(int(timeout_s * 1_000))
        request = Envelope.create(
            REQUEST_TYPE,
            subject=callee,
            data={
                "method": method,
                "path": path,
                "query": {name: str(value) for name, value in query.items()},
                "body": body.model_dump() if body is not None else None,
                "deadline_ms": deadline_ms,
            },
            source=self._source,
            **tracing.trace_headers(),
        )
        answer: Future[tuple[int, bytes]] = Future()
        self._pending[request.id] = answer
        self._tally.add(callee, "attempts")
        try:
            self._publish(request, timeout_s)
            status, content = answer.result(timeout_s)
        except TimeoutError:
            self._tally.add(callee, "timed_out")
            raise TimedOut(f"{callee} did not answer within {timeout_s:.4g} s.") from None
        except BusUnavailable as error:
            raise Unreachable(f"No request gets to {callee}: {error}", definite=False) from None
        finally:
            del self._pending[request.id]
        return decode_answer(callee, status, content)

    def _publish(self, envelope: Envelope, timeout_s: float) -> None:
        """Publish an event from a worker thread; returns when the bus has acknowledged it.

        Raises BusUnavailable, or TimeoutError after `timeout_s` seconds.
        """
        if self._loop is None:
            raise BusUnavailable("this service is not connected to the bus yet.")
        appending = self._bus.append([envelope.model_dump_json()])
        asyncio.run_coroutine_threadsafe(appending, self._loop).result(timeout_s)

    async def run(self) -> None:
        """Consume questions to this service and answers to its own questions; never returns."""
        self._loop = asyncio.get_running_loop()
        position, cursor = None, ""
        while True:
            try:
                if position is None:
                    # Begin at the head: older questions are left to time out.
                    position, cursor = await self._bus.head(), ""
                self.not_ready_because = None
                async for batch in self._bus.read(position, cursor):
                    for envelope in batch:
                        self._handle(envelope)
                    position, cursor = batch[-1].sequence, batch[-1].cursor
            except (LogTruncated, OffsetExpired):
                position = None  # Callers of questions in a lost log time out.
            except BusUnavailable:
                await asyncio.sleep(PAUSE_S)

    def _handle(self, envelope: Envelope) -> None:
        if envelope.type == REPLY_TYPE and envelope.subject in self._pending:
            answer = self._pending[envelope.subject]
            if not answer.done():
                content = json.dumps(envelope.data["answer"]).encode()
                answer.set_result((envelope.data["status"], content))
        elif envelope.type == REQUEST_TYPE and envelope.subject == self._name:
            task = asyncio.create_task(self._reply(envelope))
            self._reply_tasks.add(task)
            task.add_done_callback(self._reply_tasks.discard)

    async def _reply(self, request: Envelope) -> None:
        data = request.data
        content = json.dumps(data["body"]).encode() if data["body"] is not None else b""
        response = await dispatch(
            self._server,
            data["method"],
            data["path"],
            data["query"],
            content,
            request.traceparent,
            tracestate=request.tracestate,
            caller=request.source.rpartition("/")[2],
            deadline_ms=data.get("deadline_ms"),
        )
        if response is None:
            return
        assert isinstance(response.body, bytes)
        answer = Envelope.create(
            REPLY_TYPE,
            subject=request.id,
            data={"status": response.status, "answer": json.loads(response.body)},
            source=self._source,
            traceparent=request.traceparent,
            tracestate=request.tracestate,
        )
        try:
            await self._bus.append([answer.model_dump_json()])
        except BusUnavailable:
            return  # the caller will time out


async def dispatch(
    server: Shell,
    method: str,
    path: str,
    query: Mapping[str, str],
    body: bytes,
    traceparent: str,
    tracestate: str = "",
    caller: str = CLIENT,
    deadline_ms: str | None = None,
) -> web.Response | None:
    """Handle a request to `server` that came by another way than HTTP.

    Returns None when a fault leaves the request unanswered or resets the connection.
    """
    try:
        server.set_deadline(deadline_ms)
        route, parameters = match_route(server.routes, method, path)
        if route.raw or route.control:
            raise NotFound(f"There is nothing to be asked at {path}.")
        name = f"{method} {route.path}"
        with server.spans.span(name, "server", traceparent, tracestate) as span:
            effect = server.fault_filter.decide(caller)
            if effect.unanswered or effect.connection_reset:
                return None
            if effect.status is not None:
                return problem_response(injected_error(), effect.status)
            response = await server.run_handler(route, parameters, query, body, effect, span)
            span["status"] = response.status
            return response
    except ServiceError as error:
        return problem_response(error)
