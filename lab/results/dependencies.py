"""Dependencies between services, read from the spans of a run, and the services' call counts.

The dependencies are measured, not drawn by hand. A service that calls another one needs it in order
to answer. A service that publishes or consumes events needs the bus, but not in order to answer.

The call counts show what happened to the calls between services. A resilience switch that changes
no count did nothing. The counts are read at the end of a run; a process that was killed has lost
the counts it had until then.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.results.result import VariantResult
from lab.service.counters import COUNTERS

if TYPE_CHECKING:
    from lab.cluster.stack import Stack


# ── Dependencies

RecordedSpan = Mapping[str, Any]


def read_dependencies(folder: Path, variant: str) -> dict[str, Any]:
    """The keys `asked` (callees by caller), `on_the_bus` (services that published or consumed) and
    `consumed` (by consumer: "EventType of publisher") of a variant, from the span files of its
    programs in `folder`."""
    by_id: dict[str, RecordedSpan] = {}
    for file in folder.glob(f"{variant}.*.spans.ndjson"):
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                span = json.loads(line)
            except ValueError:
                continue  # A process that was killed may have left an incomplete line.
            by_id[span["span"]] = span
    callees: dict[str, set[str]] = {}
    on_the_bus: set[str] = set()
    consumed: dict[str, set[str]] = {}
    for span in by_id.values():
        parent = by_id.get(span["parent"])
        if span["kind"] == "consumer":
            on_the_bus.add(span["service"])
            if parent:
                on_the_bus.add(parent["service"])
                events = consumed.setdefault(span["service"], set())
                events.add(f"{span['name']} of {parent['service']}")
        elif parent and parent["service"] != span["service"]:
            callees.setdefault(parent["service"], set()).add(span["service"])
    return {
        "asked": {name: sorted(callees[name]) for name in sorted(callees)},
        "on_the_bus": sorted(on_the_bus),
        "consumed": {name: sorted(consumed[name]) for name in sorted(consumed)},
    }


def count_edges(variant: VariantResult) -> int:
    """The number of edges: one for each pair of caller and callee, one for each service on the
    bus."""
    return sum(map(len, variant.asked.values())) + len(variant.on_the_bus)


def count_subscriptions(variant: VariantResult) -> int:
    """The number of dependencies on events: one for each consumer, event type and publisher. A
    consumer stops working when the publisher changes or stops publishing these events."""
    return sum(map(len, variant.consumed.values()))


def count_dependencies(variant: VariantResult) -> int:
    """The number of dependencies on another service: on its answers, or on its events of one type.
    A connection to the bus alone does not count."""
    return sum(map(len, variant.asked.values())) + count_subscriptions(variant)


def count_services(variant: VariantResult) -> int:
    """The number of services that called, were called, published or consumed."""
    return len({*variant.asked, *_flatten(variant.asked.values()), *variant.on_the_bus})


def count_transitive_dependencies(variant: VariantResult) -> int:
    """The number of pairs of services in which one needs the other, directly or through others."""
    return sum(len(_transitive_callees(name, variant.asked)) for name in variant.asked)


def _transitive_callees(name: str, callees: Mapping[str, Iterable[str]]) -> set[str]:
    found: set[str] = set()
    todo = [name]
    while todo:
        new = set(callees.get(todo.pop(), ())) - found
        found |= new
        todo += new
    return found - {name}


def _flatten(lists: Iterable[Iterable[str]]) -> Iterable[str]:
    return (name for names in lists for name in names)


OF_NEEDS: dict[str, Callable[[VariantResult], int]] = {
    "services": count_services,
    "edges": count_edges,
    "hanging": count_transitive_dependencies,
    "subscriptions": count_subscriptions,
    "dependencies": count_dependencies,
}
"""The figures of `VARIANT.web`."""


# ── Call counts

CALL_FIGURES = (*COUNTERS, "given_up")


async def read_call_counts(stack: Stack) -> dict[str, Any]:
    """The keys `asks` and `given_up` of a variant; empty if its services do not ask each other by
    HTTP or by events, or have counted since before the run."""
    if stack.arrangement.ask_by not in ("http", "events") or stack.attached:
        return {}
    services = stack.arrangement.services
    replies = await asyncio.gather(*(stack.state(name) for name in services))
    states = {
        name: state for name, state in zip(services, replies, strict=True) if state is not None
    }
    return {
        "asks": {name: state["asks"] for name, state in states.items() if state.get("asks")},
        "given_up": sum(state.get("given_up", 0) for state in states.values()),
    }


def call_count(variant: VariantResult, figure: str) -> float | None:
    """One of FIGURES, summed over all callers and callees; None if there are no counts."""
    if variant.asks is None or figure == "given_up":
        return variant.given_up
    return sum(
        kinds.get(figure, 0) for by_callee in variant.asks.values() for kinds in by_callee.values()
    )
