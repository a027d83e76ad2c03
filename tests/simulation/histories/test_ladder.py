"""Each switch keeps a promise: without it a small history breaks it, with it none is found."""

import pytest

from lab.simulation.histories.judge import Goal
from lab.simulation.histories.ladder import RUNGS, Rung
from lab.simulation.histories.search import search
from lab.simulation.histories.variant import parse_variant


@pytest.mark.parametrize("rung", RUNGS, ids=lambda rung: rung.promise)
def test_a_rung_is_broken_by_two_deeds_without_its_switch(rung: Rung) -> None:
    goal = Goal(rung.goal)
    broken = search(goal, parse_variant(list(rung.without)), histories=3_000)
    assert broken.history is not None
    assert len(broken.history.deeds) <= 3
    assert search(goal, parse_variant(list(rung.kept_by)), histories=40).history is None
