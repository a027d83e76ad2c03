"""A service of the chain: it asks other services over a transport."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from lab.domain.errors import DeadlineExceeded
from lab.service import deadline, tracing
from lab.service.counters import CallCounters
from lab.service.service import Service
from lab.sync_chain.ask.http import Transport

ARRANGEMENT = "sync-chain"


class ChainService(Service):
    """A service that requests what it needs from other services, and waits.

    `fallbacks`: by name of the callee, the value to use when the request fails (option
    `--fallback`).
    """

    def __init__(
        self, name: str, schema: str = "", fallbacks: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(ARRANGEMENT, name, schema)
        self.transport: Transport | None = None
        self.fallbacks = fallbacks or {}
        self.extra_callees: tuple[str, ...] = ()
        self.tally = CallCounters()

    def ask(
        self, callee: str, method: str, path: str, body: BaseModel | None = None, **query: Any
    ) -> Any:
        """Send a request to another service and return its JSON answer.

        Raises NotFound when the callee does not know the thing; DependencyFailed when the callee
        can't be reached, times out, or fails itself; DeadlineExceeded when the deadline has passed.
        """
        if self.transport is None:
            raise RuntimeError(
                f"{self.name} is not running: its program chooses the transport of its requests."
            )
        if deadline.expired():
            raise DeadlineExceeded(f"The caller has stopped waiting: {callee} was not asked.")
        self.tally.add(callee, "asked")
        with tracing.record_call(callee, f"{method} {path}"):
            return self.transport(callee, method, path, body, query)
