"""Slow motion: follows one request through both halves, by its spans and the moments of the bus.

The request is a new one that is sent to both halves at once; it takes the way of every other one,
through the same queues and faults. Or it is a write of the load that readers will never see.

Each process writes its spans at the latest when its state is read, which the console does five
times a second.
"""

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import quote

from lab.cluster.stack import Stack
from lab.domain.errors import Conflict, Invalid, NotFound
from lab.domain.services import BUS, PUBLISHER_OF
from lab.live.followed import (
    EVENTS_OF,
    BusMoments,
    Outage,
    SentRequest,
    StoppedEvent,
    diagram_of,
    lifelines_of,
    live_line,
    missing_deliveries,
    stop_of,
)
from lab.live.session import Session
from lab.results.space_time import Diagram, side_by_side
from lab.support.http_client import HttpClient, HttpOrigin, HttpResult

Draw = Callable[[Diagram], tuple[str, list[tuple[float, float]]]]
"""Draws a diagram: the SVG, and for each moment (ms) which share of its height is drawn by then."""
FOLLOW_S = 4.0
"""How long an event is followed: after that the drawing shows where it is."""
MISSING = "missing"
_READ_EVERY_S = 0.2
_QUIET_S = 0.45  # two reads of the states after the response: all spans of the chain are written
_BODIES = {"comment": "content", "post": "title", "read": ""}


