"""Each built-in scenario is sound, and every fault and every claim has a scenario."""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from lab.cluster.arrangements import ARRANGEMENTS
from lab.cluster.fault_rules import consumers_of
from lab.domain.services import HOPS
from lab.faults.kinds import KINDS, RequestFault
from lab.load.plan import PlanPhase
from lab.load.schedule import PhaseClock, build_schedule
from lab.results.claims import CLAIMS
from lab.results.oracles import ORACLES
from lab.results.timeline import WARM_UP_PHASE
from lab.scenarios import catalogue, names
from lab.scenarios.scenario import Scenario
from lab.scenarios.switches import SWITCHES

SCENARIOS = catalogue.builtin_scenarios()
BY_DESIGN = "design-steps"
"""`lab design` shows it from the running code: no run could refute it."""
PRICE = re.compile(r"\bvisible|_at_once\b")
"""The cost of copies: they are late, and a reader who looks at once misses a new write.
Expectations call other costs their price."""


def switches(one: Scenario) -> set[str]:
    return {name for variant in one.variants.values() for name in variant.options}


def oracles(one: Scenario) -> set[str]:
    texts = [*(each.that for each in one.expect)]
    for each in one.predict:
        texts += [each.predicted, each.measured]
    return {name for name in ORACLES if any(f"{name}(" in text for text in texts)}


@pytest.mark.parametrize(
    ("known", "used"),
    [
        (set(CLAIMS) - {BY_DESIGN}, lambda one: {each.claim for each in one.expect}),
        (KINDS, lambda one: {method.fault for method in one.method}),
        ({name for of in SWITCHES.values() for name in of}, switches),
        (ORACLES, oracles),
    ],
    ids=["claims", "faults", "switches", "oracles"],
)
def test_everything_there_is_appears_in_a_scenario(
    known: Iterable[str], used: Callable[[Scenario], set[str]]
) -> None:
    assert set(known) - set().union(*(used(one) for one in SCENARIOS)) == set()


def test_there_are_thirteen_claims_and_each_could_be_refuted() -> None:
    assert len(CLAIMS) == 13
    for name, claim in CLAIMS.items():
        assert name == claim.id
        assert claim.says.endswith(".")
        assert claim.refuted_by


def test_the_built_in_scenarios_are_found_in_their_order() -> None:
    files = [path.stem for path in (Path(__file__).parents[2] / "lab" / "scenarios").glob("*.toml")]
    assert catalogue.builtin_names()[: len(files)] == names._ORDER
    assert sorted(names._ORDER) == sorted(files)
    assert [scenario.name for scenario in SCENARIOS] == list(catalogue.builtin_names())


def test_each_scenario_has_one_theme() -> None:
    in_themes = [name for theme in names.THEMES.values() for name in theme]
    assert sorted(in_themes) == sorted(names._ORDER)
    assert {*names.FIRST_HOUR, *names.AFTERNOON} <= set(in_themes)
    assert [names.read_title(scenario.name) for scenario in SCENARIOS] == [
        scenario.title for scenario in SCENARIOS
    ]


def test_only_where_calm_itself_is_looked_at_nothing_happens() -> None:
    uneventful = [
        one.name
        for one in SCENARIOS
        if not (one.method or one.newcomer or one.reach_in or one.load.during_rate)
    ]
    assert uneventful == ["calm", "three-nodes", "light-load"]


@pytest.mark.parametrize("one", SCENARIOS, ids=lambda one: one.name)
def test_a_built_in_scenario_asks_expects_and_explains(one: Scenario) -> None:
    assert one.question.strip().endswith("?")
    assert len(one.explain) > 300
    assert len(one.explain.split()) >= 60
    assert one.tags
    assert one.steady_state
    assert one.claims or any(year in one.explain for year in map(str, range(1960, 2026)))
    borne_on = {expect.claim for expect in one.expect if expect.claim}
    assert borne_on == set(one.claims) <= set(CLAIMS)
    assert any(PRICE.search(each.that) or "price" in each.says for each in one.expect)
    only_reads = not set(one.load.mix) - {"read_feed"}
    assert only_reads or any(".data.lost" in expect.that for expect in one.expect)
    assert one.quick().reported_phases() == one.reported_phases()


@pytest.mark.parametrize(
    "seeds", [range(1, 26), pytest.param(range(26, 101), marks=pytest.mark.slow)], ids=str
)
@pytest.mark.parametrize("one", SCENARIOS, ids=lambda one: one.name)
def test_what_a_quick_scenario_speaks_of_happens_under_every_schedule(
    one: Scenario, seeds: range
) -> None:
    quick = one.quick()
    phases = [
        PlanPhase(name=phase.name, seconds=phase.seconds, rate=phase.rate)
        for phase in (WARM_UP_PHASE, *quick.timeline().phases)
    ]
    figure = re.compile(rf"\.([\w-]+)\.({'|'.join(quick.load.mix)})\.(?!sent|rate)")
    texts = [*(each.that for each in one.expect), *(f".before.{that}" for that in one.steady_state)]
    mentioned = {found for text in texts for found in figure.findall(text)}
    timeline = PhaseClock(phases)
    for seed in seeds:
        happens = Counter(
            (timeline.phase_at(each.at_s).replace(" ", "_"), each.action)
            for each in build_schedule(seed, quick.load.rate, phases, quick.load.mix)
        )
        assert not [what for what in mentioned if happens[what] == 0], f"seed {seed}"


def has_equal_dose(one: Scenario, target: str, kind: str) -> bool:
    """Whether some variant on the bus meets this fault with each event, if others meet it with each
    request. A fault that hits everything is the same for both, unless it adds up, as a delay."""
    requests, deliveries, events = set[str](), set[str](), set[str]()
    for window in (each for phase in one.timeline().phases for each in phase.faults):
        fault = window.fault
        if (window.group or fault.target, fault.kind) != (target, kind):
            continue
        hits_all = fault.probability == 1 and fault.first is None and kind != "latency"
        for name in window.variants:
            arrangement = ARRANGEMENTS[one.variants[name].arrangement]
            asks = arrangement.ask_by is not None or not arrangement.has_bus
            if asks or fault.target not in (*consumers_of(arrangement), *HOPS):
                requests.add(name)
            elif hits_all or getattr(fault, "per_event", False):
                events.add(name)
            else:
                deliveries.add(name)
    return not requests or bool(events) or not deliveries


def test_a_fault_on_both_sides_has_the_same_dose_on_both() -> None:
    for one in SCENARIOS:
        for method in one.method:
            if issubclass(KINDS[method.fault], RequestFault):
                assert has_equal_dose(one, method.target, method.fault), (one.name, method)
