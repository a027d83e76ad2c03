"""The parameters of a simulation, measured in real runs: samples, spans and results of run folders.

Only what happened before the first fault or surge counts, so a fault's effects are computed by the
model and not copied into it. Samples of several runs, and of all variants of an arrangement, are
pooled.

A span of a server covers `queued` (until a worker takes the request), `held` (by an injected
latency), the calls to others, and the handler's own time, which is the rest. A request's network
time is what its caller saw, without own time, calls and `held`; a wait for a worker belongs to the
network only while a worker is free, because the model has the queue itself.

Spans do not show when the bus acknowledges an event. The time from the publisher's commit to the
consumer's first line is measured as a whole, without what the consumer applied meanwhile; its
smallest part (5 %) counts as publish, and the rest as delivery. The commit of a consumer is the
difference between two such times, quantile by quantile: after the commit of a consumer that
publishes, and after that of a request.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from statistics import correlation, fmean, median
from typing import Any

from lab.domain.services import BUS, HOPS, MONOLITH, SERVICES
from lab.load.plan import WARM_UP
from lab.load.samples import BadSamples, read_samples
from lab.results.result import SURGE, ResultError, RunResult, VariantResult
from lab.simulation.fleet.parameters import (
    POINTS,
    BadParameters,
    Empirical,
    Parameters,
    shipped_parameters,
)

OPERATIONS = {
    ("posts", "POST /posts"): "create_post",
    ("posts", "GET /posts/{post_id}"): "get_post",
    ("posts", "GET /posts"): "list_posts",
    ("comments", "POST /posts/{post_id}/comments"): "create_comment",
    ("comments", "GET /comments"): "list_comments",
    ("moderation", "POST /verdicts"): "judge",
    ("query", "GET /feed"): "read_feed",
    ("hop", "GET /comments"): "forward",
    ("hop", "GET /part"): "part",
}
FEWEST_SAMPLES = 10
"""Of a distribution; one with fewer comes from the parameters that come with the lab."""
PUBLISH_SHARE = 0.05
MOST_NAMES = 8

Span = dict[str, Any]


def parameters_from(
    folders: Sequence[Path], base: Parameters | None = None, *, own_faults: bool = True
) -> Parameters:
    """The parameters of runs of one machine.

    `base`: for what these runs did not measure, at their pace; None: what comes with the lab.
    `own_faults`: also take the time of a restart from these runs. Raises BadParameters for a folder
    that is no run's, for a simulated run, and for a run without spans of the lab's services.
    """
    measured = Measured()
    for folder in folders:
        measured += measure(folder)
    return measured.parameters(base, own_faults=own_faults)


def measure(folder: Path) -> Measured:
    """All samples of a run folder. Raises BadParameters if it is none, or that of a simulation."""
    measured = Measured()
    for part in _parts(folder):
        measured.runs.append(_add_run(measured, part))
        measured.folders.append(folder)
    return measured


def _parts(folder: Path) -> list[Path]:
    """The folders of a run that have a load each: itself, its repeats, its isolated variants."""
    parts = sorted({file.parent for file in folder.rglob("load.json")})
    if not parts:
        raise BadParameters(
            f"{folder}: expected a folder of `lab run`, with samples and spans, and saw no "
            "load.json in it. Simulated runs have none."
        )
    return [part for part in parts if not any(part in other.parents for other in parts)]


# ── Samples


def _lists() -> dict[str, list[float]]:
    return defaultdict(list)


@dataclass
class Measured:
    """Samples in ms of one or more runs, by what they are samples of."""

    runs: list[RunResult] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    handler: dict[str, list[float]] = field(default_factory=_lists)
    network: dict[str, list[float]] = field(default_factory=_lists)
    apply: dict[str, list[float]] = field(default_factory=_lists)
    memory: dict[str, list[float]] = field(default_factory=_lists)
    parts: list[tuple[float, ...]] = field(default_factory=list)
    after_request: list[float] = field(default_factory=list)
    after_consumer: list[float] = field(default_factory=list)
    restart: list[float] = field(default_factory=list)
    reconnect: list[float] = field(default_factory=list)

    def __iadd__(self, other: Measured) -> Measured:
        for of in fields(self):
            mine, more = getattr(self, of.name), getattr(other, of.name)
            if isinstance(mine, list):
                mine += more
            else:
                for name, values in more.items():
                    mine[name] += values
        return self

    def parameters(self, base: Parameters | None = None, *, own_faults: bool = True) -> Parameters:
        """The parameters of all these runs; arguments as for `parameters_from`. Raises
        BadParameters without spans."""
        if not self.network["service"] and not self.network["client"]:
            where = ", ".join(str(folder) for folder in self.folders)
            raise BadParameters(
                f"{where}: expected spans of the lab's services from before the first fault, and "
                "saw none. Take a folder of `lab run`, such as that of: lab run calm"
            )
        environment = self.runs[0].environment
        names = list(dict.fromkeys(result.scenario for result in self.runs))
        return replace(
            self._over(base or shipped_parameters(), own_faults),
            machine=f"{environment.get('processor', 'unknown')}, {environment.get('cores', '?')} "
            "cores",
            source=", ".join(names) if len(names) <= MOST_NAMES else f"{len(names)} scenarios",
            measured=self.runs[0].started[:10],
        )

    def _over(self, base: Parameters, own_faults: bool) -> Parameters:
        """The base at the pace of these runs, with all that was measured in its place."""
        handler, network = _distributions(self.handler), _distributions(self.network)
        apply = _distributions(self.apply)
        pace = _pace(
            [(handler, base.handler_ms), (network, base.network_ms), (apply, base.apply_ms)]
        )
        base = base.at_pace(pace)
        restart, reconnect = (self.restart, self.reconnect) if own_faults else ([], [])
        way = _distribution(self.after_request)
        publish, delivery, batch = base.publish_ms, base.delivery_ms, dict(base.batch_ms)
        if way is not None:
            floor = way.quantile(PUBLISH_SHARE)
            publish = Empirical((round(floor, 4),), way.samples)
            delivery = Empirical(
                tuple(round(max(0.0, ms - floor), 4) for ms in way.quantiles_ms), way.samples
            )
            later = _distribution(self.after_consumer)
            if later is not None:
                commit = _difference(later, way)
                batch = dict.fromkeys((*SERVICES, "hop"), commit)
        return replace(
            base,
            handler_ms={**base.handler_ms, **handler},
            network_ms={**base.network_ms, **network},
            publish_ms=publish,
            delivery_ms=delivery,
            apply_ms={**base.apply_ms, **apply},
            batch_ms=batch,
            together=base.together if len(self.parts) < FEWEST_SAMPLES else _together(self.parts),
            restart_ms=Empirical.of(restart) if restart else base.restart_ms,
            reconnect_ms=Empirical.of(reconnect) if reconnect else base.reconnect_ms,
            memory_mib={
                **base.memory_mib,
                **{name: round(median(values), 2) for name, values in self.memory.items()},
            },
        )


def _pace(pairs: Sequence[tuple[Mapping[str, Empirical], Mapping[str, Empirical]]]) -> float:
    """How many times as long as in the base everything took: the median over the medians of what
    both have. A busy machine is slow in what was measured and in what was not."""
    ratios = [
        own.quantile(0.5) / base[name].quantile(0.5)
        for measured, base in pairs
        for name, own in measured.items()
        if name in base and base[name].quantile(0.5) > 0
    ]
    return median(ratios) if ratios else 1.0


def _distribution(values_ms: Sequence[float]) -> Empirical | None:
    return Empirical.of(values_ms) if len(values_ms) >= FEWEST_SAMPLES else None


def _distributions(pools: Mapping[str, Sequence[float]]) -> dict[str, Empirical]:
    found = {name: _distribution(values) for name, values in sorted(pools.items())}
    return {name: of for name, of in found.items() if of is not None}


def _difference(longer: Empirical, shorter: Empirical) -> Empirical:
    """Quantile by quantile, from 0 ms on and in rising order."""
    highest, values = 0.0, []
    for step in range(POINTS):
        share = step / (POINTS - 1)
        highest = max(highest, longer.quantile(share) - shorter.quantile(share))
        values.append(round(highest, 4))
    return Empirical(tuple(values), min(longer.samples, shorter.samples))


def _together(parts: Sequence[tuple[float, ...]]) -> float:
    """From the times of two calls and the own time of their caller, by request: the square root of
    the mean rank correlation (Spearman), because a pair is of one rank if both its times are."""
    ranks = [_ranks(column) for column in zip(*parts, strict=True)]
    found = fmean(correlation(ranks[a], ranks[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    return round(math.sqrt(max(0.0, found)), 3)


def _ranks(values: Sequence[float]) -> list[float]:
    ranks = [0.0] * len(values)
    for rank, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        ranks[place] = float(rank)
    return ranks


# ── A run


@dataclass(frozen=True)
class _Window:
    """What counts of a run: wall-clock seconds, before anything was broken."""

    from_s: float
    until_s: float

    def has(self, span: Span) -> bool:
        return (
            self.from_s <= span["at"]
            and span["at"] + span["ms"] / 1_000 < self.until_s
            and int(span.get("status", 200)) < 400
        )


def _add_run(measured: Measured, folder: Path) -> RunResult:
    home = folder if (folder / "result.json").exists() else folder.parent
    try:
        result = RunResult.load_file(home / "result.json")
        samples = read_samples(folder / "samples.csv")
        started_s = float(json.loads((folder / "load.json").read_text("utf-8"))["started_at_unix"])
    except (OSError, ResultError, BadSamples, ValueError, KeyError) as error:
        raise BadParameters(f"{folder}: no complete run of this version ({error}).") from None
    if result.simulated:
        raise BadParameters(
            f"{folder} is a simulated run, and parameters are measured in real ones. "
            "Take a folder of `lab run`."
        )
    timeline = result.timeline
    if timeline is None or not timeline.stages:
        raise BadParameters(f"{folder}: the result has no timeline. Run it again.")
    for variant in result.variants:
        broken = [one.from_s for one in timeline.windows if _hurts(one, variant.name)]
        window = _Window(
            started_s + timeline.stages[0].from_s,
            started_s + min(broken, default=timeline.stages[-1].until_s),
        )
        spans = list(_spans(folder, variant.name))
        if spans:
            waits = {
                sample.trace: sample.latency_ms - sample.lag_ms  # as if sent in time
                for sample in samples
                if sample.variant == variant.name
                and sample.phase != WARM_UP
                and sample.ok
                and not sample.retried
                and sample.latency_ms is not None
            }
            _add_requests(
                measured, variant, [s for s in spans if s["kind"] == "server"], window, waits
            )
            _add_events(measured, variant, spans, window)
            _add_restarts(measured, variant, spans, started_s)
        if variant.footprint is not None and variant.footprint.memory_mib:
            each = variant.footprint.memory_mib / variant.footprint.processes
            measured.memory[variant.arrangement].append(each)
            if variant.arrangement == "async-bus":
                measured.memory[BUS].append(each)
    return result


def _hurts(window: Any, variant: str) -> bool:
    return variant in window.variants or window.kind == SURGE


def _spans(folder: Path, variant: str) -> Iterator[Span]:
    """All spans of a variant; a killed process can leave an incomplete last line."""
    for file in sorted(folder.glob(f"{variant}.*.spans.ndjson")):
        for line in file.read_text("utf-8").splitlines():
            if line.endswith("}"):
                yield json.loads(line)


# ── Requests


def _add_requests(
    measured: Measured,
    variant: VariantResult,
    spans: Sequence[Span],
    window: _Window,
    waits: Mapping[str, float],
) -> None:
    """Own times of handlers, and network times. `waits`: latencies in ms by trace."""
    workers = int(variant.options.get("workers", 8))
    of_parent: dict[tuple[str, str], list[Span]] = defaultdict(list)
    by_service: dict[str, list[Span]] = defaultdict(list)
    for span in spans:
        of_parent[span["parent"], span["service"]].append(span)
        by_service[span["service"]].append(span)
    free = {id(span) for own in by_service.values() for span in _with_free_worker(own, workers)}
    idle = {id(span) for own in by_service.values() for span in _with_free_worker(own, 1)}
    inside = variant.arrangement == MONOLITH
    for span in spans:
        if not window.has(span):
            continue
        calls = span.get("asked", [])
        own_ms = _in_worker_ms(span) - span.get("held_ms", 0.0) - _covered_ms(calls)
        work_ms = _work_ms(variant, span["service"])
        service = "hop" if span["service"] in HOPS else span["service"]
        name = _operation(service, span["name"])
        if name and (not work_ms or id(span) in idle):
            measured.handler[f"{variant.arrangement}/{name}"].append(max(0.0, own_ms - work_ms))
        if inside:
            for call in calls:
                if inner := _operation(call["whom"], _template(call["what"])):
                    measured.handler[f"{MONOLITH}/{inner}"].append(call["ms"])
        else:
            waits_ms = [
                max(0.0, call["ms"] - _in_worker_ms(callee))
                for call, callee in _pairs(calls, span["span"], of_parent)
                if id(callee) in free
            ]
            by_events = variant.arrangement == "request-reply"
            measured.network["question" if by_events else "service"] += waits_ms
            if len(waits_ms) == 2:
                measured.parts.append((*waits_ms, own_ms))
        if id(span) in free and span["parent"] == span["trace"][:16] and span["trace"] in waits:
            wait_ms = waits[span["trace"]]
            measured.network["client"].append(max(0.0, wait_ms - _in_worker_ms(span)))


def _with_free_worker(spans: Sequence[Span], workers: int) -> Iterator[Span]:
    """The spans at whose begin fewer than `workers` others were under way."""
    begins = sorted(span["at"] for span in spans)
    ends = sorted(span["at"] + span["ms"] / 1_000 for span in spans)
    for span in spans:
        if bisect_left(begins, span["at"]) - bisect_right(ends, span["at"]) < workers:
            yield span


def _in_worker_ms(span: Span) -> float:
    """From the moment that a worker takes it."""
    return float(span["ms"] - span.get("queued_ms", 0.0))


def _covered_ms(calls: Sequence[Mapping[str, Any]]) -> float:
    """The time in which at least one of the calls was under way."""
    covered_ms, until_s = 0.0, 0.0
    for call in sorted(calls, key=lambda call: float(call["at"])):
        end_s = call["at"] + call["ms"] / 1_000
        covered_ms += max(0.0, end_s - max(until_s, call["at"])) * 1_000
        until_s = max(until_s, end_s)
    return covered_ms


def _pairs(
    calls: Sequence[Mapping[str, Any]], parent: str, spans: Mapping[tuple[str, str], Sequence[Span]]
) -> Iterator[tuple[Mapping[str, Any], Span]]:
    """Calls with the spans of their callees, where none is missing and none was repeated."""
    by_callee: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for call in calls:
        by_callee[call["whom"]].append(call)
    for callee, made in by_callee.items():
        served = spans.get((parent, callee), [])
        if len(made) == len(served) and not any("failed" in call for call in made):
            yield from zip(
                sorted(made, key=lambda call: float(call["at"])),
                sorted(served, key=lambda span: float(span["at"])),
                strict=True,
            )


def _operation(service: str, request: str) -> str | None:
    operation = OPERATIONS.get((service, request))
    if operation is None and service == MONOLITH:
        found = [(owner, of) for (owner, text), of in OPERATIONS.items() if text == request]
        service, operation = found[0] if len(found) == 1 else (service, None)
    return f"{service}.{operation}" if operation else None


def _template(request: str) -> str:
    """`GET /posts/1k1h3` as the route it took."""
    path = request.partition("?")[0]
    is_one_post = path.startswith("GET /posts/") and path.count("/") == 2
    return "GET /posts/{post_id}" if is_one_post else path


def _work_ms(variant: VariantResult, service: str) -> float:
    work: Any = variant.options.get("work_ms", 0.0)
    return float(work.get(service, 0.0) if isinstance(work, Mapping) else work)


# ── Events


def _add_events(
    measured: Measured, variant: VariantResult, spans: Sequence[Span], window: _Window
) -> None:
    """Times to apply events, and from a commit to the next consumer."""
    of = variant.options
    by_id = {span["span"]: span for span in spans}
    plain = of.get("outbox", True) and "apply_ms" not in of and of.get("bus", "log") == "log"
    busy: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for span in spans:
        if span["kind"] == "consumer":
            busy[span["service"]].append((span["at"], span["at"] + span["ms"] / 1_000))
    for own in busy.values():
        own.sort()
    for span in spans:
        if span["kind"] != "consumer" or not window.has(span):
            continue
        service = "hop" if span["service"] in HOPS else span["service"]
        measured.apply[f"{service}.{span['name']}"].append(span["ms"])
        publisher = by_id.get(span["parent"])
        if plain and publisher is not None and window.has(publisher):
            published_s = publisher["at"] + publisher["ms"] / 1_000
            # A wait for another event is not the bus's, and the model has that queue itself.
            others = busy[span["service"]]
            if publisher["kind"] == "consumer" and publisher["service"] != span["service"]:
                others = sorted((*others, *busy[publisher["service"]]))
            wait_s = span["at"] - published_s - _overlap_s(others, published_s, span["at"])
            after = (
                measured.after_request if publisher["kind"] == "server" else measured.after_consumer
            )
            after.append(max(0.0, 1_000 * wait_s))


def _overlap_s(times: Sequence[tuple[float, float]], from_s: float, until_s: float) -> float:
    """For how long between two moments at least one of `times`, which are in order, lasts."""
    overlap_s, done_s = 0.0, from_s
    for begin_s, end_s in times[max(0, bisect_left(times, (from_s,)) - 8) :]:
        if begin_s >= until_s:
            break
        overlap_s += max(0.0, min(end_s, until_s) - max(begin_s, done_s))
        done_s = max(done_s, min(end_s, until_s))
    return overlap_s


def _add_restarts(
    measured: Measured, variant: VariantResult, spans: Sequence[Span], started_s: float
) -> None:
    """How long killed processes took to respond again, and then to consume."""
    for fault in variant.faults:
        if fault.kind != "down" or fault.gone_s is None or fault.until_s is None:
            continue
        measured.restart.append(max(0.0, fault.gone_s - fault.until_s) * 1_000)
        gone_s, died_s = started_s + fault.gone_s, started_s + (fault.from_s or 0.0)
        mine = (span for span in spans if fault.target in (span["service"], BUS))
        first = min(
            (s["at"] for s in mine if s["kind"] == "consumer" and s["at"] > died_s + 0.5),
            default=None,
        )
        if first is not None and first < gone_s + 1.0:
            measured.reconnect.append(max(0.0, first - gone_s) * 1_000)