class SlowMotion:
    """Follows one request at a time. `draw` is injected: this room can't import the reports."""

    def __init__(self, session: Session, draw: Draw) -> None:
        self._session, self._draw = session, draw
        self._still = ""
        self._count = 0
        self._following = asyncio.Lock()

    async def follow(self, what: str) -> dict[str, Any]:
        """Send a `comment`, `post` or `read` to both halves and follow it; or follow the oldest
        `missing` write of each half. Returns for each half its sentence; and the steps of the
        drawing: ms, share of its height, who waits in each half. Raises Invalid, Conflict.
        """
        if what not in (*EVENTS_OF, MISSING):
            known = ", ".join((*EVENTS_OF, MISSING))
            raise Invalid(f"There is no request {what!r}. Known: {known}.")
        self._session.require_up()
        async with self._following:
            stacks = list(self._session.stacks.values())
            if what == MISSING:
                stacks = [stack for stack in stacks if self._session.missing_write(stack.name)]
                if not stacks:
                    raise Conflict("No acknowledged write is missing. Late ones are on their way.")
                following = [self._follow_missing(stack) for stack in stacks]
            else:
                following = [self._follow(stack, what) for stack in stacks]
            halves = await asyncio.gather(*following)
            self._count += 1
            self._still, moments = self._draw(side_by_side(halves))
            steps = [
                [round(at, 3), share, [live_line(half, at) for half in halves]]
                for at, share in moments
            ]
            said = [{"name": half.title, "says": half.caption} for half in halves]
            return {"n": self._count, "what": what, "halves": said, "steps": steps}

    def still(self) -> str:
        """The last drawing. Raises NotFound."""
        if not self._still:
            raise NotFound("There is no drawing yet: press t.")
        return self._still

    # ── A new request

    async def _follow(self, stack: Stack, what: str) -> Diagram:
        folder, trace_id = self._session.stack_folder, secrets.token_hex(16)
        files = {path: path.stat().st_size for path in folder.glob(f"{stack.name}.*.spans.ndjson")}
        sent, subject = await self._send(stack, what, trace_id)
        follows_events = publishes(stack) and sent.ok
        answered_s = perf_counter()
        while True:
            await asyncio.sleep(_READ_EVERY_S)
            spans = await asyncio.to_thread(_read_spans, files, trace_id, subject)
            missing = missing_deliveries(what, spans) if follows_events else []
            passed_s = perf_counter() - answered_s
            if passed_s > FOLLOW_S or (passed_s > _QUIET_S and not missing):
                break
        return await self._diagram(stack, sent, subject, spans, missing)

    async def _send(self, stack: Stack, what: str, trace_id: str) -> tuple[SentRequest, str]:
        """The request, and the id of what it wrote ("" if it wrote nothing)."""
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
        sent = SentRequest(what, line, service, at_s, took_ms, result.status, result.error)
        subject = ""
        if sent.ok and body:
            with suppress(ValueError, LookupError, TypeError):
                subject = str(json.loads(result.body)["id"])
        return sent, subject

    # ── A write of the load that readers will never see

    async def _follow_missing(self, stack: Stack) -> Diagram:
        write = self._session.missing_write(stack.name)
        assert write is not None  # `follow` has just looked
        what = "post" if write["endpoint"] == "create_post" else "comment"
        files = dict.fromkeys(self._session.stack_folder.glob(f"{stack.name}.*.spans.ndjson"), 0)
        spans = await asyncio.to_thread(_read_spans, files, write["trace"], write["id"])
        missing = missing_deliveries(what, spans)
        took_ms = write["took_ms"]
        acknowledged_s = time.time() - (perf_counter() - write["acknowledged_s"])
        clock = clock_of(write["acknowledged_s"] - self._session.broadcast.started_s)
        title = f"{what.capitalize()} no. {write['number']}: 201 at {clock}. Readers: never."
        sent = SentRequest(
            what,
            f"POST {what}",
            f"{what}s",
            acknowledged_s - took_ms / 1_000,
            took_ms,
            201,
            title=title,
        )
        return await self._diagram(stack, sent, write["id"], spans, missing)

    # ── Both

    async def _diagram(
        self,
        stack: Stack,
        sent: SentRequest,
        subject: str,
        spans: Sequence[Mapping[str, Any]],
        missing: Sequence[tuple[str, str]],
    ) -> Diagram:
        moments = await self._bus_moments(stack, subject) if publishes(stack) else None
        outages = list(self._outages(stack))
        stopped = None
        if missing and moments is not None:
            event, consumer = missing[0]
            unpublished = self._session.process_states(stack.name)[PUBLISHER_OF[event]]
            stopped = stop_of(event, consumer, sent, moments, unpublished.get("untold") or 0)
            stopped = self._with_outage(stopped, consumer, sent, outages)
        lifelines = lifelines_of(stack.arrangement.processes)
        return diagram_of(stack.name, sent, spans, lifelines, outages, stopped, moments)

    async def _bus_moments(self, stack: Stack, subject: str) -> BusMoments:
        keeps = self._session.process_states(stack.name)[BUS].get("head") is not None
        path = f"/_lab/moments?subject={quote(subject, safe='')}"
        response = await stack.call("GET", stack.urls[BUS], path, within_s=1.0)
        if not response.ok:  # it is down or hangs, or this engine has none
            return BusMoments(keeps)
        names = {url: target for target, url in stack.urls.items()}
        events = [
            {
                **event,
                "delivered": [
                    {**one, "to": names.get(one["to"], one["to"])} for one in event["delivered"]
                ],
            }
            for event in response.data["events"]
        ]
        return BusMoments(keeps, response.data["started"], events)

    def _outages(self, stack: Stack) -> Iterator[Outage]:
        """The times in which a process of the stack was down or hung, as far as is known."""
        began_s = time.time() - self._session.broadcast.elapsed_s
        for fault in self._session.broadcast.all_faults():
            if fault["half"] in (None, stack.name) and fault["kind"] in ("down", "hang"):
                until_t = fault.get("until_t")
                yield Outage(
                    stack.arrangement.process_of(fault["target"]),
                    began_s + fault["since_t"],
                    None if until_t is None else began_s + until_t,
                )

    def _with_outage(
        self, stopped: StoppedEvent, consumer: str, sent: SentRequest, outages: Sequence[Outage]
    ) -> StoppedEvent:
        """The same, with the time of the outage that explains it."""
        began_s = time.time() - self._session.broadcast.elapsed_s
        for outage in outages:
            is_later = outage.until_s is None or outage.until_s > sent.at_s
            if is_later and outage.lifeline in (stopped.lifeline, consumer):
                since = clock_of(outage.since_s - began_s)
                until = (
                    "" if outage.until_s is None else f" to {clock_of(outage.until_s - began_s)}"
                )
                text = f"{stopped.text} {outage.lifeline} was down from {since}{until}."
                return StoppedEvent(stopped.lifeline, stopped.why, text)
        return stopped


def publishes(stack: Stack) -> bool:
    """Whether the services of the stack publish events and keep copies."""
    return stack.arrangement.has_bus and not stack.arrangement.ask_by


def clock_of(seconds: float) -> str:
    """A time since the start of the stacks, as the page shows it: 4:07."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _read_spans(files: Mapping[Path, int], trace_id: str, subject: str) -> list[dict[str, Any]]:
    """The spans of a trace, and of events about this subject (the course's bus passes no traces
    on), that were written after these positions."""
    found: list[dict[str, Any]] = []
    wanted = [text.encode() for text in (trace_id, subject) if text]
    for path, position in files.items():
        with path.open("rb") as file:
            # A file that has become smaller was emptied: see FileTail.
            file.seek(position if path.stat().st_size >= position else 0)
            for line in file.read().splitlines():
                if any(text in line for text in wanted) and line.endswith(b"}"):
                    found.append(json.loads(line))
    return [
        span
        for span in found
        if span["trace"] == trace_id or (subject and span.get("subject") == subject)
    ]
