"""The control server of a running lab: the HTTP API of `lab fault`, `lab heal`, `lab redrive`.

The server can kill processes, so it listens on the loopback only and requires a token, which is in
a file that only this user can read. A page in a browser can reach the loopback too, but it has
neither the token nor the right Host. Requests name services, never processes, so they can act only
on the lab's own processes.
"""

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from lab.cluster.fault_rules import consumers_of
from lab.cluster.ports import HOST
from lab.cluster.stack import Stack
from lab.domain.errors import Conflict, Invalid
from lab.live.sandbox.fault_controller import FaultAction, FaultController
from lab.service.http import HttpApp, Route
from lab.service.listener import bind, serve

# ── Dead letters


@dataclass(frozen=True)
class DeadLetter:
    """An event in the dead letters of `service`. `state`: `dead`, `redriven` or `still dead`."""

    stack: str
    service: str
    sequence: int
    type: str
    state: str
    why: str = ""
    envelope: dict[str, Any] | None = None


async def list_dead_letters(stacks: Sequence[Stack]) -> list[DeadLetter]:
    """All dead letters, by stack and service. Raises Conflict if a service does not respond."""
    letters = []
    for stack in stacks:
        for service in consumers_of(stack.arrangement):
            letters += [
                DeadLetter(
                    stack.name,
                    service,
                    letter["sequence"],
                    letter["type"],
                    "dead",
                    letter["why"],
                    letter["envelope"],
                )
                for letter in await _call_service(stack, service, "GET", "/_lab/dead")
            ]
    return letters


async def redrive_dead_letters(
    stacks: Sequence[Stack], service: str | None, stack: str | None
) -> list[DeadLetter]:
    """Apply dead letters again: all, or those of the named service and stack.

    Raises Invalid if no service there consumes events, Conflict if a service does not respond."""
    consumers = [
        (candidate, name)
        for candidate in stacks
        for name in consumers_of(candidate.arrangement)
        if service in (None, name) and stack in (None, candidate.name)
    ]
    if not consumers:
        known = {
            f"{name} of {candidate.name}"
            for candidate in stacks
            for name in consumers_of(candidate.arrangement)
        }
        raise Invalid(
            f"No {service or 'service'} here consumes events, so there are no dead letters. "
            f"Consumers: {', '.join(sorted(known)) or 'none; try `lab up async-bus`'}."
        )
    letters = []
    for consumer_stack, name in consumers:
        results = await _call_service(consumer_stack, name, "POST", "/_lab/redrive")
        letters += [
            DeadLetter(
                consumer_stack.name,
                name,
                letter["sequence"],
                letter["type"],
                state,
                letter.get("why", ""),
            )
            for key, state in (("redriven", "redriven"), ("still_dead", "still dead"))
            for letter in results[key]
        ]
    return letters


async def _call_service(stack: Stack, service: str, method: str, path: str) -> Any:
    answer = await stack.call(method, stack.urls[service], path)
    if not answer.ok:
        raise Conflict(
            f"{service} of {stack.name} does not answer ({answer.error or answer.status}). Its "
            "dead letters are in its own database. Heal it first."
        )
    return answer.data


# ── Control server


class FaultInjectionRequest(BaseModel):
    """The body of `POST /faults`. `stack` None: each stack that has the target."""

    model_config = ConfigDict(extra="forbid")

    kind: str
    target: str
    options: dict[str, Any] = {}
    stack: str | None = None


@dataclass(frozen=True)
class ControlAddress:
    """The URL of the control server, and the token that it requires."""

    url: str
    token: str


def control_routes(controller: FaultController) -> list[Route]:
    """The routes of the control server. Each returns a list of actions or of dead letters."""

    async def inject(body: FaultInjectionRequest) -> list[FaultAction]:
        return await controller.inject(body.kind, body.target, body.options, body.stack)

    async def heal(
        target: str | None = None, kind: str | None = None, stack: str | None = None
    ) -> list[FaultAction]:
        return await controller.heal(target, kind, stack)

    async def faults() -> list[FaultAction]:
        return [*controller.faults(), *controller.ended_processes()]

    async def list_dead() -> list[DeadLetter]:
        return await list_dead_letters(controller.stacks)

    async def redrive(service: str | None = None, stack: str | None = None) -> list[DeadLetter]:
        return await redrive_dead_letters(controller.stacks, service, stack)

    return [
        Route("GET", "/dead", list_dead, control=True),
        Route("POST", "/redrive", redrive, control=True),
        Route("POST", "/faults", inject, control=True),
        Route("DELETE", "/faults", heal, control=True),
        Route("GET", "/faults", faults, control=True),
    ]


@asynccontextmanager
async def control_server(controller: FaultController) -> AsyncIterator[ControlAddress]:
    """Listen on a free port of 127.0.0.1 until the context ends."""
    listener, token = bind(0), secrets.token_urlsafe(24)
    port = listener.getsockname()[1]
    async with serve(HttpApp(control_routes(controller), port, token), listener):
        yield ControlAddress(f"http://{HOST}:{port}", token)
