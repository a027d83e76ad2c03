"""A fault filter by itself: the faults it accepts, what they hit, and how they are removed."""

import json
from typing import Any

import pytest

from lab.domain.errors import Invalid
from lab.faults.filter import FaultFilter
from lab.faults.kinds import Visitor, parse_fault
from lab.service.control_routes import control_routes


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        ("latencey", {}, "Did you mean 'latency'"),
        ("fire", {}, "Known: down, hang"),
        ("latency", {}, "needs 'ms'"),
        ("latency", {"ms": -1}, "ms = -1"),
        ("latency", {"ms": "soon"}, "ms = 'soon'"),
        ("latency", {"ms": 1, "jitter": 5}, "Did you mean 'jitter_ms'"),
        ("error", {"status": 200}, "status = 200"),
        ("error", {"probability": 1.5}, "probability = 1.5"),
        ("error", {"first": 0}, "first = 0"),
        ("down", {"probability": 0.5}, "takes no options"),
        ("hang", {"first": 1}, "takes no options"),
        ("down", {}, "not on its requests"),
        ("hang", {}, "not on its requests"),
    ],
)
def test_a_fault_that_fits_no_filter_is_refused_with_advice(
    kind: str, options: dict[str, Any], says: str
) -> None:
    fault_filter = FaultFilter()
    put = next(route for route in control_routes(fault_filter, dict) if route.method == "PUT")
    order = json.dumps({"kind": kind, "target": "posts", "options": options}).encode()
    with pytest.raises(Invalid) as refused:
        put.handler(**put.arguments({"name": "x"}, {}, order))
    assert says in refused.value.detail
    assert fault_filter.evidence() == {}


def hits(request_count: int, **options: Any) -> list[bool]:
    """For each request, whether an `error` fault with these options hits it."""
    fault_filter = FaultFilter()
    fault_filter.add("x", parse_fault("error", "posts", options), seed=7)
    return [bool(fault_filter.decide().fault_names) for _ in range(request_count)]


def test_a_fault_hits_its_share_of_the_requests() -> None:
    assert 20 < sum(hits(400, probability=0.1)) < 80


def test_a_fault_for_the_first_two_requests_hits_no_other() -> None:
    assert hits(4, first=2) == [True, True, False, False]


async def test_a_replaced_fault_releases_the_requests_it_held() -> None:
    fault_filter = FaultFilter()
    fault_filter.add("x", parse_fault("timeout", "posts", {}), seed=1)
    effect = fault_filter.decide()
    assert effect.unanswered
    replaced = fault_filter._active["x"]
    fault_filter.add("x", parse_fault("error", "posts", {"status": 500}), seed=1)
    assert replaced.removed.is_set()
    assert fault_filter.decide().status == 500
    assert fault_filter.remove("x") == {"visitors": 1, "acted": 1}
    assert fault_filter.remove("x") is None
    assert fault_filter.decide().fault_names == []


@pytest.mark.parametrize(
    ("kind", "options"),
    [("latency", {"ms": 1}), ("error", {}), ("timeout", {}), ("reset_peer", {})],
)
def test_a_delivery_is_hit_once_or_once_for_each_event(kind: str, options: dict[str, Any]) -> None:
    fault_filter = FaultFilter()
    fault_filter.add("all", parse_fault(kind, "comments", options), seed=1)
    assert not fault_filter.hits_each_event
    fault_filter.add("each", parse_fault(kind, "comments", options | {"per_event": True}), seed=1)
    assert fault_filter.hits_each_event
    visitors: list[Visitor] = ["request", "delivery", "event", "event", "event"]
    for visitor in visitors:
        fault_filter.decide("event-bus", visitor)
    once, per_event = fault_filter.remove("all") or {}, fault_filter.remove("each") or {}
    assert (once["visitors"], once["acted"]) == (2, 2)
    assert (per_event["visitors"], per_event["acted"]) == (4, 4)
