"""Requests to another service over HTTP, and the interface of every transport.

A handler names the callee and the request; a *transport* delivers the request and returns the
answer. The handler blocks meanwhile, and so does the worker that runs it. The handler does not
know its transport: HTTP (this file), events (`events.py`) or a function call (`call.py`).
"""

import json
import threading
from collections.abc import Mapping
from typing import Any, Protocol

import requests
from pydantic import BaseModel
from urllib3.exceptions import MaxRetryError, NewConnectionError, ReadTimeoutError

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


class HttpTransport:
    """Sends requests over HTTP.

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
        self._thread_local = threading.local()

    def __call__(
        self, callee: str, method: str, path: str, body: BaseModel | None, query: Mapping[str, Any]
    ) -> Any:
        request_headers = {**self._headers, "traceparent": tracing.traceparent()}
        timeout_s = deadline.cap(self._timeout_s)
        if deadline.remaining_s() is not None:  # The callee gets the smaller of the two limits.
            request_headers[headers.DEADLINE] = str(int(timeout_s * 1_000))
        content = None
        if body is not None:
            content = body.model_dump_json().encode()
            request_headers["Content-Type"] = "application/json"
        self._tally.add(callee, "attempts")
        try:
            response = self._session().request(
                method,
                self._peers[callee] + path,
                params=query,
                data=content,
                headers=request_headers,
                timeout=timeout_s,
            )
        except requests.RequestException as error:
            raise self._translate_error(callee, error, timeout_s) from None
        return decode_answer(callee, response.status_code, response.content)

    def _translate_error(
        self, callee: str, error: requests.RequestException, timeout_s: float
    ) -> DependencyFailed:
        """Translate an error of `requests` into one of the lab's errors."""
        reason = error.args[0] if error.args else None
        refused = isinstance(reason, MaxRetryError) and isinstance(
            reason.reason, NewConnectionError
        )
        if refused:
            return Unreachable(f"{callee} is not there: the connection was refused.")
        if isinstance(error, requests.ConnectTimeout):
            return Unreachable(f"{callee} did not take the connection.")
        # `requests` raises no Timeout for a server that stops in the middle of an answer.
        if isinstance(error, requests.Timeout) or isinstance(reason, ReadTimeoutError):
            self._tally.add(callee, "timed_out")
            return TimedOut(f"{callee} did not answer within {timeout_s:.4g} s.")
        return BadGateway(f"{callee} broke off the connection.", definite=False)

    def _session(self) -> requests.Session:
        # A Session is not thread-safe, and a new one for each request would open a connection
        # each time.
        session = getattr(self._thread_local, "session", None)
        if session is None:
            session = self._thread_local.session = requests.Session()
            session.trust_env = False  # else HTTP_PROXY applies even to 127.0.0.1
        return session


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
