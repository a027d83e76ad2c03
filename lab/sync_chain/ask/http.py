"""Requests to another service over HTTP, and the interface of every transport.

A handler names the callee and the request; a *transport* delivers the request and returns the
answer. The handler blocks meanwhile, and so does the worker that runs it. The handler does not
know its transport: HTTP (this file), events (`events.py`) or a function call (`call.py`).
"""

import json
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlencode

from pydantic import BaseModel
from urllib3 import HTTPConnectionPool, connection_from_url
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ReadTimeoutError,
)

from lab.domain import headers
from lab.domain.errors import BadGateway, DependencyFailed, NotFound, TimedOut, Unreachable
from lab.service import deadline, tracing
from lab.service.counters import CallCounters


class Transport(Protocol):
    """Sends a request to another service and returns the answer."""

    def __call__(
        self, callee: str, method: str, path: str, body: BaseModel | None, query: Mapping[str, Any]
    ) -> Any:
        """Returns the decoded JSON; raises NotFound or a DependencyFailed."""


_CONNECTIONS_KEPT = 256  # for each callee: more than a service has workers


class HttpTransport:
    """Sends requests over HTTP, with urllib3: `requests` above it would take a third more time.

    `peers`: base URL by name of the callee. `timeout_s`: in seconds, capped by the deadline of the
    request being handled. `caller`: the name of this service, sent in a header.
    """

    def __init__(
        self,
        peers: Mapping[str, str],
        timeout_s: float,
        caller: str = "",
        tally: CallCounters | None = None,
    ) -> None:
        self._headers = {headers.CALLER: caller} if caller else {}
        self._peers = peers
        self._timeout_s = timeout_s
        self._tally = tally or CallCounters()
        self._pools: dict[str, HTTPConnectionPool] = {}

    def __call__(
        self, callee: str, method: str, path: str, body: BaseModel | None, query: Mapping[str, Any]
    ) -> Any:
        request_headers = self._headers | tracing.trace_headers()
        timeout_s = deadline.cap(self._timeout_s)
        if deadline.remaining_s() is not None:  # The callee gets the smaller of the two limits.
            request_headers[headers.DEADLINE] = str(int(timeout_s * 1_000))
        content = None
        if body is not None:
            content = body.model_dump_json().encode()
            request_headers["Content-Type"] = "application/json"
        self._tally.add(callee, "attempts")
        try:
            response = self._pool(self._peers[callee]).urlopen(
                method,
                f"{path}?{urlencode(query, doseq=True)}" if query else path,
                body=content,
                headers=request_headers,
                timeout=timeout_s,
                retries=False,
            )
        except HTTPError as error:
            raise self._translate_error(callee, error, timeout_s) from None
        return decode_answer(callee, response.status, response.data)

    def _translate_error(self, callee: str, error: HTTPError, timeout_s: float) -> DependencyFailed:
        """Translate an error of urllib3 into one of the lab's errors."""
        if isinstance(error, NewConnectionError):
            return Unreachable(f"{callee} is not there: the connection was refused.")
        if isinstance(error, ConnectTimeoutError):
            return Unreachable(f"{callee} did not take the connection.")
        if isinstance(error, ReadTimeoutError):
            self._tally.add(callee, "timed_out")
            return TimedOut(f"{callee} did not answer within {timeout_s:.4g} s.")
        return BadGateway(f"{callee} broke off the connection.", definite=False)

    def _pool(self, url: str) -> HTTPConnectionPool:
        """The kept connections to `url`: a new one for each request would cost as much again."""
        pool = self._pools.get(url)
        if pool is None:
            new = connection_from_url(url, maxsize=_CONNECTIONS_KEPT)
            pool = self._pools.setdefault(url, new)  # another worker may have made one
        return pool


def decode_answer(callee: str, status: int, content: bytes) -> Any:
    """Decode an answer: the JSON of a 2xx answer.

    Raises NotFound for a 404, BadGateway for any other status and for content that is not JSON.
    """
    try:
        answer = json.loads(content)
    except ValueError:
        raise BadGateway(
            f"{callee} answered {status} with something that is not JSON.", definite=False
        ) from None
    if 200 <= status < 300:
        return answer
    problem = answer if isinstance(answer, dict) else {}
    if status == NotFound.status:
        raise NotFound(str(problem.get("detail", f"{callee} does not know it.")))
    raise BadGateway(
        f"{callee} answered {status}: {problem.get('detail', 'no reason given')}",
        definite=bool(problem.get("definite", False)),
    )
