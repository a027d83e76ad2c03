"""The design of the blog, taken from the code: the four steps of the course as data.

The responsibilities of a service come from the docstring of its module. Its dependencies are
observed: the lab starts an arrangement, carries out each goal once, and reads from the spans which
service called which one, and which one consumed whose events.
"""

import importlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.cluster.arrangements import ARRANGEMENTS, PRELOAD
from lab.cluster.stack import Stack
from lab.cluster.supervisor import Supervisor
from lab.domain.services import ENTRY_POINTS, SERVICES

_SETTLE_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Goal:
    """One goal of a client: the service and its operation, the request and the response."""

    service: str
    goal: str
    method: str
    path: str
    body: str
    answer: str


@dataclass(frozen=True)
class Responsibility:
    """The head of a service's module docstring, and whether the service has a database."""

    service: str
    owns: str
    asks: str
    tells: str
    hears: str
    database: bool


@dataclass(frozen=True, order=True)
class Dependency:
    """`service` calls `other` to answer a request (`asks`), or consumes its events (`hears`)."""

    service: str
    how: str
    other: str
    what: str


def responsibilities(arrangement: str) -> list[Responsibility]:
    """One row for each service."""
    rows = []
    for name in SERVICES:
        module = _import_service(arrangement, name)
        owns, _, rest = (module.__doc__ or "").partition("\n")
        heads = dict(line.split(":", 1) for line in rest.splitlines() if ":" in line)
        rows.append(
            Responsibility(
                service=name,
                owns=owns.partition(":")[2].strip().rstrip("."),
                asks=heads.get("Calls", "").strip(),
                tells=heads.get("Publishes", "").strip(),
                hears=heads.get("Consumes", "").strip(),
                database=bool(module.service.schema),
            )
        )
    return rows


def goals(arrangement: str) -> list[Goal]:
    """One row for each public route, from the OpenAPI documents of the services."""
    from lab.service.openapi import openapi

    rows = []
    for name in SERVICES:
        document = openapi(arrangement, name, _import_service(arrangement, name).service.routes)
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                status, response = next(iter(operation["responses"].items()))
                body = operation.get("requestBody")
                rows.append(
                    Goal(
                        service=name,
                        goal=operation["operationId"].replace("_", " "),
                        method=method.upper(),
                        path=path,
                        body=_describe_body(body, document) if body else "",
                        answer=f"{status} {_describe_body(response, document)}",
                    )
                )
    return rows


async def observed_dependencies(arrangement: str, folder: Path) -> list[Dependency]:
    """Start the arrangement, carry out each goal once, and read the dependencies from the spans.

    `folder`: for the files of the processes.
    """
    async with Supervisor(PRELOAD, folder) as supervisor:
        with Stack(arrangement, ARRANGEMENTS[arrangement], supervisor, folder) as stack:
            await supervisor.start(*stack.programs)
            posts, comments, query = (stack.urls[name] for name in ENTRY_POINTS)
            post = (await stack.call("POST", posts, "/posts", {"title": "A post"})).data
            await stack.settle(_SETTLE_TIMEOUT_S)
            path = f"/posts/{post['id']}/comments"
            await stack.call("POST", comments, path, {"content": "A comment"})
            await stack.settle(_SETTLE_TIMEOUT_S)
            await stack.call("GET", query, "/feed")
    spans = [
        json.loads(line)
        for file in sorted(folder.glob(f"{arrangement}.*.spans.ndjson"))
        for line in file.read_text().splitlines()
    ]
    return sorted(set(_dependencies(spans)))


def _dependencies(spans: list[dict[str, Any]]) -> Iterable[Dependency]:
    by_id = {span["span"]: span for span in spans}
    for span in spans:
        caller = by_id.get(span["parent"])
        if caller is None or caller["service"] == span["service"]:
            continue
        if span["kind"] == "consumer":
            yield Dependency(span["service"], "hears", caller["service"], span["name"])
        else:
            yield Dependency(caller["service"], "asks", span["service"], span["name"])


def _import_service(arrangement: str, name: str) -> Any:
    programs = ARRANGEMENTS[arrangement].programs
    return importlib.import_module(programs.get(name, f"lab.sync_chain.{name}"))


def _describe_body(content: dict[str, Any], document: dict[str, Any]) -> str:
    """The fields of a body: `{title}`, or `[{id, title}]` for a list."""
    schema = content["content"]["application/json"]["schema"]
    is_list = schema.get("type") == "array"
    name = (schema["items"] if is_list else schema)["$ref"].rpartition("/")[2]
    fields = ", ".join(document["components"]["schemas"][name]["properties"])
    return f"[{{{fields}}}]" if is_list else f"{{{fields}}}"
