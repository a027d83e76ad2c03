"""A blog in one thread: the real services of a twin, stepped through one history of deeds.

Handlers, outbox relay or dual write, consumers, inbox, stores and bus are the code that runs. The
world hands them a clock, an event loop, a network and disks (`loop.py`, `network.py`, `disk.py`).
The same deeds always have the same result.
"""

import contextvars
import json
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from math import inf
from typing import Any
from urllib.parse import parse_qsl

from pydantic_core import from_json, to_json

from lab.async_bus import comments as bus_comments
from lab.async_bus import moderation as bus_moderation
from lab.async_bus import posts as bus_posts
from lab.async_bus import query as bus_query
from lab.async_bus.consumer import Alerts, Consumer
from lab.async_bus.inbox import Inbox
from lab.async_bus.outbox import IDLE_S, OutboxRelay
from lab.async_bus.stack import BusService
from lab.domain import model
from lab.domain.errors import BadGateway, ServiceError, TimedOut, Unreachable
from lab.domain.events import Envelope
from lab.domain.services import BUS
from lab.faults.filter import FaultFilter
from lab.faults.kinds import DropFault, DuplicateFault, ReorderFault
from lab.load.samples import Sample, make_token
from lab.service import idempotency
from lab.service.http import Route, degraded_by, match_route
from lab.service.service import Service
from lab.service.tracing import SpanLog
from lab.simulation.histories.buses import (
    CourseProcess,
    LogProcess,
    WorldDualWrite,
    WorldLogBus,
    course_bus,
)
from lab.simulation.histories.disk import AFTER, BEFORE, Disk, MemoryStore
from lab.simulation.histories.history import CLIENT, Deed, MomentKind
from lab.simulation.histories.loop import PROCESS, Crash, ProcessState, VirtualLoop
from lab.simulation.histories.network import Exchange, Network, Node, Refused
from lab.simulation.histories.recorder import Recorder
from lab.simulation.histories.variant import Variant
from lab.sync_chain import comments as chain_comments
from lab.sync_chain import moderation as chain_moderation
from lab.sync_chain import posts as chain_posts
from lab.sync_chain import query as chain_query
from lab.sync_chain.ask.http import decode_answer
from lab.sync_chain.ask.service import ChainService
from lab.sync_chain.resilience.layers import ResilienceOptions, wrap

BUS_SERVICES: dict[str, BusService] = {
    module.service.name: module.service
    for module in (bus_posts, bus_comments, bus_moderation, bus_query)
}
CHAIN_SERVICES: dict[str, ChainService] = {
    module.service.name: module.service
    for module in (chain_posts, chain_comments, chain_moderation, chain_query)
}
TIMEOUT_S = 5.0
"""How long a service of the chain waits for an answer."""
CLIENT_TIMEOUT_S = 12.0
"""Longer than a service waits for two others: the client is told that one of them timed out."""
SETTLE_S = 60.0
"""How long a mended world may take until nothing is on its way any more."""
_CHECK_S = 0.05
_PATIENCE_S = 0.05
"""Between the last deed and the end, at which everything is mended."""
_QUIET_AFTER_S = 0.3
_ID = re.compile("[0-7][0-9a-z]{13}")
_SEED_POST = "a post from before"
_NO_POST = "00000000000000"
_NOON_NS = 1_750_000_000_000_000_000


Request = tuple[str, str, Mapping[str, str], bytes, str]
"""Method, path, query, body, and Idempotency-Key ("": none)."""


class _WorldAlerts(Alerts):
    def __init__(self, world: "World") -> None:
        super().__init__()
        self._world = world

    def add(self, message: str) -> None:
        self._world.alerts.append(message)


