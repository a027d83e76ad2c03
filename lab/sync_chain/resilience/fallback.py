"""Fallback: rather less than nothing at all.

A feed without comments is better than an error page, if it says so: the answer carries the header
`Feed-Degraded`. A service declares what it can go on with; where it declares nothing, there is
nothing to go on with, and the failure stays one.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from lab.domain.errors import DependencyFailed
from lab.service import http
from lab.service.call_counters import Tally
from lab.sync_chain.ask.http import Carrier


class Fallback:
    """`instead`: by whom is asked, what to go on with when there is no answer."""

    def __init__(self, inner: Carrier, tally: Tally, instead: Mapping[str, Any]) -> None:
        self._inner = inner
        self._tally = tally
        self._instead = instead

    def __call__(
        self, whom: str, method: str, path: str, body: BaseModel | None, query: Mapping[str, Any]
    ) -> Any:
        try:
            return self._inner(whom, method, path, body, query)
        except DependencyFailed:
            if whom not in self._instead:
                raise
            self._tally.add(whom, "fell_back")
            http.mark_degraded(whom)
            return self._instead[whom]
