"""The space-time diagram of one request, from what the services and the bus recorded of it."""

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
CAUSE_OF = {"CommentModerated": "CommentCreated", "CommentUpdated": "CommentModerated"}
SpanRecord = Mapping[str, Any]
MIN_QUEUED_MS = 0.5


@dataclass(frozen=True)
class SentRequest:
    """A request as its client saw it. `at_s`: seconds since 1970; `took_ms`: until the response, or
    until the client gave up; `status`: 0 without a response, and then `error` says why; `title`:
    what it is called in the caption, such as `Post no. 431`."""

    what: str
    line: str
    service: str
    at_s: float
    took_ms: float
    status: int
    error: str = ""
    title: str = ""

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def response(self) -> str:
        return self.error or str(self.status)


@dataclass(frozen=True)
class Outage:
    """A time in which a process was down or hung, in seconds since 1970; `until_s`: None if it
    still is."""

    lifeline: str
    since_s: float
    until_s: float | None = None


@dataclass(frozen=True)
class BusMoments:
    """What the bus knows of the events of one write: see `lab/bus/moments.py`. `keeps`: it has a
    log on disk. `started_s`: None if the bus does not answer."""

    keeps: bool
    started_s: float | None = None
    events: Sequence[Mapping[str, Any]] = ()

    def find(self, event: str) -> Mapping[str, Any] | None:
        return next((one for one in self.events if one["type"] == event), None)


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


def stop_of(
    event: str, consumer: str, sent: SentRequest, moments: BusMoments, unpublished: int
) -> StoppedEvent:
    """Where an event is that this consumer has not applied. `unpublished`: the events in the outbox
    of its publisher."""
    publisher, known = PUBLISHER_OF[event], moments.find(event)
    if known is None and unpublished:
        text = f"{event} waits in the outbox of {publisher}."
        return StoppedEvent(publisher, "in the outbox", text)
    if known is None and moments.started_s is not None and moments.started_s < sent.at_s:
        text = f"{event} never reached the bus: {publisher} stored its row and did not publish it."
        return StoppedEvent(publisher, "not published", text)
    if known is None and not moments.keeps:
        # The course's bus keeps no events: what it had when it was killed is lost.
        text = f"{event} was last seen in the memory of the bus"
        return StoppedEvent(BUS, "last seen here", f"{text}; {consumer} has not applied it.")
    deliveries = [one for one in (known or {}).get("delivered", ()) if one["to"] == consumer]
    if deliveries and deliveries[-1]["failed"]:
        why = deliveries[-1]["failed"].rpartition(": ")[2]
        text = f"The bus could not deliver {event} to {consumer} ({why}), and keeps no copy for it."
        return StoppedEvent(BUS, f"not delivered to {consumer}", text)
    if deliveries:
        text = f"The bus delivered {event} to {consumer}, which has not applied it."
        return StoppedEvent(consumer, "not applied", text)
    if moments.keeps:
        text = f"{event} is in the log, and waits for {consumer}."
        return StoppedEvent(BUS, f"for {consumer}", text)
    text = f"{event} is in the memory of the bus, which has not sent it to {consumer}."
    return StoppedEvent(BUS, f"not sent to {consumer}", text)


def diagram_of(
    half: str,
    sent: SentRequest,
    spans: Sequence[SpanRecord],
    lifelines: Sequence[str],
    outages: Sequence[Outage] = (),
    stopped: StoppedEvent | None = None,
    moments: BusMoments | None = None,
) -> Diagram:
    """The diagram of one half; times are in ms from the send."""
    drawing = _Drawing(sent, spans, lifelines)
    drawing.add_calls()
    drawing.add_events(moments)
    if stopped is not None:
        drawing.marks.append(Mark("bad", stopped.lifeline, drawing.until_ms(), stopped.why))
    drawing.add_outages(outages)
    used = drawing.used_lifelines()
    return Diagram(
        half,
        _caption(sent, stopped),
        tuple(name for name in lifelines if name in used),
        tuple(drawing.arrows),
        tuple(drawing.marks),
        tuple(dict.fromkeys(drawing.stretches)),
    )