class _WorldClock:
    """The time of day that ids are made of: virtual, and each process may have its own."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def time_ns(self) -> int:
        state = PROCESS.get()
        back_s = state.clock_back_s if state else 0.0
        return _NOON_NS + int((self._loop.now_s - back_s) * 1e9)


def _routes(service: Service, with_keys: bool) -> Sequence[Route]:
    if not with_keys:
        return service.routes
    wrapper = idempotency.IdempotencyFilter(lambda: service.store).wrap
    return [
        replace(route, handler=wrapper(route.handler)) if route.method == "POST" else route
        for route in service.routes
    ]


class Stage:
    """What histories of one variant share: disks, with one post that everybody knows."""

    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        services = CHAIN_SERVICES if variant.is_chain else BUS_SERVICES
        self.services: Mapping[str, Service] = services
        self.routes = {
            name: _routes(service, variant.idempotency) for name, service in services.items()
        }
        self.disks = {name: Disk(name) for name, service in services.items() if service.schema}
        self.log_disk = Disk(BUS)
        self.seed_id = ""
        world = World(self, [])
        try:
            world.seed()
        finally:
            world.close()
        for disk in self._all_disks():
            disk.save()

    def disk_of(self, name: str) -> Disk | None:
        return self.log_disk if name == BUS else self.disks.get(name)

    def restore(self) -> None:
        for disk in self._all_disks():
            disk.restore()

    def close(self) -> None:
        for disk in self._all_disks():
            disk.close()

    def _all_disks(self) -> Iterable[Disk]:
        return (*self.disks.values(), self.log_disk)


class ServiceProcess(Node):
    """The process of one service: its routes on its disk."""

    def __init__(self, world: "World", name: str) -> None:
        super().__init__(name)
        self.world = world
        self.service = world.stage.services[name]
        self.filter = FaultFilter()
        self.store: MemoryStore | None = None
        if name in world.stage.disks:
            self.store = MemoryStore(
                world.stage.disks[name],
                idempotency.TABLE + self.service.schema,
                self.service.source,
                world.commit_point(self),
            )
            self.service.use_store(self.store)

    def respond(
        self, method: str, path: str, query: Mapping[str, str], body: bytes = b"", key: str = ""
    ) -> tuple[int, bytes, str]:
        """The status, the content, and the service whose data it lacks ("": none)."""
        try:
            route, parameters = match_route(self.world.stage.routes[self.name], method, path)
            arguments = route.arguments(parameters, query, body)
            if key and self.world.stage.variant.idempotency:
                with idempotency.use_key(key):
                    result = route.handler(**arguments)
            else:
                result = route.handler(**arguments)
            return route.status, to_json(result), degraded_by()
        except ServiceError as error:
            return error.status, to_json(error.problem()), ""
        except Exception as error:
            problem = {"detail": f"{type(error).__name__}: {error}", "definite": False}
            return 500, to_json(problem), ""

    def is_quiet(self) -> bool:
        return True

    def is_stuck(self) -> bool:
        return False

    def crashed(self) -> None: ...


class ChainProcess(ServiceProcess):
    """A service of the chain; the transport of its requests is the world's network."""

    def __init__(self, world: "World", name: str) -> None:
        super().__init__(world, name)
        service = world.stage.services[name]
        assert isinstance(service, ChainService)
        variant = world.stage.variant
        options = ResilienceOptions(retries=variant.retries, fallback=variant.fallback)
        service.transport = wrap(self._ask, options, service.tally, 8, service.fallbacks)

    def _ask(self, callee: str, method: str, path: str, body: Any, query: Any) -> Any:
        content = body.model_dump_json().encode() if body is not None else b""
        if write := self.world.write_of(content.decode()):
            self.world.asked[callee, write] += 1
        answered: list[tuple[Any, Exception | None]] = []
        world = self.world
        exchange = world.request(
            self,
            callee,
            (method, path, {name: str(value) for name, value in query.items()}, content, ""),
            lambda value, error: answered.append((value, error)),
            write,
        )
        world.block_until(lambda: bool(answered), TIMEOUT_S)
        exchange.give_up()
        if not answered:
            raise TimedOut(f"{callee} did not answer within {TIMEOUT_S:g} s.")
        (value, error) = answered[0]
        if isinstance(error, Refused):
            raise Unreachable(f"{callee} is not there: the connection was refused.")
        if error is not None:
            raise BadGateway(f"{callee} broke off the connection.", definite=False)
        return decode_answer(callee, *value[:2])


