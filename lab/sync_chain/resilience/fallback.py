"""Fallback: answers with less instead of failing.

A feed without comments is better than an error page, if the answer says so: it carries the header
`Feed-Degraded`. A service declares a substitute for the answer of a callee. Without one, the
failure stays a failure.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from lab.domain.errors import DependencyFailed
from lab.service import http
from lab.service.counters import CallCounters
from lab.sync_chain.ask.http import Transport


class Fallback:
    """Returns a substitute when a request fails. `substitutes`: by name of the callee.

    Re-raises DependencyFailed when the callee has no substitute.
    """

    def __init__(
        self, inner: Transport, tally: CallCounters, substitutes: Mapping[str, Any]
    ) -> None:
        self._inner = inner
        self._tally = tally
        self._substitutes = substitutes

    def __call__(
        self, callee: str, method: str, path: str, body: BaseModel | None, query: Mapping[str, Any]
    ) -> Any:
        try:
            return self._inner(callee, method, path, body, query)
        except DependencyFailed:
            if callee not in self._substitutes:
                raise
            self._tally.add(callee, "fell_back")
            http.mark_degraded(callee)
            return self._substitutes[callee]
