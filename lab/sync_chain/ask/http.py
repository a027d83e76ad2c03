"""How a question travels from one service to another.

A handler says whom it asks and what; a *carrier* brings the question there and the answer back.
The handler waits meanwhile, and with it the worker that runs it. It does not know which carrier
it has: over HTTP (here), by events (`ask_by_events.py`) or by a plain call (`ask_by_call.py`).
"""

import json
import threading
from collections.abc import Mapping
from typing import Any, Protocol

import requests
from pydantic import BaseModel
from urllib3.exceptions import MaxRetryError, NewConnectionError, ReadTimeoutError

from lab.domain import headers
from lab.domain.errors import BadAnswer, DependencyFailed, NotFound, TimedOut, Unreachable
from lab.service import deadline, tracing
from lab.service.call_counters import Tally


class Carrier(Protocol):
    """Brings a question to a service and its answer back."""

    def __call__(
        self, whom: str, method: str, path: str, body: BaseModel | None, query: Mapping[str, Any]
    ) -> Any:
        """The JSON answer; raises NotFound or a DependencyFailed."""


class HttpCarrier:
    """Asks over HTTP. `peers` maps a service's name to its base URL; the timeout is in seconds,
    and no longer than whoever asked us still waits; `caller` is who asks."""

    def __init__(
        self,
        peers: Mapping[str, str],
        timeout_s: float,
        caller: str = "",
        tally: Tally | None = None,
    ) -> None:
        self._headers = {headers.CALLER: caller} if caller else {}
        self._peers = peers
        self._timeout_s = timeout_s
        self._tally = tally or Tally()
        self._worker = threading.local()

    def __call__(
        self, whom: str, method: str, path: str, body: BaseModel | None, query: Mapping[str, Any]
    ) -> Any:
        sent = {**self._headers, "traceparent": tracing.traceparent()}
        timeout_s = deadline.at_most(self._timeout_s)
        if deadline.left_s() is not None:  # They need not know whether it is we who lose patience.
            sent[headers.DEADLINE] = str(int(timeout_s * 1_000))
        content = None
        if body is not None:
            content = body.model_dump_json().encode()
            sent["Content-Type"] = "application/json"
        self._tally.add(whom, "attempts")
        try:
            response = self._session().request(
                method,
                self._peers[whom] + path,
                params=query,
                data=content,
                headers=sent,
                timeout=timeout_s,
            )
        except requests.RequestException as error:
            raise self._failure(whom, error, timeout_s) from None
        return understood(whom, response.status_code, response.content)

    def _failure(
        self, whom: str, error: requests.RequestException, timeout_s: float
    ) -> DependencyFailed:
        """One of our own errors in place of one of the library's."""
        reason = error.args[0] if error.args else None
        refused = isinstance(reason, MaxRetryError) and isinstance(
            reason.reason, NewConnectionError
        )
        if refused:
            return Unreachable(f"{whom} is not there: the connection was refused.")
        if isinstance(error, requests.ConnectTimeout):
            return Unreachable(f"{whom} did not take the connection.")
        # Silence in the middle of an answer does not count as a Timeout in `requests`.
        if isinstance(error, requests.Timeout) or isinstance(reason, ReadTimeoutError):
            self._tally.add(whom, "timed_out")
            return TimedOut(f"{whom} did not answer within {timeout_s:.4g} s.")
        return BadAnswer(f"{whom} broke off the connection.", definite=False)

    def _session(self) -> requests.Session:
        # A Session is not made for several threads, and a new one for each question would open
        # a new connection each time.
        session = getattr(self._worker, "session", None)
        if session is None:
            session = self._worker.session = requests.Session()
            session.trust_env = False  # or HTTP_PROXY would catch even 127.0.0.1
        return session


def understood(whom: str, status: int, content: bytes) -> Any:
    """The answer as JSON; an error of theirs becomes one of ours."""
    try:
        answer = json.loads(content)
    except ValueError:
        raise BadAnswer(
            f"{whom} answered {status} with something that is not JSON.", definite=False
        ) from None
    if 200 <= status < 300:
        return answer
    told = answer if isinstance(answer, dict) else {}
    if status == NotFound.status:
        raise NotFound(str(told.get("detail", f"{whom} does not know it.")))
    raise BadAnswer(
        f"{whom} answered {status}: {told.get('detail', 'no reason given')}",
        definite=bool(told.get("definite", False)),
    )
