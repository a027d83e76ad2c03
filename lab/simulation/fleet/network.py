"""Builds the network of a variant: its stations, handlers, calls, events and faults.

Who calls and who consumes what is that of the lab (`lab/cluster/arrangements.py`,
`lab/domain/services.py`). What is added is size: shards, hops, and as many processes of a service
as a fleet needs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np

from lab.domain.services import BUS, EVENT_CONSUMERS, MONOLITH, PUBLISHER_OF, SERVICES
from lab.simulation.fleet import world as arrays
from lab.simulation.fleet.fleets import Fleet
from lab.simulation.fleet.parameters import Empirical, Parameters
from lab.simulation.fleet.world import CALL, COMMIT, END, READ, RUN, TELL, TELL_ONCE

ACTIONS = ("read_feed", "create_post", "create_comment")
ROLES = (*SERVICES, "hop", BUS, MONOLITH)
BACKOFFS = {"none": (0.0, 0.0), "exponential": (0.05, 0.0), "jitter": (0.05, 0.1)}
"""As `lab/sync_chain/resilience/retries.py`: the first wait and the largest random addition, s."""
DEFAULT_BUDGET = 0.1
COMPUTED = 0.1
"""The quantile of a handler's own time that counts as computation. Its spans have the wall clock's
time: on a busy machine most of that is a wait for the disk or for a core."""


@dataclass
class _Plan:
    """What is known of a station before its processes are counted. `held`, `computed`: how
    many workers, and how many cores, its load keeps busy on average."""

    role: str
    name: str
    shard: int
    held: float = 0.0
    computed: float = 0.0
    processes: int = 1


@dataclass
class Network:
    """A world under construction, and what its numbers mean."""

    parameters: Parameters
    world: Any
    stations: list[_Plan] = field(default_factory=list)
    by_name: dict[tuple[int, str], int] = field(default_factory=dict)
    connections: int = 0
    calls_per_s: float = 0.0
    events_per_s: float = 0.0
    _dists: dict[tuple[float, ...], int] = field(default_factory=dict)
    _values: int = 0
    _steps: int = 0
    _handlers: int = 0
    _targets: int = 0
    _policies: int = 0
    _edges: dict[tuple[int, int], int] = field(default_factory=dict)
    _hold_s: list[float] = field(default_factory=list)
    _handler_station: list[int] = field(default_factory=list)
    _handler_bench_s: list[float] = field(default_factory=list)
    _calls: list[list[tuple[int, float]]] = field(default_factory=list)
    _mean_s: list[float] = field(default_factory=list)

    def dist(self, of: Empirical) -> int:
        """The number of a distribution."""
        key = of.quantiles_ms
        if key not in self._dists:
            number = self._dists[key] = len(self._dists)
            values = self.world["values"]
            values[self._values : self._values + len(key)] = [ms / 1_000 for ms in key]
            self.world["dist_at"][number] = self._values
            self.world["dist_n"][number] = len(key)
            self._values += len(key)
            self._mean_s.append(of.mean_ms / 1_000)
        return self._dists[key]

    def mean_s(self, dist: int) -> float:
        return self._mean_s[dist]

    def station(self, role: str, name: str, shard: int) -> int:
        number = len(self.stations)
        if number >= arrays.MOST_STATIONS:
            raise ValueError(f"a fleet has at most {arrays.MOST_STATIONS} services and buses.")
        self.stations.append(_Plan(role, name, shard))
        self.by_name[shard, name] = number
        self.world["role"][number] = ROLES.index(role)
        return number

    def handler(self, station: int, steps: Sequence[tuple[int, int, int, int]]) -> int:
        """A handler of a station; steps as `world` has them, without the last END."""
        number, world = self._handlers, self.world
        self._handlers += 1
        world["first_op"][number] = self._steps
        bench_s = hold_s = 0.0
        calls: list[tuple[int, float]] = []
        for step in (*steps, (END, 0, 0, 0)):
            world["op"][self._steps] = step
            self._steps += 1
            if step[0] == RUN:
                hold_s += self.mean_s(step[1])
                bench_s += self.mean_s(step[1]) if step[2] else 0.0
            elif step[0] == CALL:
                waits = []
                for target in range(step[1], step[2]):
                    callee = int(world["tgt"][target, 1])
                    share = float(world["tgt_share"][target])
                    net_s = self.mean_s(int(world["tgt"][target, 3]))
                    waits.append(share * (self._hold_s[callee] + net_s))
                    calls.append((callee, share))
                hold_s += max(waits, default=0.0)
        self._hold_s.append(hold_s)
        self._handler_bench_s.append(bench_s)
        self._handler_station.append(station)
        self._calls.append(calls)
        return number

    def targets(self, caller: int, callees: Iterable[tuple[int, int, float]], net: int) -> int:
        """Add targets of one step: (station, handler, share); returns the first one's number."""
        first, world = self._targets, self.world
        for station, handler, share in callees:
            if self._targets >= arrays.MOST_EDGES:
                raise ValueError(f"a fleet has at most {arrays.MOST_EDGES} calls between services.")
            edge = self._edges.setdefault((caller, station), len(self._edges))
            world["tgt"][self._targets] = (station, handler, edge, net)
            world["tgt_share"][self._targets] = share
            world["group"][self._targets] = self.stations[station].shard
            self._targets += 1
        return first

    def call(
        self, caller: int, callees: Sequence[tuple[int, int, float]], net: int, policy: int
    ) -> tuple[int, int, int, int]:
        """The step that calls others side by side, and waits for all of them."""
        first = self.targets(caller, callees, net)
        return CALL, first, self._targets, policy

    def policy(self, **values: float) -> int:
        row = {"budget": -1.0, "timeout_s": 1e9, **values}
        number = self._policies
        self._policies += 1
        self.world["policy"][number] = [row.get(name, 0.0) for name in arrays.POLICY]
        return number

    @property
    def queues(self) -> int:
        return 2 * self._policies

    def spread_load(self, visits: Mapping[int, float]) -> None:
        """Count a load, in visits of handlers a second, on all that these handlers call."""
        load = np.zeros(self._handlers)
        for handler, a_second in visits.items():
            load[handler] += a_second
        for handler in reversed(
            range(self._handlers)
        ):  # a callee is always built before its caller
            for callee, share in self._calls[handler]:
                load[callee] += load[handler] * share
            plan = self.stations[self._handler_station[handler]]
            plan.held += float(load[handler]) * self._hold_s[handler]
            plan.computed += float(load[handler]) * self._handler_bench_s[handler]
        self.calls_per_s = float(load.sum())

    def staff(self, workers: Mapping[str, int], cores: int, busy: float | None) -> None:
        """Give every station its workers and its processes: as many as keep it `busy` at most; one
        with None."""
        for number, plan in enumerate(self.stations):
            each = workers.get(plan.role, self.parameters.workers)
            if busy:
                plan.processes = max(
                    1, ceil(plan.held / (busy * each)), ceil(plan.computed / (busy * cores))
                )
            self.world["workers"][number] = each * plan.processes
            self.world["cores"][number] = cores * plan.processes

    @property
    def processes(self) -> int:
        return sum(plan.processes for plan in self.stations)

    @property
    def shards(self) -> int:
        return 1 + max(plan.shard for plan in self.stations)

    @property
    def services(self) -> int:
        """The number of services; a bus is none."""
        return sum(plan.role != BUS for plan in self.stations)