class BusServiceProcess(ServiceProcess):
    """A service on the bus: it publishes and consumes."""

    def __init__(self, world: "World", name: str) -> None:
        super().__init__(world, name)
        variant, service = world.stage.variant, BUS_SERVICES[name]
        assert self.store is not None
        self.bus = WorldLogBus(world, self) if variant.bus == "log" else course_bus(world, self)
        alerts = _WorldAlerts(world)
        if variant.outbox:
            self.publisher: OutboxRelay | WorldDualWrite = OutboxRelay(self.store, self.bus, alerts)
        else:
            self.publisher = WorldDualWrite(self.store, self.bus)
            self.publisher.world = world
        self.inbox = Inbox(
            self.store,
            service.listeners,
            SpanLog(None, name),
            dedupe=variant.dedupe,
            dead_letter=variant.dead_letter,
            replayable=not self.bus.routes,
        )
        self.consumer = Consumer(self.bus, self.inbox, self.filter, bool(service.listeners), alerts)
        self.consumes = bool(service.listeners)
        world.loop.start(self.state, self.publisher.run())
        world.loop.start(self.state, self.consumer.run())

    def is_quiet(self) -> bool:
        if self.publisher.count_unpublished() or self.filter.has_held_events:
            return False
        if not isinstance(self.bus, WorldLogBus):
            return self.bus._pushed.empty()
        log = self.world.network.nodes[BUS]
        assert isinstance(log, LogProcess)
        behind = self.consumes and self.inbox.position < log.server.newest
        return not behind or self.is_stuck()

    def is_stuck(self) -> bool:
        return self.inbox.stuck_event is not None


