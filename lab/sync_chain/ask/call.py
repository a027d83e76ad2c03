"""Requests to another service as plain function calls: all services in one process.

No text is written or read: the body is the caller's model, the answer becomes plain dicts.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from lab.service.http import match_route
from lab.service.service import Service


class CallTransport:
    """Calls the handler of a service in this process. The handler's errors propagate unchanged."""

    def __init__(self, services: Mapping[str, Service]) -> None:
        self._services = services

    def __call__(
        self, callee: str, method: str, path: str, body: BaseModel | None, query: Mapping[str, Any]
    ) -> Any:
        route, path_params = match_route(self._services[callee].routes, method, path)
        query_params = {name: str(value) for name, value in query.items()}
        arguments = route.arguments(path_params, query_params, b"" if body is None else body)
        return to_jsonable_python(route.handler(**arguments))
