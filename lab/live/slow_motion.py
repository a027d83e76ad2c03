"""Slow motion: sends the same request to both halves at once, and follows it by its spans.

The request takes the way of every other one, through the same queues and faults. Each process
writes its spans at the latest when its state is read, which the console does five times a second.
"""

import asyncio
import json
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import quote

from lab.cluster.stack import Stack
from lab.domain.errors import Invalid, NotFound
from lab.domain.services import BUS, PUBLISHER_OF
from lab.live.followed import (
    EVENTS_OF,
    SentRequest,
    StoppedEvent,
    diagram_of,
    lifelines_of,
    live_line,
    missing_deliveries,
)
from lab.live.session import Session
from lab.results.space_time import Diagram
from lab.support.http_client import HttpClient, HttpOrigin, HttpResult

Draw = Callable[[Diagram], tuple[str, list[tuple[float, float]]]]
"""Draws a diagram: the SVG, and for each moment (ms) which share of its height is drawn by then."""
FOLLOW_S = 4.0
"""How long an event is followed: after that the drawing shows where it is."""
_READ_EVERY_S = 0.2
_QUIET_S = 0.45  # two reads of the states after the response: all spans of the chain are written
_BODIES = {"comment": "content", "post": "title", "read": ""}


class SlowMotion:
    """Follows one request at a time. `draw` is injected: this room can't import the reports."""

    def __init__(self, session: Session, draw: Draw) -> None:
        self._session, self._draw = session, draw
        self._stills: dict[str, str] = {}
        self._count = 0
        self._following = asyncio.Lock()

    async def follow(self, what: str) -> dict[str, Any]:
        """Send a `comment`, `post` or `read` to both halves and follow it. Returns for each half
        its sentence, and its steps: ms, share of the height, who waits. Raises Invalid, Conflict.
        """
        if what not in EVENTS_OF:
            raise Invalid(f"There is no request {what!r}. Known: {', '.join(EVENTS_OF)}.")
        self._session.require_up()
        async with self._following:
            stacks = self._session.stacks
            found = await asyncio.gather(*(self._follow(stack, what) for stack in stacks.values()))
            self._count += 1
            halves = []
            for name, diagram in zip(stacks, found, strict=True):
                self._stills[name], moments = self._draw(diagram)
                steps = [[round(at, 3), share, live_line(diagram, at)] for at, share in moments]
                halves.append({"name": name, "says": diagram.caption, "steps": steps})
            return {"n": self._count, "halves": halves}

    def still(self, half: str) -> str:
        """The last drawing of a half. Raises NotFound."""
        if half not in self._stills:
            raise NotFound(f"There is no drawing of {half[:40]!r} yet: press t.")
        return self._stills[half]

    async def _follow(self, stack: Stack, what: str) -> Diagram:
        folder, trace_id = self._session.stack_folder, secrets.token_hex(16)
        files = {path: path.stat().st_size for path in folder.glob(f"{stack.name}.*.spans.ndjson")}
        sent = await self._send(stack, what, trace_id)
        follows_events = stack.arrangement.has_bus and not stack.arrangement.ask_by and sent.ok
        answered_s = perf_counter()
        while True:
            await asyncio.sleep(_READ_EVERY_S)
            spans = await asyncio.to_thread(_read_spans, files, trace_id)
            missing = missing_deliveries(what, spans) if follows_events else []
            passed_s = perf_counter() - answered_s
            if passed_s > FOLLOW_S or (passed_s > _QUIET_S and not missing):
                break
        stopped = self._stop_of(stack, *missing[0]) if missing else None
        now_s, now_unix_s = perf_counter(), time.time()
        down = {
            stack.arrangement.process_of(fault.target): now_unix_s - (now_s - fault.since_s)
            for fault in self._session.fault_controller.active_faults()
            if fault.half == stack.name and fault.kind in ("down", "hang")
        }
        lifelines = lifelines_of(stack.arrangement.processes)
        return diagram_of(stack.name, sent, spans, lifelines, down, stopped)

    def _stop_of(self, stack: Stack, event: str, consumer: str) -> StoppedEvent:
        """Where an event is that a consumer has not applied."""
        publisher = PUBLISHER_OF[event]
        states = self._session.process_states(stack.name)
        if states[publisher].get("untold"):
            text = f"{event} waits in the outbox of {publisher}."
            return StoppedEvent(publisher, "in the outbox", text)
        if states[BUS].get("head") is None:
            # The course's bus keeps no events: what it had when it was killed is lost.
            text = f"{event} was last seen in the memory of the bus; {consumer} has not applied it."
            return StoppedEvent(BUS, "last seen here", text)
        text = f"{event} is in the log, and waits for {consumer}."
        return StoppedEvent(BUS, f"for {consumer}", text)

    async def _send(self, stack: Stack, what: str, trace_id: str) -> SentRequest:
        service, method, path = {
            "comment": ("comments", "POST", "/posts/{}/comments"),
            "post": ("posts", "POST", "/posts"),
            "read": ("query", "GET", "/feed?limit=20"),
        }[what]
        key = _BODIES[what]
        body = json.dumps({key: f"A {what} in slow motion"}).encode() if key else b""
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[HttpResult] = loop.create_future()
        client = HttpClient(loop, max_connections=1)
        try:
            at_s, begun_s = time.time(), perf_counter()
            client.send(
                method,
                HttpOrigin.from_url(stack.urls[service]),
                path.format(quote(self._session.first_post(stack.name), safe="")),
                body,
                begun_s + self._session.timeout_s,
                lambda result: None if outcome.done() else outcome.set_result(result),
                {"traceparent": f"00-{trace_id}-{trace_id[:16]}-01"},
            )
            result = await outcome
        finally:
            client.close()
        line = f"{method} {what if body else '/feed'}"
        took_ms = (result.at_s - begun_s) * 1_000
        return SentRequest(what, line, service, at_s, took_ms, result.status, result.error)


def _read_spans(files: dict[Path, int], trace_id: str) -> list[dict[str, Any]]:
    """The spans of a trace that were written after these positions."""
    found, wanted = [], trace_id.encode()
    for path, position in files.items():
        with path.open("rb") as file:
            # A file that has become smaller was emptied: see FileTail.
            file.seek(position if path.stat().st_size >= position else 0)
            for line in file.read().splitlines():
                if wanted in line and line.endswith(b"}"):
                    found.append(json.loads(line))
    return [span for span in found if span["trace"] == trace_id]
