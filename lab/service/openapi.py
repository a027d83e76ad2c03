"""The OpenAPI 3.1 document of a service, and the AsyncAPI 3.0 document of the bus.

Both are generated from the code: the signatures of the handlers and the models of the events. So
they cannot disagree with it.
"""

import re
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter

from lab.domain.events import EVENTS, Envelope
from lab.service.http import Route

VERSION = "1.0.0"
_PROBLEM = {
    "description": "A problem document (RFC 9457); `definite` says whether surely nothing was done",
    "content": {
        "application/problem+json": {
            "schema": {
                "type": "object",
                "required": ["type", "title", "status", "detail", "definite"],
                "properties": {
                    "type": {"type": "string"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string"},
                    "definite": {"type": "boolean"},
                    "field": {"type": "string"},
                },
            }
        }
    },
}


def openapi(arrangement: str, name: str, routes: Iterable[Route]) -> dict[str, Any]:
    """The OpenAPI document of a service's public routes."""
    schemas: dict[str, Any] = {}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        if not route.raw and not route.control:
            paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": f"{name} of {arrangement}", "version": VERSION},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _operation(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(route.handler, include_extras=True)
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", route.path)
    ]
    if route.query is not None:
        query = _schema(route.query, {})
        for name, schema in query.get("properties", {}).items():
            required = name in query.get("required", ())
            parameters.append({"name": name, "in": "query", "required": required, "schema": schema})
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "parameters": parameters,
        "responses": {
            str(route.status): {
                "description": "Done",
                "content": {"application/json": {"schema": _schema(hints["return"], schemas)}},
            },
            "default": _PROBLEM,
        },
    }
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _schema(route.body[1], schemas)}},
        }
    return operation


def asyncapi(host: str) -> dict[str, Any]:
    """The AsyncAPI document of the events on the bus at `host` (`127.0.0.1:4005`)."""
    schemas: dict[str, Any] = {}
    messages = {
        name: {
            "name": name,
            "title": (event.__doc__ or name).strip().partition("\n")[0],
            "contentType": "application/cloudevents+json",
            "payload": _envelope_schema(name, event, schemas),
        }
        for name, event in EVENTS.items()
    }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "The events of the blog", "version": VERSION},
        "servers": {"bus": {"host": host, "protocol": "http"}},
        "channels": {
            "events": {
                "address": "/events",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            }
        },
        "operations": {
            "tell": {"action": "receive", "channel": {"$ref": "#/channels/events"}},
            "hear": {"action": "send", "channel": {"$ref": "#/channels/events"}},
        },
        "components": {"messages": messages, "schemas": schemas},
    }


def _envelope_schema(name: str, event: type[BaseModel], schemas: dict[str, Any]) -> dict[str, Any]:
    envelope = _schema(Envelope, schemas, inline=True)
    properties: Mapping[str, Any] = envelope["properties"]
    return envelope | {
        "properties": {
            **properties,
            "type": {"const": name},
            "data": _schema(event, schemas),
        }
    }


def _schema(annotation: Any, schemas: dict[str, Any], *, inline: bool = False) -> dict[str, Any]:
    """The JSON Schema of a type; the models in it are added to `schemas` and referenced."""
    schema = TypeAdapter(annotation).json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(schema.pop("$defs", {}))
    if (
        inline
        or not (isinstance(annotation, type) and issubclass(annotation, BaseModel))
        or annotation.__name__ == "Query"
    ):
        return schema
    schemas[annotation.__name__] = schema
    return {"$ref": f"#/components/schemas/{annotation.__name__}"}
