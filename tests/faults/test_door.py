"""A fault filter by itself: which requests a fault hits, how many, and until when."""

from typing import Any

from lab.faults.filter import FaultFilter
from lab.faults.kinds import parse_fault


def hit(visitors: int, **options: Any) -> list[bool]:
    door = FaultFilter()
    door.add("x", parse_fault("error", "posts", options), seed=7)
    return [bool(door.decide().fault_names) for _ in range(visitors)]


def test_a_fault_hits_its_share_of_the_visitors() -> None:
    assert 20 < sum(hit(400, probability=0.1)) < 80


def test_a_fault_for_the_first_few_hits_no_others() -> None:
    assert hit(4, first=2) == [True, True, False, False]
