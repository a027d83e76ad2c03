"""Which faults a fault filter accepts and refuses, and how they are removed."""

import json
from typing import Any

import pytest

from lab.domain.errors import Invalid
from lab.faults.filter import FaultFilter
from lab.faults.kinds import parse_fault
from lab.service.fault_api import control_routes


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
        ("down", {}, "not at its door"),
        ("hang", {}, "not at its door"),
    ],
)
def test_a_fault_that_fits_no_door_is_refused_with_advice(
    kind: str, options: dict[str, Any], says: str
) -> None:
    door = FaultFilter()
    put = next(route for route in control_routes(door, dict) if route.method == "PUT")
    order = json.dumps({"kind": kind, "target": "posts", "options": options}).encode()
    with pytest.raises(Invalid) as refused:
        put.handler(**put.arguments({"name": "x"}, {}, order))
    assert says in refused.value.detail
    assert door.evidence() == {}


async def test_a_replaced_fault_releases_its_visitors() -> None:
    door = FaultFilter()
    door.add("x", parse_fault("timeout", "posts", {}), seed=1)
    visit = door.decide()
    assert visit.unanswered
    hanging = door._active["x"]
    door.add("x", parse_fault("error", "posts", {"status": 500}), seed=1)
    assert hanging.removed.is_set()
    assert door.decide().status == 500
    assert door.remove("x") == {"visitors": 1, "acted": 1}
    assert door.remove("x") is None
    assert door.decide().fault_names == []
