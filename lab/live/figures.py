"""The figures of one pane, measured over its newest ticks: what the commentary speaks about."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.domain.services import BUS, CALLERS_OF, MONOLITH
from lab.live.panes import Pane
from lab.load.metrics import percentile

FIGURES_WINDOW_S = 3.0
_RECENT_TICKS = 10

CALLEES = {
    service: tuple(callee for callee, callers in CALLERS_OF.items() if service in callers)
    for service in CALLERS_OF
}
"""The services that each service calls, where services request data from each other."""


@dataclass(frozen=True)
class ObservedFault:
    """An active fault of a pane. `sender`: the service that a partition cuts off from the target;
    `ms`: what a latency adds."""

    kind: str
    target: str
    sender: str = ""
    ms: float = 0.0


@dataclass(frozen=True)
class PaneFigures:
    """The figures of one pane.

    `tells`: its services publish events and keep copies; `by_events`: its services ask over the
    bus. `reads`, `posts`, `comments`: the share of successes (0 to 1), None without a response, or
    with none for a second while some request waits; the `_error` of each is its most frequent
    error. `read_ms`, `answered_ms`, `visible_ms`: medians of the medians of each tick (100 ms).
    `waiting`: requests without a response yet. `down`, `hanging`: targets that are so in the last
    tick. `queues`: the targets with requests that wait for a worker, and how many, the longest
    first. `fullest_outbox`, `slowest_consumer`: the service and its number of events. `unseen`:
    acknowledged writes that readers do not see, of them `missing` for good. `healed_ago_s`: seconds
    since the last fault was healed, None if one is active or there was none."""

    name: str
    tells: bool
    by_events: bool
    one_process: bool
    reads: float | None
    posts: float | None
    comments: float | None
    read_error: str
    post_error: str
    comment_error: str
    read_ms: float | None
    answered_ms: float | None
    visible_ms: float | None
    waiting: int
    feed_age_s: float
    unseen: int
    missing: int
    down: tuple[str, ...]
    hanging: tuple[str, ...]
    queues: tuple[tuple[str, int], ...]
    fullest_outbox: tuple[str, int]
    slowest_consumer: tuple[str, int]
    faults: tuple[ObservedFault, ...] = ()
    healed_ago_s: float | None = None

    @property
    def unavailable(self) -> tuple[str, ...]:
        """The targets that are down or hang."""
        return (*self.down, *self.hanging)

    def callees_of(self, service: str) -> tuple[str, ...]:
        """The services that the service calls in this pane; none where services keep copies, or
        share a process."""
        return () if self.tells or self.one_process else CALLEES.get(service, ())

    def path_of(self, service: str) -> tuple[str, ...]:
        """The service and those that it calls: without each of them its requests fail."""
        return (service, *self.callees_of(service), *((BUS,) if self.by_events else ()))


def measure_pane(
    pane: Pane,
    pane_ticks: Sequence[Mapping[str, Any]],
    faults: Sequence[Mapping[str, Any]] = (),
    healed_ago_s: float | None = None,
) -> PaneFigures:
    """The figures from one pane's part of some ticks: at least one, the newest last. `faults`: the
    active faults of the pane, as a screen gets them."""
    newest = pane_ticks[-1]
    nodes: Mapping[str, Mapping[str, Any]] = newest["nodes"]
    queues = [(name, node["queue"]) for name, node in nodes.items() if node["queue"]]
    arrangement = pane.resolved_arrangement
    return PaneFigures(
        name=pane.name,
        tells=arrangement.ask_by is None,
        by_events=arrangement.ask_by == "events",
        one_process=arrangement.name == MONOLITH,
        **{kind: _success_share(pane_ticks, kind) for kind in ("reads", "posts", "comments")},
        read_error=_main_error(pane_ticks, "reads"),
        post_error=_main_error(pane_ticks, "posts"),
        comment_error=_main_error(pane_ticks, "comments"),
        read_ms=_recent_median(pane_ticks, "read_ms"),
        answered_ms=_recent_median(pane_ticks, "answered_ms"),
        visible_ms=_recent_median(pane_ticks, "visible_ms"),
        waiting=newest["waiting"],
        feed_age_s=newest["feed_age_ms"] / 1_000,
        unseen=newest["unseen"],
        missing=newest["missing"],
        down=tuple(name for name, node in nodes.items() if node["up"] is False),
        hanging=tuple(name for name, node in nodes.items() if node["up"] == "hangs"),
        queues=tuple(sorted(queues, key=lambda entry: -entry[1])),
        fullest_outbox=_largest(nodes, "untold"),
        slowest_consumer=_largest(nodes, "lag"),
        faults=tuple(
            ObservedFault(
                fault["kind"],
                fault["target"],
                fault["options"].get("from", ""),
                fault["options"].get("ms", 0.0),
            )
            for fault in faults
        ),
        healed_ago_s=healed_ago_s,
    )


def _success_share(pane_ticks: Sequence[Mapping[str, Any]], kind: str) -> float | None:
    recent = pane_ticks[-_RECENT_TICKS:]
    if len(recent) == _RECENT_TICKS and all(
        tick["waiting"] and not tick[kind]["ok"] + tick[kind]["failed"] for tick in recent
    ):
        return None  # older responses say nothing: for a second, requests have only waited
    ok = sum(tick[kind]["ok"] for tick in pane_ticks)
    responses = ok + sum(tick[kind]["failed"] for tick in pane_ticks)
    return ok / responses if responses else None


def _main_error(pane_ticks: Sequence[Mapping[str, Any]], kind: str) -> str:
    errors: Counter[str] = Counter()
    for tick in pane_ticks:
        errors.update(tick[kind]["errors"])
    return errors.most_common(1)[0][0] if errors else ""


def _recent_median(pane_ticks: Sequence[Mapping[str, Any]], name: str) -> float | None:
    medians = [tick[name]["p50"] for tick in pane_ticks if tick[name]]
    return percentile(medians[-_RECENT_TICKS:], 50)


def _largest(nodes: Mapping[str, Mapping[str, Any]], name: str) -> tuple[str, int]:
    counts = [(node, state[name]) for node, state in nodes.items() if state[name] and node != BUS]
    return max(counts, key=lambda entry: entry[1], default=("", 0))
