"""Faults over HTTP: the routes that add and remove them, and their effect on requests.

The control routes need the run's token. They bypass the fault filter, so that every fault can be
removed again. `FaultableApp` is the server of everything that can be faulted.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiohttp import web
from pydantic import BaseModel
from pydantic_core import to_json

from lab.domain import headers
from lab.domain.errors import Invalid, ServiceError
from lab.faults.filter import FaultFilter
from lab.faults.kinds import CLIENT, Effect, parse_fault
from lab.faults.versions import rewrite_payload
from lab.service.http import HttpApp, Route, problem_response, read_body, reset_connection
from lab.service.tracing import SpanLog, SpanRecord

# ── Control routes

State = Callable[[], dict[str, Any]]


class FaultRequest(BaseModel):
    """The body of a request that adds a fault."""

    kind: str
    target: str
    options: dict[str, Any] = {}
    seed: int = 0


def control_routes(
    fault_filter: FaultFilter, state: State, flush: Callable[[], None] = lambda: None
) -> list[Route]:
    """Routes to add (PUT), remove (DELETE) and list (GET) faults, and to read the process's state.

    `state` returns the state. `flush` is called first: it makes the spans readable, because a
    client that reads the state may read the spans next.
    """

    def add_fault(name: str, request: FaultRequest) -> dict[str, Any]:
        try:
            fault = parse_fault(request.kind, request.target, request.options)
        except ValueError as error:
            raise Invalid(str(error)) from None
        if fault.acts_on != "door":
            raise Invalid(
                f"{request.kind!r} acts on the process, not on its requests.", field="kind"
            )
        fault_filter.add(name, fault, request.seed)
        return {"name": name}

    def remove_fault(name: str) -> dict[str, Any]:
        return {"name": name, "evidence": fault_filter.remove(name)}

    def read_state() -> dict[str, Any]:
        flush()
        return state()

    return [
        Route("PUT", "/_lab/faults/{name}", add_fault, control=True),
        Route("DELETE", "/_lab/faults/{name}", remove_fault, control=True),
        Route("GET", "/_lab/faults", fault_filter.evidence, control=True),
        Route("GET", "/_lab/state", read_state, control=True),
    ]


# ── Effect of active faults


async def admit(fault_filter: FaultFilter, request: web.BaseRequest) -> web.Response | None:
    """Apply the active faults to a message on an open connection.

    Returns None when the message may pass, after any injected latency; otherwise the response to
    send instead.
    """
    effect = fault_filter.decide(request.headers.get(headers.CALLER, CLIENT))
    response = await fault_response(fault_filter, effect, request)
    if response is None and effect.delay_s:
        await asyncio.to_thread(fault_filter.delay, effect)
    return response


async def fault_response(
    fault_filter: FaultFilter, effect: Effect, request: web.BaseRequest
) -> web.Response | None:
    """The response that a fault sends instead of the handler's; None when the request may pass.

    A fault that leaves requests unanswered holds this one until the fault is removed, then resets
    its connection. An injected latency is not applied here.
    """
    if effect.unanswered:
        await fault_filter.wait_until_removed(effect)
        return reset_connection(request)
    if effect.connection_reset:
        return reset_connection(request)
    if effect.status is not None:
        return problem_response(injected_error(), effect.status)
    return None


def rewrite_response(fault_filter: FaultFilter, result: Any) -> Any:
    """Rewrite a handler's result to the schema version that a fault deploys, if any."""
    return fault_filter.rewrite_outgoing(
        result, lambda value, version: rewrite_payload(json.loads(to_json(value)), version)
    )


def injected_error() -> ServiceError:
    return ServiceError("An injected fault answered; nothing was done.")


# ── The server


class FaultableApp(HttpApp):
    """A server with a fault filter and spans.

    A request passes these steps, inside a span: host → path → route → token → body → **fault
    filter** → handler → response. Raw and control routes have no span. Control routes and those
    with `faultable=False` bypass the fault filter.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        port: int,
        token: str,
        fault_filter: FaultFilter,
        spans: SpanLog,
        *,
        any_host: bool = False,
    ) -> None:
        control = control_routes(fault_filter, self.read_state, spans.flush)
        super().__init__([*routes, *control], port, token, any_host=any_host)
        self.fault_filter, self.spans = fault_filter, spans

    def read_state(self) -> dict[str, Any]:
        """The response to `GET /_lab/state`."""
        raise NotImplementedError

    async def run_handler(
        self,
        route: Route,
        parameters: Mapping[str, str],
        query: Mapping[str, str],
        body: bytes,
        effect: Effect,
        span: SpanRecord,
    ) -> web.Response:
        """Apply the latency of `effect`, then answer with the handler's result."""
        raise NotImplementedError

    async def release_requests(self) -> None:
        """Remove all faults: some hold requests until they are removed."""
        self.fault_filter.clear()

    async def respond(
        self, request: web.BaseRequest, route: Route, parameters: Mapping[str, str]
    ) -> web.StreamResponse:
        if route.raw or route.control:
            if route.raw and route.faultable:
                fault_answer = await admit(self.fault_filter, request)
                if fault_answer is not None:
                    return fault_answer
            return await super().respond(request, route, parameters)
        parent = request.headers.get("traceparent")
        with self.spans.span(f"{route.method} {route.path}", "server", parent) as span:
            try:
                body = await read_body(request, route.max_body) if route.body else b""
                effect = self.fault_filter.decide(request.headers.get(headers.CALLER, CLIENT))
                response: web.StreamResponse | None
                response = await fault_response(self.fault_filter, effect, request)
                if response is None:
                    response = await self.run_handler(
                        route, parameters, request.query, body, effect, span
                    )
            except ServiceError as error:
                response = self.error_response(error)
            span["status"] = response.status
            return response