# ── A variant


@dataclass(frozen=True)
class Switches:
    """The options of a variant, with the defaults of the lab."""

    options: Mapping[str, Any]
    parameters: Parameters

    def policy(self, *, get: bool = True, fallback: bool = False) -> dict[str, float]:
        """The policy of a caller, by its columns."""
        of = self.options
        wait_s, jitter_s = BACKOFFS[of.get("backoff", "none")]
        budget = of.get("retry_budget")
        workers = of.get("workers", self.parameters.workers)
        return {
            "timeout_s": of.get("timeout_ms", self.parameters.ask_timeout_ms) / 1_000,
            "retries": of.get("retries", 0),
            "wait_s": wait_s,
            "jitter_s": jitter_s,
            "budget": -1.0 if budget is None else round(1_000 * float(budget)),
            "breaker": float(of.get("breaker", False)),
            "permits": max(1, workers // 2) if of.get("bulkhead") else 0.0,
            "hedge_s": of.get("hedge", 0) / 1_000 if get else 0.0,
            "fallback": float(bool(of.get("fallback")) and fallback),
            "deadline": float(of.get("deadline", False)),
        }

    def of_service(self, name: str, service: str) -> float:
        """`work_ms` or `apply_ms` of a service; 0 without one."""
        value = self.options.get(name, 0.0)
        return float(value.get(service, 0.0) if isinstance(value, Mapping) else value)


class _Builder:
    """Builds one variant into a network."""

    def __init__(self, network: Network, fleet: Fleet, switches: Switches) -> None:
        self.net, self.fleet, self.switches = network, fleet, switches
        self.entries: dict[str, list[tuple[int, int]]] = {action: [] for action in ACTIONS}
        p = network.parameters
        self.from_service = network.dist(p.network_ms["service"])
        self.from_client = network.dist(p.network_ms["client"])

    def run(
        self, arrangement: str, service: str, operation: str
    ) -> list[tuple[int, int, int, int]]:
        """The steps of a handler without calls: its turn at the single server, its own time."""
        return [*self._work(service), *self._own(arrangement, service, operation)]

    def request_reply(self) -> None:
        """The handlers of the chain; their calls are events."""
        net, p = self.net, self.net.parameters
        both_ways_ms = 2 * p.publish_ms.mean_ms
        way = p.network_ms["question"].quantiles_ms
        self.from_service = net.dist(Empirical(tuple(max(0.0, ms - both_ways_ms) for ms in way)))
        self.chain(by_events=1.0)
        of_shard: dict[int, list[int]] = defaultdict(list)
        for number, plan in enumerate(net.stations):
            of_shard[plan.shard].append(number)
        for shard, members in of_shard.items():
            self._bus(shard, members)

    def _bus(self, shard: int, members: Iterable[int]) -> None:
        """The bus of a shard, to which these services publish."""
        net, world = self.net, self.net.world
        world["bus_station"][shard] = net.station(BUS, BUS, shard)
        world["publish"][shard] = net.dist(net.parameters.publish_ms)
        for member in members:
            world["relay_bus"][member] = shard

    def chain(self, by_events: float = 0.0) -> None:
        """Services that call each other: `sync-chain`."""
        net, fleet = self.net, self.fleet
        plain = net.policy(**self.switches.policy(), by_events=by_events)
        post = net.policy(**self.switches.policy(get=False), by_events=by_events)
        feed = net.policy(**self.switches.policy(fallback=True), by_events=by_events)
        listing: list[tuple[int, int]] = []
        starts: list[list[tuple[int, int]]] = []
        of_shard: list[dict[str, int]] = []
        for shard in range(fleet.shards):
            at = {name: net.station(name, name, shard) for name in SERVICES}
            of_shard.append(at)

            def leaf(
                service: str,
                operation: str,
                *more: tuple[int, int, int, int],
                at: dict[str, int] = at,
            ) -> int:
                steps = self.run("sync-chain", service, operation)
                return net.handler(at[service], [*steps, *more])

            get_post, list_posts = leaf("posts", "get_post"), leaf("posts", "list_posts")
            judge, comments = leaf("moderation", "judge"), leaf("comments", "list_comments")
            create_post = leaf("posts", "create_post", (COMMIT, 0, 0, 0))
            create_comment = net.handler(
                at["comments"],
                [
                    *self._work("comments"),
                    net.call(
                        at["comments"], [(at["posts"], get_post, 1.0)], self.from_service, plain
                    ),
                    net.call(
                        at["comments"], [(at["moderation"], judge, 1.0)], self.from_service, post
                    ),
                    *self._own("sync-chain", "comments", "create_comment"),
                    (COMMIT, 0, 0, 0),
                ],
            )
            starts.append(self._hops(shard, (at["comments"], comments), plain))
            listing.append((at["comments"], comments))
            self.entries["create_post"].append((at["posts"], create_post))
            self.entries["create_comment"].append((at["comments"], create_comment))
            at["list_posts"] = list_posts
        for shard, at in enumerate(of_shard):
            query = at["query"]
            shards = [(shard + k) % fleet.shards for k in range(fleet.feed_shards)]
            for start in range(len(fleet.starts)):
                asked = [starts[one][start] for one in shards]
                if fleet.beside:
                    asked += [listing[one] for one in shards]
                others = [(*callee, 1.0) for callee in asked] * fleet.feed_width
                posts = [(at["posts"], at["list_posts"], 1.0)]
                read_feed = net.handler(
                    query,
                    [
                        *self._work("query"),
                        net.call(query, posts, self.from_service, plain),
                        net.call(query, others, self.from_service, feed),
                        *self._own("sync-chain", "query", "read_feed"),
                    ],
                )
                self.entries["read_feed"].append((query, read_feed))

    def _work(self, service: str) -> list[tuple[int, int, int, int]]:
        """The turn at the single server, which comes before the calls."""
        work_ms = self.switches.of_service("work_ms", service)
        return [(RUN, self.net.dist(Empirical.constant(work_ms)), 1, 0)] if work_ms else []

    def _own(
        self, arrangement: str, service: str, operation: str
    ) -> list[tuple[int, int, int, int]]:
        """A handler's own time. Its least part is what it computes, on the bench (beside a single
        server: not); what it takes on top is the disk and the scheduler, and holds no other up."""
        own = self.net.parameters.handler(arrangement, f"{service}.{operation}")
        copies = (arrangement, operation) == ("async-bus", "read_feed")
        parts = [operation == "list_posts" or copies, operation == "list_comments" or copies]
        reads = [(READ, part, 0, 0) for part, read in enumerate(parts) if read]
        if self.switches.of_service("work_ms", service):
            return [*reads, (RUN, self.net.dist(own), 0, 0)]
        least_ms = own.quantile(COMPUTED)
        rest = Empirical(tuple(max(0.0, ms - least_ms) for ms in own.quantiles_ms))
        return [
            (RUN, self.net.dist(Empirical.constant(least_ms)), 1, 0),
            *reads,
            (RUN, self.net.dist(rest), 0, 0),
        ]

    def _hops(self, shard: int, comments: tuple[int, int], policy: int) -> list[tuple[int, int]]:
        """The services between `query` and its data, the callees first; returns what `query` calls
        for each start."""
        net, found = self.net, {"": comments}
        for hop in reversed(self.fleet.hops):
            station = net.station("hop", hop.name, shard)
            steps = self._work(hop.name)
            for name in hop.parts:
                part = found[name][0], self._part(found[name][0]), 1.0
                steps.append(net.call(station, [part], self.from_service, policy))
            callees = [(*found[name], 1.0) for name in hop.calls]
            if callees:
                steps.append(net.call(station, callees, self.from_service, policy))
            steps += self._own("sync-chain", "hop", "forward")
            found[hop.name] = station, net.handler(station, steps)
        return [found[name] for name in self.fleet.starts]

    def _part(self, station: int) -> int:
        return self.net.handler(station, self._own("sync-chain", "hop", "part"))

    def monolith(self) -> None:
        """All services in one process: their calls are function calls."""
        net = self.net
        for shard in range(self.fleet.shards):
            station = net.station(MONOLITH, MONOLITH, shard)

            def whole(*parts: tuple[str, str], commit: bool = False, station: int = station) -> int:
                steps = [step for part in parts for step in self.run(self.of_monolith, *part)]
                return net.handler(station, [*steps, *([(COMMIT, 0, 0, 0)] if commit else [])])

            feed = (("posts", "list_posts"), ("comments", "list_comments"), ("query", "read_feed"))
            comment = (
                ("posts", "get_post"),
                ("moderation", "judge"),
                ("comments", "create_comment"),
            )
            self.entries["read_feed"].append((station, whole(*feed)))
            self.entries["create_post"].append(
                (station, whole(("posts", "create_post"), commit=True))
            )
            self.entries["create_comment"].append((station, whole(*comment, commit=True)))

    @property
    def of_monolith(self) -> str:
        """The arrangement whose times the monolith has: its own, if they were measured."""
        known = any(name.startswith("monolith/") for name in self.net.parameters.handler_ms)
        return "monolith" if known else "sync-chain"

    def bus(self) -> None:
        """Services with copies, which learn from events: `async-bus`."""
        net, world, p = self.net, self.net.world, self.net.parameters
        publish, delivery = net.dist(p.publish_ms), net.dist(p.delivery_ms)
        once = self.switches.options.get("outbox", True) is False
        types = subs = consumers = 0
        for shard in range(self.fleet.shards):
            at = {name: net.station(name, name, shard) for name in SERVICES}
            for hop in self.fleet.hops:
                at[hop.name] = net.station("hop", hop.name, shard)
            self._bus(shard, at.values())
            number_of: dict[str, int] = {}
            way = [
                (one.publisher, one.event, one.consumer, one.then) for one in _events(self.fleet)
            ]
            known = {
                (publisher, event): types + k
                for k, (publisher, event) in enumerate(dict.fromkeys((a, b) for a, b, _, _ in way))
            }
            for (publisher, event), kind in known.items():
                world["sub_at"][kind, 0] = subs
                for one in way:
                    if one[:2] != (publisher, event):
                        continue
                    consumer = one[2]
                    if consumer not in number_of:
                        number_of[consumer] = consumers
                        role = "hop" if consumer.startswith("hop") else consumer
                        apply_ms = self.switches.of_service("apply_ms", consumer)
                        batch = (
                            Empirical.constant(0)
                            if apply_ms
                            else p.batch_ms.get(role, p.batch_ms["query"])
                        )
                        world["consumer"][consumers] = (
                            *(at[consumer], shard, delivery, net.dist(batch)),
                            *(bool(apply_ms), ROLES.index(role)),
                        )
                        consumers += 1
                    effect = arrays.NOTHING
                    if one[3] == "visible":
                        effect = arrays.VISIBLE
                    elif one[3]:
                        effect = arrays.TELLS + known[consumer, one[3]]
                    world["sub"][subs] = number_of[consumer], effect, self._apply(consumer, event)
                    subs += 1
                world["sub_at"][kind, 1] = subs
            types += len(known)
            tell = TELL_ONCE if once else TELL
            for service, operation, event in (
                ("query", "read_feed", ""),
                ("posts", "create_post", "PostCreated"),
                ("comments", "create_comment", "CommentCreated"),
            ):
                steps = self.run("async-bus", service, operation)
                if event and once:
                    steps.append((RUN, publish, 0, 0))
                if event:
                    steps.append((tell, known[service, event], 0, 0))
                handler = net.handler(at[service], steps)
                self.entries[operation].append((at[service], handler))
        world["consumers"] = consumers

    def _apply(self, consumer: str, event: str) -> int:
        apply_ms = self.switches.of_service("apply_ms", consumer)
        if apply_ms:
            return self.net.dist(Empirical.constant(apply_ms))
        known = self.net.parameters.apply_ms
        own = known.get(f"{consumer}.{event}") or known.get(f"hop.{event}")
        return self.net.dist(own or known["query.CommentCreated"])


@dataclass(frozen=True)
class _Way:
    """One subscription: what a consumer does with an event of a publisher. `then`: the event that
    it publishes, "visible", or ""."""

    publisher: str
    event: str
    consumer: str
    then: str = ""


def _events(fleet: Fleet) -> list[_Way]:
    """All subscriptions of a shard. Comments pass the hops from the last to the first."""
    following = {"CommentCreated": "CommentModerated", "CommentModerated": "CommentUpdated"}
    ways = []
    for event, consumers in EVENT_CONSUMERS.items():
        for consumer in consumers:
            then = following.get(event, "") if consumer != "query" else ""
            if consumer == "query":
                then = "" if event == "CommentCreated" else "visible"
            if consumer == "query" and event != "PostCreated" and fleet.copies:
                continue
            ways.append(_Way(PUBLISHER_OF[event], event, consumer, then))
    for event in ("CommentCreated", "CommentUpdated") if fleet.copies else ():
        shown = "visible" if event == "CommentUpdated" else ""
        for publisher, consumer in fleet.copies:
            then = shown if consumer == "query" else event
            ways.append(_Way(publisher or "comments", event, consumer, then))
    return ways


def build(
    arrangement: str,
    options: Mapping[str, Any],
    fleet: Fleet,
    parameters: Parameters,
    rates: Mapping[str, float],
    client: Mapping[str, float],
    seed: int,
) -> Network:
    """The network of a variant.

    `rates`: requests a second by action, which decide how many processes a fleet needs; `client`:
    `timeout_s` and `retries` of the client. Raises ValueError where the fleet is too large.
    """
    network = Network(parameters, arrays.new_world(seed))
    world = network.world
    deadline = float(options.get("deadline", False))
    network.policy(timeout_s=client["timeout_s"], deadline=deadline)
    network.policy(
        timeout_s=client["timeout_s"], retries=client["retries"], only_unknown=1, deadline=deadline
    )
    builder = _Builder(network, fleet, Switches(options, parameters))
    builders = {
        "sync-chain": builder.chain,
        "request-reply": builder.request_reply,
        "async-bus": builder.bus,
        "monolith": builder.monolith,
    }
    builders[arrangement]()
    entries, visits = 0, {}
    for kind, action in enumerate(ACTIONS):
        places = builder.entries[action]
        first = network.targets(-1, [(*place, 1.0) for place in places], builder.from_client)
        world["entry"][kind] = entries, entries + len(places)
        for number, place in enumerate(places):
            world["entry_tgt"][entries] = first + number
            entries += 1
            visits[place[1]] = rates.get(action, 0.0) / len(places)
    network.spread_load(visits)
    if arrangement == "async-bus":
        ways = _events(fleet)
        posts = sum(one.event == "PostCreated" for one in ways)
        network.events_per_s = rates.get("create_post", 0.0) * posts
        network.events_per_s += rates.get("create_comment", 0.0) * (len(ways) - posts)
    own = {"hop": max(8, 2 * options["width"])} if "width" in options else {}
    workers = dict.fromkeys(ROLES, int(options["workers"])) if "workers" in options else own
    network.staff(workers, parameters.cores, fleet.busy)
    per_process = options.get("workers", parameters.workers)
    network.connections = sum(
        network.stations[caller].processes * per_process
        for caller, _ in network._edges
        if caller >= 0
    ) + sum(2 * plan.processes for plan in network.stations if arrangement == "async-bus")
    world["restart"] = network.dist(parameters.restart_ms)
    world["reconnect"] = network.dist(parameters.reconnect_ms)
    world["probed"] = fleet.probed
    world["together"] = parameters.together if fleet.probed else 0.0
    return network
