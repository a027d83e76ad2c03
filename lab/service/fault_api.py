"""The effect of faults on HTTP requests, and `FaultableApp`, the server that faults act on."""

import asyncio
import json
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web
from pydantic_core import to_json

from lab.domain import headers
from lab.domain.errors import ServiceError
from lab.faults.filter import FaultFilter
from lab.faults.kinds import CLIENT, Effect
from lab.faults.versions import rewrite_payload
from lab.service.control_routes import control_routes
from lab.service.http import HttpApp, Route, problem_response, read_body
from lab.service.tracing import SpanLog, SpanRecord


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


def reset_connection(request: web.BaseRequest) -> web.Response:
    """Reset the client's connection: the client gets a TCP RST instead of a FIN."""
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        no_linger = struct.pack("ii", 1, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
        request.transport.abort()
    return web.Response(status=499)  # never sent: the connection is closed


def injected_error() -> ServiceError:
    return ServiceError("An injected fault answered; nothing was done.")


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
        allowed_hosts: Sequence[str] = (),
    ) -> None:
        control = control_routes(fault_filter, self.read_state, spans.flush)
        super().__init__(
            [*routes, *control], port, token, any_host=any_host, allowed_hosts=allowed_hosts
        )
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
        state = ",".join(request.headers.getall("tracestate", ()))
        with self.spans.span(f"{route.method} {route.path}", "server", parent, state) as span:
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
