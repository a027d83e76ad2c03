"""The lab's own HTTP requests to its services, to add and remove faults and to read their state."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from lab.domain import headers
from lab.support.http_client import HttpClient, HttpOrigin, HttpResult

CONNECTIONS = 64
RESPONSE_WITHIN_S = 5.0


@dataclass(frozen=True)
class ControlResponse:
    """`error` is "" if a response came, otherwise as in the load: `refused`, `timeout`, …

    `data`: the response's JSON, None if it has none. `body`: its bytes, also when they are not one
    JSON document (lines of JSON, for example).
    """

    status: int
    error: str
    data: Any
    body: bytes = b""

    @property
    def ok(self) -> bool:
        return not self.error and 200 <= self.status < 300


class ControlClient:
    """Create it in a running loop, and close it. Never raises: `error` of the
    response reports a failure."""

    def __init__(self, token: str) -> None:
        self._client = HttpClient(asyncio.get_running_loop(), CONNECTIONS)
        self._headers = {headers.TOKEN: token}

    async def __call__(
        self,
        method: str,
        url: str,
        path: str,
        body: Mapping[str, Any] | Sequence[Any] | None = None,
        within_s: float = RESPONSE_WITHIN_S,
    ) -> ControlResponse:
        """Send one request and wait for the response, at most `within_s` seconds."""
        answered: asyncio.Future[HttpResult] = asyncio.get_running_loop().create_future()

        def done(outcome: HttpResult) -> None:
            if not answered.done():
                answered.set_result(outcome)

        content = json.dumps(body).encode() if body is not None else b""
        give_up_at_s = perf_counter() + within_s
        origin = HttpOrigin.from_url(url)
        if not self._client.send(method, origin, path, content, give_up_at_s, done, self._headers):
            return ControlResponse(0, "no_socket", None)
        outcome = await answered
        try:
            data = json.loads(outcome.body) if outcome.body else None
        except ValueError:
            data = None
        return ControlResponse(outcome.status, outcome.error, data, outcome.body)

    def close(self) -> None:
        self._client.close()