class _Drawing:
    """Collects the arrows, marks and stretches of one half."""

    def __init__(
        self, sent: SentRequest, spans: Sequence[SpanRecord], lifelines: Sequence[str]
    ) -> None:
        self._sent, self._lifelines = sent, lifelines
        self._spans = sorted(spans, key=lambda span: float(span["at"]))
        self.arrows: list[Arrow] = []
        self.marks: list[Mark] = []
        self.stretches: list[Stretch] = []

    def _ms(self, at_s: float) -> float:
        return (at_s - self._sent.at_s) * 1_000

    def until_ms(self) -> float:
        """When the last message was sent or received."""
        return max((arrow.received_ms or arrow.sent_ms for arrow in self.arrows), default=0.0)

    def used_lifelines(self) -> set[str]:
        return {
            *(end for arrow in self.arrows for end in (arrow.sender, arrow.receiver)),
            *(mark.lifeline for mark in self.marks),
            *(stretch.lifeline for stretch in self.stretches),
        }

    # ── Requests and responses

    def add_calls(self) -> None:
        sent = self._sent
        failed = "" if sent.ok else sent.response
        calls = [(CLIENT, "", sent.service, sent.line, 0.0, sent.took_ms, failed)]
        for span in self._spans:
            for call in span.get("asked", ()):
                request, failed = call["what"].partition("?")[0], call.get("failed", "")
                at_ms = self._ms(call["at"])
                calls.append(
                    (
                        span["service"],
                        span["span"],
                        call["whom"],
                        request,
                        at_ms,
                        call["ms"],
                        failed,
                    )
                )
        servers = [span for span in self._spans if span["kind"] == "server"]
        for call in sorted(calls, key=lambda call: call[4]):
            self._add_call(servers, *call)

    def _add_call(
        self,
        servers: list[SpanRecord],
        caller: str,
        parent: str,
        callee: str,
        request: str,
        at_ms: float,
        took_ms: float,
        failed: str,
    ) -> None:
        if callee not in self._lifelines:
            callee = MONOLITH
            if caller == MONOLITH:  # a function call: no message
                return
        server = next(
            (
                span
                for span in servers
                if span["service"] == callee
                and (span["parent"] == parent or not parent)
                and at_ms - 1 <= self._ms(span["at"]) <= at_ms + took_ms
            ),
            None,
        )
        ended_ms = at_ms + took_ms
        if server is None:
            self.arrows.append(
                Arrow("request", caller, callee, at_ms, None, request, failed or "?")
            )
            self.marks.append(Mark("bad", caller, ended_ms, f"gives up: {failed or 'no answer'}"))
            return
        servers.remove(server)
        began_ms = max(at_ms, self._ms(server["at"]))
        replied_ms = began_ms + server["ms"]
        self.arrows.append(Arrow("request", caller, callee, at_ms, began_ms, request))
        queued_ms = float(server.get("queued_ms", 0.0))
        held_ms = began_ms + (queued_ms if queued_ms > MIN_QUEUED_MS else 0.0)
        self.stretches.append(Stretch("held", callee, min(held_ms, replied_ms), replied_ms))
        status = str(server.get("status", ""))
        if replied_ms <= ended_ms:
            self.arrows.append(Arrow("reply", callee, caller, replied_ms, ended_ms, status))
        else:
            self.arrows.append(Arrow("reply", callee, caller, replied_ms, None, status, "too late"))
            self.marks.append(Mark("bad", caller, ended_ms, f"gives up: {failed}"))

    # ── Events

    def add_events(self, moments: BusMoments | None) -> None:
        """The events of the request: to the bus, on its disk, to each consumer."""
        applied = [span for span in self._spans if span["kind"] == "consumer"]
        known = moments.events if moments else ()
        for event in known:
            self._add_bus_moments(event)
        for span in applied:
            began_ms = self._ms(span["at"])
            if not any(event["type"] == span["name"] for event in known):
                publisher = PUBLISHER_OF.get(span["name"], BUS)
                told_ms = min(self._published_ms(span["name"]), began_ms)
                self.arrows.append(
                    Arrow("event", publisher, span["service"], told_ms, began_ms, span["name"])
                )
            ended_ms = began_ms + span["ms"]
            self.stretches.append(Stretch("held", span["service"], began_ms, ended_ms))
            self.marks.append(Mark("note", span["service"], ended_ms, "applied"))

    def _add_bus_moments(self, event: Mapping[str, Any]) -> None:
        name, received_ms = event["type"], self._ms(event["received"])
        publisher = PUBLISHER_OF.get(name, BUS)
        told_ms = min(self._published_ms(name), received_ms)
        self.arrows.append(Arrow("event", publisher, BUS, told_ms, received_ms, name))
        if event["committed"] is not None:
            committed_ms = self._ms(event["committed"])
            self.marks.append(Mark("commit", BUS, committed_ms, f"no. {event['number']}"))
        for consumer in EVENT_CONSUMERS.get(name, ()):
            began_ms = next(
                (
                    self._ms(span["at"])
                    for span in self._spans
                    if (span["kind"], span["name"], span["service"]) == ("consumer", name, consumer)
                ),
                None,
            )
            deliveries = [one for one in event["delivered"] if one["to"] == consumer]
            # Of several deliveries, the last one before it was applied.
            in_time = [
                one for one in deliveries if began_ms is None or self._ms(one["at"]) <= began_ms + 1
            ]
            if in_time:
                at_ms, failed = self._ms(in_time[-1]["at"]), in_time[-1]["failed"]
                if began_ms is None:
                    lost = failed.rpartition(": ")[2] or "not applied"
                    self.arrows.append(Arrow("event", BUS, consumer, at_ms, None, name, lost))
                else:
                    arrived_ms = max(at_ms, began_ms)
                    self.arrows.append(Arrow("event", BUS, consumer, at_ms, arrived_ms, name))

    def _published_ms(self, event: str) -> float:
        """The end of the span that caused the event: its publisher publishes it about then."""
        kind = "consumer" if event in CAUSE_OF else "server"
        for span in self._spans:
            is_cause = span["kind"] == kind and span["service"] == PUBLISHER_OF.get(event)
            if is_cause and span["name"] == CAUSE_OF.get(event, span["name"]):
                return self._ms(span["at"]) + float(span["ms"])
        return 0.0

    # ── Outages

    def add_outages(self, outages: Sequence[Outage]) -> None:
        for outage in outages:
            since_ms = self._ms(outage.since_s)
            until_ms = None if outage.until_s is None else self._ms(outage.until_s)
            if outage.lifeline not in self._lifelines or (until_ms is not None and until_ms < 0):
                continue
            self.stretches.append(Stretch("down", outage.lifeline, max(0.0, since_ms), until_ms))
            if since_ms > 0:
                self.marks.append(Mark("crash", outage.lifeline, since_ms, ""))
            if until_ms is not None:
                self.marks.append(Mark("start", outage.lifeline, until_ms, ""))


def _caption(sent: SentRequest, stopped: StoppedEvent | None) -> str:
    answer = sent.title or f"{sent.response} after {time_label(sent.took_ms)}."
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
