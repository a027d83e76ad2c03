"""The space-time diagram of one request, from the spans that the services recorded of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.domain.services import BUS, EVENT_CONSUMERS, MONOLITH, PUBLISHER_OF, SERVICES
from lab.results.space_time import Arrow, Diagram, Mark, Stretch, time_label

CLIENT = "client"
EVENTS_OF = {
    "comment": ("CommentCreated", "CommentModerated", "CommentUpdated"),
    "post": ("PostCreated",),
    "read": (),
}
"""The events that a request causes where services keep copies, in order."""
SpanRecord = Mapping[str, Any]


@dataclass(frozen=True)
class SentRequest:
    """A request as its client saw it. `at_s`: seconds since 1970; `took_ms`: until the response, or
    until the client gave up; `status`: 0 without a response, and then `error` says why."""

    what: str
    line: str
    service: str
    at_s: float
    took_ms: float
    status: int
    error: str = ""

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def response(self) -> str:
        return self.error or str(self.status)


@dataclass(frozen=True)
class StoppedEvent:
    """The event that has not arrived: at which lifeline it is, why (a few words for the drawing),
    and both in a sentence."""

    lifeline: str
    why: str
    text: str


def missing_deliveries(what: str, spans: Iterable[SpanRecord]) -> list[tuple[str, str]]:
    """The events that the request causes and that a consumer has not applied, with the consumer."""
    applied = {(span["name"], span["service"]) for span in spans if span["kind"] == "consumer"}
    expected = [(event, name) for event in EVENTS_OF[what] for name in EVENT_CONSUMERS[event]]
    return [delivery for delivery in expected if delivery not in applied]


def diagram_of(
    half: str,
    sent: SentRequest,
    spans: Sequence[SpanRecord],
    lifelines: Sequence[str],
    down: Mapping[str, float],
    stopped: StoppedEvent | None,
) -> Diagram:
    """The diagram of one half; times are in ms from the send. `down`: since when (seconds since
    1970) a lifeline is down, hangs or is cut off."""
    arrows, stretches = [], []
    marks: list[Mark] = []

    def ms(at_s: float) -> float:
        return (at_s - sent.at_s) * 1_000

    servers = [span for span in spans if span["kind"] == "server"]
    calls = [
        (CLIENT, "", sent.service, sent.line, 0.0, sent.took_ms, "" if sent.ok else sent.response)
    ]
    for span in spans:
        for call in span.get("asked", ()):
            request = call["what"].partition("?")[0]
            calls.append(
                (
                    span["service"],
                    span["span"],
                    call["whom"],
                    request,
                    ms(call["at"]),
                    call["ms"],
                    call.get("failed", ""),
                )
            )
    answered: set[str] = set()
    for caller, parent, callee, request, at_ms, took_ms, failed in sorted(
        calls, key=lambda call: call[4]
    ):
        if callee not in lifelines:
            callee = MONOLITH
            if caller == MONOLITH:  # a function call: no message
                continue
        server = next(
            (
                span
                for span in servers
                if span["span"] not in answered
                and span["service"] == callee
                and (span["parent"] == parent or not parent)
                and at_ms - 1 <= ms(span["at"]) <= at_ms + took_ms
            ),
            None,
        )
        if server is None:
            arrows.append(Arrow("request", caller, callee, at_ms, None, request, failed or "?"))
            marks.append(Mark("bad", caller, at_ms + took_ms, f"gives up: {failed or 'no answer'}"))
            continue
        answered.add(server["span"])
        began_ms = max(at_ms, ms(server["at"]))
        ended_ms = began_ms + server["ms"]
        arrows.append(Arrow("request", caller, callee, at_ms, began_ms, request))
        waited_ms = server.get("queued_ms", 0.0)
        stretches.append(Stretch("held", callee, min(began_ms + waited_ms, ended_ms), ended_ms))
        status = str(server.get("status", ""))
        if ended_ms <= at_ms + took_ms:
            arrows.append(Arrow("reply", callee, caller, ended_ms, at_ms + took_ms, status))
        else:
            arrows.append(Arrow("reply", callee, caller, ended_ms, None, status, "too late"))
            marks.append(Mark("bad", caller, at_ms + took_ms, f"gives up: {failed}"))
    for span in sorted(spans, key=lambda one: float(one["at"])):
        if span["kind"] != "consumer":
            continue
        began_ms = ms(span["at"])
        publisher, told_ms = PUBLISHER_OF.get(span["name"], BUS), _told_ms(span, spans, sent)
        arrows.append(
            Arrow(
                "event",
                publisher,
                span["service"],
                min(told_ms, began_ms),
                began_ms,
                span["name"],
            )
        )
        stretches.append(Stretch("held", span["service"], began_ms, began_ms + span["ms"]))
        marks.append(Mark("note", span["service"], began_ms + span["ms"], "applied"))
    if stopped is not None:
        ends = [arrow.received_ms or arrow.sent_ms for arrow in arrows]
        marks.append(Mark("bad", stopped.lifeline, max(ends, default=0.0), stopped.why))
    marks += [Mark("crash", name, ms(since), "") for name, since in down.items() if ms(since) > 0]
    stretches += [Stretch("down", name, max(0.0, ms(since)), None) for name, since in down.items()]
    return Diagram(
        f"{half}: {sent.line}, {sent.response}",
        _caption(sent, stopped),
        tuple(lifelines),
        tuple(arrows),
        tuple(marks),
        tuple(dict.fromkeys(stretches)),
    )


def _told_ms(span: SpanRecord, spans: Sequence[SpanRecord], sent: SentRequest) -> float:
    """When the event was published at the earliest: at the end of the span that caused it."""
    parent = next((one for one in spans if one["span"] == span["parent"]), None)
    if parent is None:
        return 0.0
    return float((parent["at"] - sent.at_s) * 1_000 + parent["ms"])


def _caption(sent: SentRequest, stopped: StoppedEvent | None) -> str:
    answer = f"{sent.response} after {time_label(sent.took_ms)}."
    return f"{answer} {stopped.text}" if stopped else answer


def lifelines_of(processes: Iterable[str]) -> tuple[str, ...]:
    """The client, and the processes in the order of the lab: services, hops, the bus."""
    order = [*SERVICES, MONOLITH]
    known = sorted(processes, key=lambda name: order.index(name) if name in order else len(order))
    return (CLIENT, *(name for name in known if name != BUS), *(n for n in known if n == BUS))


def live_line(diagram: Diagram, at_ms: float) -> str:
    """Who waits for whom at this moment, and which services hold a worker for the request."""
    waits = []
    for request in diagram.arrows:
        if request.kind != "request" or request.sent_ms > at_ms:
            continue
        ends = [
            reply.received_ms
            for reply in diagram.arrows
            if reply.kind == "reply"
            and (reply.sender, reply.receiver) == (request.receiver, request.sender)
            and reply.received_ms is not None
            and reply.received_ms >= request.sent_ms
        ]
        ends += [
            mark.at_ms
            for mark in diagram.marks
            if mark.lifeline == request.sender
            and mark.label.startswith("gives up")
            and mark.at_ms >= request.sent_ms
        ]
        if not ends or min(ends) > at_ms:
            waits.append(f"{request.sender} waits for {request.receiver}")
    held = dict.fromkeys(
        one.lifeline
        for one in diagram.stretches
        if one.kind == "held" and one.from_ms <= at_ms < (one.until_ms or at_ms + 1)
    )
    who = "; ".join(waits) or "the client waits for nothing"
    workers = f"{len(held)} ({', '.join(held)})" if held else "0"
    return f"{who}. Workers held: {workers}"
