"""HTTP for the lab's servers: routes, the steps of a request, responses.

`HttpApp` has the steps; its subclasses are all servers of the lab: services (`server.py`), adapters
of external services, the control server of `lab up`, the console of `lab live`. `listener.py` puts
it on a socket.

A handler is a plain `def`, and its signature describes its request: a parameter named in the path
comes from the path, a parameter whose type is a pydantic model is the JSON body, all others are
query parameters. A request that does not fit is answered with an RFC 9457 problem document that
names the field, and never reaches the handler.

A degraded response says so in a header. `Feed-Degraded: comments` marks a feed without its
comments, served because the call to `comments` failed. Without the header a reader, a cache or a
checker would take the feed for complete.
"""

import asyncio
import contextvars
import hmac
import inspect
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic_core import ErrorDetails, to_json

from lab.domain import headers
from lab.domain.errors import (
    Forbidden,
    Invalid,
    MethodNotAllowed,
    MisdirectedRequest,
    NotFound,
    PayloadTooLarge,
    RequestTimeout,
    ServiceError,
    UnsupportedMediaType,
)

# ── Degraded responses

_missing_service: contextvars.ContextVar[str] = contextvars.ContextVar("without", default="")


def mark_degraded(service: str) -> None:
    """Mark the response to the current request: it lacks the data of `service`."""
    _missing_service.set(service)


def degraded_by() -> str:
    """The service whose data the current response lacks; "" when it is complete."""
    return _missing_service.get()


# ── Routes, requests, responses

MAX_BODY_BYTES = 64 * 1024
WHOLE_REQUEST_WITHIN_S = 10.0


@dataclass(frozen=True)
class Route:
    """A method, a path, and the handler of their requests.

    Most handlers are plain functions and run in the service's worker pool. A `raw` handler is a
    coroutine that takes the request itself and runs in the event loop. A `control` route needs the
    run's token; its handler runs in the event loop. Control routes bypass the fault filter, as do
    routes with `faultable=False`. A `local` handler only reads this service's own database: it runs
    in the event loop while a worker is free, because a thread would take longer than its work.
    `status` is the status of a success, `max_body` the size limit of the body in bytes.
    """

    method: str
    path: str
    handler: Callable[..., Any]
    status: int = 200
    raw: bool = False
    faultable: bool = True
    control: bool = False
    local: bool = False
    max_body: int = MAX_BODY_BYTES
    pattern: re.Pattern[str] = field(init=False)
    body: tuple[str, type[BaseModel]] | None = field(init=False, default=None)
    query: type[BaseModel] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        # A name contains no characters with a meaning in URLs: otherwise a call of another
        # service's `/posts/{post_id}` could reach a different resource.
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/?#%]+)", self.path)
        object.__setattr__(self, "pattern", re.compile(pattern))
        if not self.raw:
            self._read_signature()

    def _read_signature(self) -> None:
        hints = typing.get_type_hints(self.handler, include_extras=True)
        query: dict[str, Any] = {}
        for name, parameter in inspect.signature(self.handler).parameters.items():
            if f"{{{name}}}" in self.path:
                continue
            if isinstance(hints[name], type) and issubclass(hints[name], BaseModel):
                object.__setattr__(self, "body", (name, hints[name]))
                continue
            required = parameter.default is inspect.Parameter.empty
            query[name] = (hints[name], ... if required else parameter.default)
        model = create_model("Query", __config__=ConfigDict(extra="forbid"), **query)
        object.__setattr__(self, "query", model)

    def arguments(
        self, path_parameters: Mapping[str, str], query: Mapping[str, str], body: bytes | BaseModel
    ) -> dict[str, Any]:
        """The handler's arguments, validated. A body that is the handler's model already is passed
        on as it is. Raises Invalid, which names the wrong field."""
        assert self.query is not None
        arguments: dict[str, Any] = dict(path_parameters)
        try:
            if query or self.query.model_fields:
                checked = self.query.model_validate(dict(query))
                arguments |= {name: getattr(checked, name) for name in self.query.model_fields}
            if self.body:
                name, model = self.body
                if isinstance(body, bytes):
                    body = model.model_validate_json(body)
                arguments[name] = body
        except ValidationError as error:
            raise _invalid(error.errors(include_input=False, include_url=False)[0]) from None
        return arguments


def _invalid(error: ErrorDetails) -> Invalid:
    location = ".".join(str(part) for part in error["loc"])
    message = error["msg"][0].lower() + error["msg"][1:]
    return Invalid(f"{location or 'The body'}: {message}.", field=location or "body")


def match_route(routes: Sequence[Route], method: str, path: str) -> tuple[Route, dict[str, str]]:
    """The route for a request, and the values of its path parameters.

    Raises NotFound for an unknown path, MethodNotAllowed for a known path with another method.
    """
    allowed: tuple[str, ...] = ()
    for route in routes:
        if match := route.pattern.fullmatch(path):
            if route.method == method:
                return route, match.groupdict()
            allowed += (route.method,)
    if allowed:
        known_methods = " and ".join(allowed)
        raise MethodNotAllowed(
            f"{method} {printable(path)} is not known; {known_methods} is.", allowed
        )
    raise NotFound(f"There is nothing at {printable(path)}.")


def printable(text: str, limit: int = 80) -> str:
    """Prepare outside text for quoting in a response: shorten it, replace lone surrogates."""
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= limit else text[:limit] + "…"