class World:
    """One history. `samples`: the client's writes by number, as the checker reads them."""

    def __init__(
        self, stage: Stage, deeds: Sequence[Deed], recorder: Recorder | None = None
    ) -> None:
        self.stage = stage
        self.deeds = deeds
        self.recorder = recorder
        self.loop = VirtualLoop(self._crash_of)  # type: ignore[abstract]
        self.network = Network(self.loop, recorder.message if recorder else None)
        self.client = Node(CLIENT)
        self.network.nodes[CLIENT] = self.client
        self.samples: dict[int, Sample] = {}
        self.envelopes: dict[tuple[bytes, str], Envelope] = {}
        self.stale_s = 0.0
        self.stale_writes: set[int] = set()
        self.settled_s = self.end_s = 0.0
        self.is_quiet = False
        self.alerts: list[str] = []
        self.has_lost_events = False
        self.asked: Counter[tuple[str, int]] = Counter()
        self.sent_again = 0
        self._unanswered = 0
        self._requests: dict[int, tuple[str, Request]] = {}
        self._clocks_back_s: dict[str, float] = {}
        self._seen_s: dict[int, float] = {}
        self._log_checked_s = 0.0
        self._crash_plans: dict[str, tuple[str, int]] = {}
        self._closed = False
        model.clock = _WorldClock(self.loop)
        if recorder:
            recorder.now_ms = lambda: self.loop.now_s * 1_000
        self._start_all()

    # ── Processes

    @property
    def names(self) -> tuple[str, ...]:
        buses = () if self.stage.variant.is_chain else (BUS,)
        return (*buses, *self.stage.services)

    def _start_all(self) -> None:
        for name in self.names:
            if name not in self.network.nodes or not self.network.nodes[name].state.alive:
                self._start(name)

    def _start(self, name: str) -> None:
        if name == BUS:
            variant = self.stage.variant
            node: Node = (
                LogProcess(self) if variant.bus == "log" else CourseProcess(self, variant.delivery)
            )
        elif self.stage.variant.is_chain:
            node = ChainProcess(self, name)
        else:
            node = BusServiceProcess(self, name)
        self.network.nodes[name] = node
        node.state.clock_back_s = self._clocks_back_s.get(name, 0.0)
        if self.recorder and self.loop.now_s:
            self.recorder.moment("start", name)

    def _crash_of(self, state: ProcessState | None) -> None:
        for name, node in self.network.nodes.items():
            if node.state is state:
                self.crash(name)

    def crash(self, name: str) -> None:
        """Kill a process; its disk stays."""
        node = self.network.nodes[name]
        if not node.state.alive:
            return
        node.state.alive = False
        self._crash_plans.pop(name, None)
        if isinstance(node, ServiceProcess) and node.name in self.stage.disks:
            self.stage.disks[node.name].roll_back()
        self.network.crashed(node)
        node.crashed()  # type: ignore[attr-defined]
        if self.recorder:
            self.recorder.moment("crash", name)

    def commit_point(self, node: Node) -> Callable[[str], None]:
        """What the disk of a process calls before and after each commit."""

        def pass_point(point: str) -> None:
            plan = self._crash_plans.get(node.name)
            if plan is not None and plan[0] == point:
                if plan[1] > 1:
                    self._crash_plans[node.name] = (point, plan[1] - 1)
                else:
                    if point == AFTER and self.recorder:
                        self.recorder.committed(node.name, self.stage)
                    self.crash(node.name)
                    raise Crash
            if point == AFTER and self.recorder:
                self.recorder.committed(node.name, self.stage)

        return pass_point

    def block_until(self, is_done: Callable[[], bool], timeout_s: float | None = None) -> None:
        """Block the handler that is running while the others run on."""
        state = PROCESS.get()
        until_s = 1e9 if timeout_s is None else self.loop.now_s + timeout_s
        dead = state is not None
        self.loop.run(
            lambda: is_done() or self._closed or (dead and not state.alive),  # type: ignore[union-attr]
            until_s,
        )
        if state is not None and not state.alive:
            raise Crash

    # ── Requests

    def request(
        self,
        sender: Node,
        receiver: str,
        request: Request,
        finish: Callable[[Any, Exception | None], None],
        write: int = 0,
    ) -> Exchange:
        def serve(exchange: Exchange) -> None:
            node = exchange.server
            assert isinstance(node, ServiceProcess)
            response = node.respond(*request)
            exchange.answer(response, str(response[0]))

        # An id depends on the time of day.
        label = f"{request[0]} {_ID.sub('{post_id}', request[1])}" if self.recorder else request[1]
        return self.network.request(sender, receiver, serve, finish, label=label, write=write)

    @staticmethod
    def write_of(text: str) -> int:
        """The number of the write whose token is in a text; 0 for none."""
        start = text.find("w-1-")
        return int(text[start + 4 : start + 10]) if start >= 0 else 0

    def describe(self, envelopes: Sequence[str]) -> tuple[str, int]:
        """The types of events, and the first of their writes."""
        if not self.recorder:
            return "events", 0
        types = dict.fromkeys(json.loads(line)["type"] for line in envelopes)
        return ", ".join(types), self.write_of(envelopes[0])

    # ── Deeds

    def seed(self) -> None:
        """Let there be a post that everybody knows."""
        self._write(Deed(0.0, "post", "posts", write=0))
        self._finish_at(0.0)
        self.loop.run(lambda: self.is_quiet)
        self.stage.seed_id = self.samples[0].id

    def live(self) -> None:
        """Do the deeds, then mend everything, and go on until nothing is on its way."""
        self._do_from(0, 0.0)
        self.loop.run(lambda: self.end_s > 0)

    def _do_from(self, index: int, now_ms: float) -> None:
        """Do the deeds from this one on, each at its time, and the end after the last one."""
        while index < len(self.deeds) and self.deeds[index].at_ms <= now_ms:
            self._do(self.deeds[index])
            index += 1
        if index == len(self.deeds):
            self._finish_at(self.loop.now_s + _PATIENCE_S)
            return
        at_ms = self.deeds[index].at_ms
        context = contextvars.Context()

        def pass_time() -> None:
            """Skip the time in which nothing would happen."""
            if self._all_quiet() and not self.network.cuts and not self.network.slow_s:
                self.loop.skip(at_ms / 1_000 - self.loop.now_s)

        if at_ms - now_ms > 1_000 * _QUIET_AFTER_S:
            self.loop.call_later(_QUIET_AFTER_S, pass_time, context=context)
        self.loop.call_at(at_ms / 1_000, self._do_from, index, at_ms, context=context)

    def _do(self, deed: Deed) -> None:
        name, network = deed.target, self.network
        node = network.nodes.get(name)
        match deed.kind:
            case "post" | "comment":
                self._write(deed)
                return
            case "read":
                self._read()
                return
            case "crash" if deed.point in (BEFORE, AFTER):
                if node is not None and node.state.alive:
                    self._crash_plans[name] = (deed.point, deed.count)
                return
            case "crash":
                self.crash(name)
                return
            case "power cut":
                self.crash(name)
                if (disk := self.stage.disk_of(name)) is not None:
                    disk.lose_unsynced()
            case "full disk":
                if (disk := self.stage.disk_of(name)) is not None:
                    disk.writer.refuse_in = deed.count
            case "clock":
                back_s = self._clocks_back_s.get(name, 0.0) + deed.ms / 1_000
                self._clocks_back_s[name] = back_s
                if node is not None:
                    node.state.clock_back_s = back_s
            case "repeat":
                self._repeat(deed.write)
                return
            case "restore":
                self.has_lost_events = True
                self.crash(name)
                self.stage.log_disk.restore()
                self._start(name)
                self._log_checked_s = inf
            case "restart":
                if node is None or not node.state.alive:
                    self._start(name)
                return
            case "partition":
                network.cuts.add((name, deed.peer))
            case "slow":
                network.slow_s[name] = deed.ms / 1_000
            case "heal":
                network.heal()
            case "duplicate" | "drop" | "reorder":
                if isinstance(node, ServiceProcess):
                    kind = _EVENT_FAULTS[deed.kind]
                    fault = kind(target=name, first=deed.count)
                    node.filter.add(deed.kind, fault, seed=0)
        if self.recorder:
            kind_of_moment: MomentKind = "healed" if deed.kind == "heal" else "fault"
            peer = f" {deed.peer}" if deed.peer else ""
            self.recorder.moment(kind_of_moment, name or CLIENT, f"{deed.kind}{peer}")

    def _write(self, deed: Deed) -> None:
        token = make_token(1, deed.write)
        sample = Sample(
            "world",
            "history",
            "create_post" if deed.kind == "post" else "create_comment",
            self.loop.now_s,
            0.0,
            token=token,
        )
        self.samples[deed.write] = sample
        if deed.kind == "post":
            sample.text = f"post {token}" if deed.write else _SEED_POST
            service, path, body = "posts", "/posts", {"title": sample.text}
        else:
            parent = self.samples.get(deed.post)
            sample.post_id = parent.id if parent and parent.id else self.stage.seed_id
            if deed.post < 0:
                sample.post_id = _NO_POST
            sample.text = f"comment {token}{' orange' if deed.forbidden else ''}"
            service, path = "comments", f"/posts/{sample.post_id}/comments"
            body = {"content": sample.text}

        request: Request = ("POST", path, {}, to_json(body), token if deed.write else "")
        self._requests[deed.write] = (service, request)
        self._send(deed.write)

    def _repeat(self, write: int) -> None:
        """Send a write again, when its client has an answer or has given up."""
        if write in self.samples and self.samples[write].latency_ms is not None:
            self._send(write)

    def _send(self, write: int) -> None:
        sample = self.samples[write]
        service, request = self._requests[write]
        self._unanswered += 1

        def note(error: str, definite: bool = False) -> None:
            """A write that was sent twice is refused only if it was refused both times."""
            is_first, self._unanswered = sample.latency_ms is None, self._unanswered - 1
            if not sample.ok:
                sample.error = error
                sample.definite = definite and (is_first or sample.definite)
                sample.latency_ms = (self.loop.now_s - sample.intended_s) * 1_000
                sample.ok = not error
            if self.recorder:
                outcome: MomentKind = (
                    "acknowledged" if not error else "refused" if definite else "unknown"
                )
                self.recorder.moment(outcome, CLIENT, error, (write,))

        def finish(value: Any, error: Exception | None) -> None:
            timer.cancel()
            if error is not None:
                is_refused = isinstance(error, Refused)
                note("refused" if is_refused else "reset", is_refused)
                return
            sample.status, content, _ = value
            answer = from_json(content)
            if sample.status == 201:
                sample.id = answer["id"]
                note("")
            else:
                note(f"http_{sample.status}", bool(answer.get("definite")))

        def give_up() -> None:
            exchange.give_up()
            note("timeout")

        exchange = self.request(self.client, service, request, finish, write)
        timer = self.loop.call_later(CLIENT_TIMEOUT_S, give_up, context=contextvars.Context())

    def _read(self) -> None:
        sent_s = self.loop.now_s

        def finish(value: Any, error: Exception | None) -> None:
            if error is None and value[0] == 200:
                self._compare_feed(from_json(value[1]), sent_s, bool(value[2]))

        self.request(self.client, "query", ("GET", "/feed", {"limit": "100"}, b"", ""), finish)

    def _compare_feed(self, feed: list[dict[str, Any]], sent_s: float, degraded: bool) -> None:
        shown = {entry["id"] for entry in feed}
        decided = set(shown)
        for entry in feed:
            for comment in entry["comments"]:
                shown.add(comment["id"])
                if comment["status"] != "pending":
                    decided.add(comment["id"])
        numbers: list[int] = []
        for number, sample in self.samples.items():
            if not sample.ok:
                continue
            if sample.id in shown:
                numbers.append(number)
            elif not (degraded and sample.post_id):
                acknowledged_s = sample.intended_s + (sample.latency_ms or 0.0) / 1_000
                if (age_s := sent_s - acknowledged_s) > self.stale_s:
                    self.stale_s = age_s
                    self.stale_writes.add(number)
            if (
                self._seen_s.get(number, inf) < sent_s
                and sample.id not in decided
                and not (degraded and sample.post_id)
            ):
                sample.went_back += 1
                sample.reader_went_back += 1
            elif sample.id in decided:
                self._seen_s.setdefault(number, self.loop.now_s)
        if self.recorder:
            self.recorder.moment("feed", CLIENT, "", tuple(numbers))

    # ── The end

    def _finish_at(self, at_s: float) -> None:
        """Mend everything at this time, then wait until nothing is on its way."""

        def mend() -> None:
            self.settled_s = self.loop.now_s
            self._crash_plans.clear()
            for disk in (*self.stage.disks.values(), self.stage.log_disk):
                disk.writer.refuse_in = 0
            for node in self.network.nodes.values():
                if isinstance(node, ServiceProcess):
                    node.filter.clear()
            self.network.heal()
            self._start_all()
            if self._log_checked_s == inf:
                self._log_checked_s = self.loop.now_s + 3 * IDLE_S
            elif not self.stage.variant.is_chain:  # once, each relay compares the log
                self._log_checked_s = self.loop.now_s + IDLE_S + _CHECK_S
            if self.recorder:
                self.recorder.moment("healed", CLIENT, "everything")
            self.loop.call_later(_CHECK_S, check, context=contextvars.Context())

        def check() -> None:
            self.is_quiet = self._all_quiet()
            if self.is_quiet or self.loop.now_s > self.settled_s + SETTLE_S:
                self.end_s = self.loop.now_s
                return
            self.loop.call_later(_CHECK_S, check, context=contextvars.Context())

        self.loop.call_at(at_s, mend, context=contextvars.Context())

    def _all_quiet(self) -> bool:
        """Whether nothing is on its way, every process is running, and no relay has yet to notice
        that its log has lost something."""
        return (
            self.network.in_flight == 0
            and self.loop.now_s >= self._log_checked_s
            and not self._unanswered
            and all(
                node.state.alive and (node is self.client or node.is_quiet())  # type: ignore[attr-defined]
                for node in self.network.nodes.values()
            )
        )

    @property
    def stuck(self) -> int:
        """How many services wait behind an event that they cannot apply."""
        return sum(
            node.is_stuck()
            for node in self.network.nodes.values()
            if isinstance(node, ServiceProcess)
        )

    def close(self) -> None:
        self._closed = True
        model.clock = time
        for node in self.network.nodes.values():
            node.state.alive = False
        self.loop.close()
        with suppress(sqlite3.Error):
            for disk in self.stage.disks.values():
                disk.writer.at_commit = None
        for node in self.network.nodes.values():
            vars(node).clear()  # cycles: a collection of them would take a fifth of the time
        vars(self.network).clear()


_EVENT_FAULTS = {"duplicate": DuplicateFault, "drop": DropFault, "reorder": ReorderFault}


def split_query(path: str) -> tuple[str, dict[str, str]]:
    """A path and its query."""
    path, _, query = path.partition("?")
    return path, dict(parse_qsl(query))
