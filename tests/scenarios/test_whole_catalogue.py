"""Nothing that the lab can do, and nothing that the course claims, is without a scenario."""

import re
from collections import Counter

import pytest

from lab.faults.kinds import KINDS
from lab.load.pacer import Timeline, schedule
from lab.load.plan import Phase
from lab.scenarios import catalogue
from lab.scenarios.claims import CLAIMS
from lab.scenarios.oracles import ORACLES
from lab.scenarios.scenario import Scenario
from lab.scenarios.surge import rate_of
from lab.scenarios.switches import SWITCHES
from lab.scenarios.timeline import WARM_UP

ALL = catalogue.built_in()
BY_DESIGN = "design-steps"
"""Shown by `lab design`, from the running code: no run could refute it."""


@pytest.mark.parametrize("claim", [claim for claim in CLAIMS if claim != BY_DESIGN])
def test_every_claim_is_proved_or_refuted_by_an_expectation(claim: str) -> None:
    assert [one.name for one in ALL if any(each.claim == claim for each in one.expect)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_fault_acts_in_a_scenario(kind: str) -> None:
    assert [one.name for one in ALL if any(method.fault == kind for method in one.method)]


@pytest.mark.parametrize("switch", sorted({name for of in SWITCHES.values() for name in of}))
def test_every_switch_is_thrown_in_a_scenario(switch: str) -> None:
    throwing = [
        one.name
        for one in ALL
        if any(switch in variant.options for variant in one.variants.values())
    ]
    assert throwing


@pytest.mark.parametrize("oracle", ORACLES)
def test_every_oracle_is_asked_by_a_scenario(oracle: str) -> None:
    asked = [
        one.name
        for one in ALL
        if any(f"{oracle}(" in each.predicted for each in one.predict)
        or any(f"{oracle}(" in each.that for each in one.expect)
    ]
    assert asked


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.name)
def test_every_scenario_asks_first_explains_afterwards_and_says_what_it_is_about(one) -> None:  # type: ignore[no-untyped-def]
    assert one.question.strip().endswith("?")
    assert len(one.explain.split()) >= 60
    assert one.tags
    assert one.claims or any(year in one.explain for year in map(str, range(1960, 2026)))


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.name)
def test_what_a_scenario_speaks_of_happens_under_every_schedule_in_its_quick_form(
    one: Scenario,
) -> None:
    quick = one.quick()
    phases = [
        Phase(name=phase.name, seconds=phase.seconds, **rate_of(phase.name, quick.load))
        for phase in (WARM_UP, *quick.timeline())
    ]
    figure = re.compile(rf"\.([\w-]+)\.({'|'.join(quick.load.mix)})\.(?!sent|rate)")
    texts = [*(each.that for each in one.expect), *(f".before.{that}" for that in one.steady_state)]
    spoken_of = {found for text in texts for found in figure.findall(text)}

    for seed in range(1, 101):
        lived = Timeline(phases)
        happens = Counter(
            (lived.phase_at(each.at_s).replace(" ", "_"), each.action)
            for each in schedule(seed, quick.load.rate, phases, quick.load.mix)
        )
        assert not [what for what in spoken_of if happens[what] == 0], f"seed {seed}"