def check_path(path: str) -> None:
    """Refuse a path that is not valid UTF-8: percent escapes can hide any byte. Raises Invalid."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise Invalid("The path is not valid UTF-8.", field="path") from None


def check_host(request: web.BaseRequest, port: int, allowed: Sequence[str] = ()) -> None:
    """Refuse a request sent to another host name than 127.0.0.1, localhost and those `allowed`.
    Raises MisdirectedRequest.

    A web page of another site can send such requests (DNS rebinding).
    """
    host = request.headers.get("Host", "")
    if host not in (f"{name}:{port}" for name in ("127.0.0.1", "localhost", *allowed)):
        raise MisdirectedRequest(
            f"This is 127.0.0.1:{port}, and the request was sent to {printable(host)!r}."
        )


def check_token(request: web.BaseRequest, token: str) -> None:
    """Refuse a request without the run's token: only the lab controls faults. Raises Forbidden."""
    if not token:
        raise Forbidden("Started by hand, without LAB_TOKEN: nobody can put faults here.")
    given = request.headers.get(headers.TOKEN, "")
    if not hmac.compare_digest(given.encode("utf-8", "replace"), token.encode()):
        raise Forbidden(f"A control route needs the run's token in the {headers.TOKEN} header.")


async def read_body(request: web.BaseRequest, limit: int) -> bytes:
    """The whole body, of at most `limit` bytes.

    Raises PayloadTooLarge; UnsupportedMediaType when it is not JSON; RequestTimeout when it does
    not arrive in time.
    """
    if (request.content_length or 0) > limit:
        raise PayloadTooLarge(f"{request.content_length} bytes; at most {limit} are taken.")
    if request.content_type != "application/json":
        raise UnsupportedMediaType(
            f"Content-Type is {printable(request.content_type)!r}; send application/json."
        )
    try:
        async with asyncio.timeout(WHOLE_REQUEST_WITHIN_S):
            return await _read_limited(request, limit)
    except TimeoutError:
        raise RequestTimeout(
            f"The body did not arrive within {WHOLE_REQUEST_WITHIN_S:.0f} s."
        ) from None


async def _read_limited(request: web.BaseRequest, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > limit:
            raise PayloadTooLarge(f"More than the {limit} bytes that are taken at most.")
    return bytes(body)


def answer(value: Any, status: int = 200) -> web.Response:
    """A JSON response of models, lists, dicts or strings, with the header of a degraded one."""
    response = web.Response(body=to_json(value), status=status, content_type="application/json")
    if missing := degraded_by():
        response.headers[headers.DEGRADED] = missing
    return response


def problem_response(error: ServiceError, status: int | None = None) -> web.Response:
    """The problem document of an error, with the error's status unless `status` is given.

    PayloadTooLarge and RequestTimeout close the connection: the body was not read to its end.
    """
    document = error.problem() | ({"status": status} if status else {})
    response = web.Response(
        body=to_json(document),
        status=status or error.status,
        content_type="application/problem+json",
    )
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = ", ".join(error.allowed)
    if isinstance(error, PayloadTooLarge | RequestTimeout):
        response.force_close()
    return response


class HttpRequest(web.BaseRequest):
    """A request whose responses do not tell the versions of Python and aiohttp."""

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        response.headers.popall("Server", None)


# ── The steps of a request


class HttpApp:
    """Responds to requests for `routes`, each in the same steps:

    host → path → route → access → body → arguments → handler → response.

    An error at any step becomes a problem document. A server that differs overrides a step. `token`
    is the one that control routes require; `any_host` accepts requests to every host name,
    `allowed_hosts` to these too.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        port: int,
        token: str = "",
        *,
        any_host: bool = False,
        allowed_hosts: Sequence[str] = (),
    ) -> None:
        self.routes = routes
        self.port = port
        self._token = token
        self._any_host = any_host
        self._allowed_hosts = allowed_hosts

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            self.check_host(request)
            check_path(request.path)
            route, parameters = match_route(self.routes, request.method, request.path)
            self.check_access(request, route)
            return await self.respond(request, route, parameters)
        except Exception as error:
            return self.error_response(error)

    def check_host(self, request: web.BaseRequest) -> None:
        """Refuse a request sent to a name that is not this server's. Raises MisdirectedRequest."""
        if not self._any_host:
            check_host(request, self.port, self._allowed_hosts)

    def check_access(self, request: web.BaseRequest, route: Route) -> None:
        """Refuse a request that may not use this route. Raises Forbidden."""
        if route.control:
            check_token(request, self._token)

    async def respond(
        self, request: web.BaseRequest, route: Route, parameters: Mapping[str, str]
    ) -> web.StreamResponse:
        """The steps after the checks: body, arguments, handler, response."""
        if route.raw:
            raw: web.StreamResponse = await route.handler(request)
            return raw
        body = await read_body(request, route.max_body) if route.body else b""
        result = route.handler(**route.arguments(parameters, request.query, body))
        if inspect.isawaitable(result):
            result = await result
        return result if isinstance(result, web.Response) else answer(result, route.status)

    def error_response(self, error: Exception) -> web.StreamResponse:
        """The problem document of an error; `HttpServer` responds to errors raised from here."""
        if isinstance(error, ServiceError):
            return problem_response(error)
        raise error

    async def release_requests(self) -> None:
        """End what keeps requests open: called when the server has stopped accepting."""
