"""A simulated scenario: its network, its phases, its figures, and what is said about it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab.api.result import Result
from lab.domain.services import CALLERS_OF, EVENT_CONSUMERS
from lab.experiment.request_phases import reassign_requests
from lab.load.metrics import phase_figures
from lab.load.plan import PlanPhase
from lab.load.schedule import PhaseClock
from lab.report.answer import build_answer
from lab.report.charts import ChartData
from lab.report.cost import cost_blocks, cost_chart
from lab.report.html import page
from lab.report.sections import headline
from lab.report.terminal.listing import judged_by
from lab.results.result import EndpointResult, RunResult
from lab.results.timeline import WARM_UP_PHASE
from lab.scenarios.catalogue import builtin_scenarios, find
from lab.simulation.fleet import ExtraMissing, require_extra, runs
from lab.simulation.fleet.fleets import BLOG, GRAPHS, Fleet, FleetSpec, blog
from lab.simulation.fleet.model import (
    NotCovered,
    SimulatedRun,
    TooLarge,
    simulate,
    why_not_covered,
)
from lab.simulation.fleet.network import ACTIONS, Network, build
from lab.simulation.fleet.outcome import to_result
from lab.simulation.fleet.parameters import (
    BadParameters,
    Empirical,
    Parameters,
    shipped_parameters,
)

PARAMETERS = shipped_parameters()


@pytest.fixture(scope="module")
def downed() -> SimulatedRun:
    """`downed-service` at its own size."""
    return simulate(find("downed-service"), PARAMETERS)


@pytest.fixture(scope="module")
def fleet() -> tuple[SimulatedRun, RunResult]:
    """`downed-service` in a hundred shards, of which ten hold one feed."""
    scenario = find("downed-service").quick().at_rate(2_000)
    run = simulate(scenario, PARAMETERS, 7, FleetSpec("shards", 400, width=10))
    return run, to_result(run)[0]


# ── Parameters


def test_parameters_survive_the_way_through_a_file() -> None:
    assert Parameters.from_json(PARAMETERS.to_json()) == PARAMETERS
    assert PARAMETERS.machine
    assert PARAMETERS.source
    with pytest.raises(BadParameters, match="expected parameters"):
        Parameters.from_json('{"machine": "mine"}')


def test_a_distribution_draws_what_was_seen() -> None:
    seen = sorted(np.random.default_rng(7).exponential(10.0, 5_000))
    of = Empirical.of(seen)
    assert of.quantile(0.5) == pytest.approx(np.quantile(seen, 0.5), rel=0.01)
    assert of.mean_ms == pytest.approx(np.mean(seen), rel=0.02)
    assert (of.quantile(0), of.quantile(1)) == pytest.approx((seen[0], seen[-1]), abs=1e-3)
    with pytest.raises(BadParameters):
        Empirical.of([])
    with pytest.raises(BadParameters):
        Empirical((2.0, 1.0))


# ── The network


def network_of(arrangement: str, options: dict[str, Any], fleet: Fleet) -> Network:
    rates = dict.fromkeys(ACTIONS, 10.0)
    client = {"timeout_s": 2.0, "retries": 0}
    return build(arrangement, options, fleet, PARAMETERS, rates, client, 7)


def calls_between(network: Network) -> set[tuple[str, str]]:
    return {
        (network.stations[caller].name, network.stations[callee].name)
        for caller, callee in network._edges
        if caller >= 0
    }


def test_the_chain_calls_what_the_lab_calls() -> None:
    known = {(caller, callee) for callee, callers in CALLERS_OF.items() for caller in callers}
    assert calls_between(network_of("sync-chain", {}, blog({}))) == known
    deep = calls_between(network_of("sync-chain", {"depth": 2}, blog({"depth": 2})))
    assert known - {("query", "comments")} < deep
    assert {("query", "hop-1"), ("hop-1", "hop-2"), ("hop-2", "comments")} < deep


@pytest.mark.parametrize("depth", [0, 2])
def test_the_bus_delivers_to_whoever_subscribes(depth: int) -> None:
    options = {"depth": depth} if depth else {}
    network = network_of("async-bus", options, blog(options))
    world = network.world
    found: dict[str, int] = {}
    for number in range(int(world["sub_at"][:50].max())):
        consumer = int(world["sub"][number, 0])
        name = network.stations[int(world["consumer"][consumer, 0])].name
        found[name] = found.get(name, 0) + 1
    expected: dict[str, int] = {}
    for consumers in EVENT_CONSUMERS.values():
        for name in consumers:
            expected[name] = expected.get(name, 0) + 1
    hops = {f"hop-{number}": 2 for number in range(1, depth + 1)}
    assert found == expected | hops


def test_a_fleet_has_processes_for_its_load() -> None:
    few = network_of("sync-chain", {}, replace(blog({}), busy=0.5))
    client = {"timeout_s": 2.0, "retries": 0}
    rates = dict.fromkeys(ACTIONS, 5_000.0)
    many = build("sync-chain", {}, replace(blog({}), busy=0.5), PARAMETERS, rates, client, 7)
    assert few.processes == 4
    for plan in many.stations:
        assert plan.computed / plan.processes <= 0.5 * PARAMETERS.cores
        assert plan.held / plan.processes <= 0.5 * PARAMETERS.workers


@pytest.mark.parametrize("kind", GRAPHS)
def test_random_graphs_keep_to_what_was_published(kind: str) -> None:
    made = FleetSpec(kind, 1_000).of({})
    callees = {hop.name: hop.calls for hop in made.hops}
    assert made.services == 1_000
    assert max(map(len, callees.values())) <= GRAPHS[kind].most_callees
    assert sum(map(len, callees.values())) / len(callees) > 0.5

    depths: dict[str, int] = {}
    for hop in reversed(made.hops):  # callees come later
        depths[hop.name] = 1 + max((depths[name] for name in hop.calls), default=0)
    low, high = GRAPHS[kind].depths
    assert {depths[name] for name in made.starts} <= set(range(low, high + 1))
    assert made == FleetSpec(kind, 1_000).of({})
    assert made != FleetSpec(kind, 1_000, seed=8).of({})


# ── Phases and figures


def test_requests_count_in_the_phase_of_a_real_run(downed: SimulatedRun) -> None:
    timeline = downed.scenario.timeline()
    clock = PhaseClock(
        [
            PlanPhase(name=phase.name, seconds=phase.seconds)
            for phase in (WARM_UP_PHASE, *timeline.phases)
        ]
    )
    for simulated in downed.variants.values():
        samples = simulated.samples()
        found = [sample.phase for sample in samples]
        for sample in samples:
            sample.phase = clock.phase_at(sample.intended_s)
        reassign_requests(samples, timeline, {simulated.name: simulated.faults})
        assert found == [sample.phase for sample in samples]


def approximately(figures: EndpointResult) -> dict[str, Any]:
    """The figures, with means that may differ in the last digit."""
    whole = figures.model_dump()
    if whole["latency_ms"]["mean"] is not None:
        whole["latency_ms"]["mean"] = pytest.approx(whole["latency_ms"]["mean"])
    return whole


def test_figures_of_arrays_are_those_of_samples(
    downed: SimulatedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact, samples = to_result(downed)
    monkeypatch.setattr("lab.simulation.fleet.model.SAMPLES_KEPT", 100)
    thinned, few = to_result(downed)
    assert len(few) < len(samples)
    for variant, same in zip(thinned.variants, exact.variants, strict=True):
        for name, phase in variant.phases.items():
            for action, figures in phase.endpoints.items():
                assert figures.model_dump() == approximately(same.phases[name].endpoints[action])
    own = [sample for sample in samples if sample.variant == "sync-chain"]
    seconds = {name: phase.seconds for name, phase in exact.variants[0].phases.items()}
    of_metrics = phase_figures(own, seconds)["during"]["endpoints"]["create_post"]
    of_result = exact.variants[0].phases["during"].endpoints["create_post"]
    assert of_result.latency_ms.p99 == of_metrics["latency_ms"]["p99"]


def test_a_downed_service_hurts_the_chain_and_not_the_bus(downed: SimulatedRun) -> None:
    result, samples = to_result(downed)
    view = Result.model_validate(result.model_dump(by_alias=True))
    assert view["sync-chain"]["during"]["read_feed"].success == 0
    assert view["async-bus"]["during"]["read_feed"].success == 1
    assert {one.verdict for one in result.expectations} <= {"holds", "not measured"}
    assert result.valid
    assert samples


def test_one_seed_gives_one_result(downed: SimulatedRun) -> None:
    again = simulate(find("downed-service"), PARAMETERS)
    other = simulate(find("downed-service"), PARAMETERS, seed=8)
    for name, variant in downed.variants.items():
        for array in ("latency_ms", "visible_ms", "error", "phase"):
            one, two = getattr(variant, array), getattr(again.variants[name], array)
            assert one.tobytes() == two.tobytes()
        assert variant.latency_ms.tobytes() != other.variants[name].latency_ms.tobytes()


def test_a_feed_fails_when_one_of_its_shards_is_down(
    fleet: tuple[SimulatedRun, RunResult],
) -> None:
    _, result = fleet
    feed = result.variants[0].phases["during"].endpoints["read_feed"]
    assert feed.success == pytest.approx(0.9, abs=0.02)
    assert result.variants[1].phases["during"].endpoints["read_feed"].success == 1
    assert "10 of 100 feeds" in result.answer.why


def test_who_notices_a_service_is_whoever_needs_it() -> None:
    made = FleetSpec("alibaba", 104).of({})
    starts = len(made.starts)
    shared = [one.name for one in made.hops if 2 <= made.starts_that_need(one.name) < starts]
    spec = FleetSpec("alibaba", 104, target=shared[0])
    needing = made.starts_that_need(shared[0])
    scenario = find("downed-service").quick().only(["sync-chain"]).at_rate(200)
    result, _ = to_result(simulate(scenario, PARAMETERS, 7, spec))
    feed = result.variants[0].phases["during"].endpoints["read_feed"]
    assert feed.success == pytest.approx(1 - needing / starts, abs=0.07)
    assert f"{needing} of {starts} kinds of feeds" in result.answer.why


def test_availability_falls_with_what_a_feed_needs() -> None:
    scenario = find("downed-service").quick().only(["sync-chain"]).at_rate(400)
    found = []
    for width in (1, 5, 20):
        run = simulate(scenario, PARAMETERS, 7, FleetSpec("shards", 160, width=width))
        result, _ = to_result(run)
        found.append(result.variants[0].phases["during"].endpoints["read_feed"].success)
    assert found == pytest.approx([39 / 40, 35 / 40, 20 / 40], abs=0.04)


# ── Questions by events, and users who wait


def test_a_question_needs_its_bus_and_its_callee() -> None:
    """A port without a listener refuses at once; an event without a consumer is not answered."""
    run, _ = to_result(simulate(find("request-reply").quick(), PARAMETERS))
    view = Result.model_validate(run.model_dump(by_alias=True))
    asked = view["request-reply"]
    assert asked["comments down"]["read_feed"].success == 0
    assert asked["comments down"]["read_feed"].failed_after_p50 == pytest.approx(1_000, abs=30)
    assert view["sync-chain"]["comments down"]["read_feed"].failed_after_p50 < 250
    # Its workers still wait for answers that will not come, as in real runs.
    assert asked["after"]["read_feed"].success == 0
    without, _ = to_result(simulate(find("downed-bus").quick(), PARAMETERS))
    view = Result.model_validate(without.model_dump(by_alias=True))
    assert view["request-reply"]["during"]["read_feed"].success < 0.1
    assert view["async-bus"]["during"]["read_feed"].success == 1
    for result in (run, without):
        assert {one.verdict for one in result.expectations} <= {"holds", "not measured"}


def test_a_user_who_waits_does_not_send() -> None:
    run = simulate(find("coordinated-omission").quick(), PARAMETERS)
    result, _ = to_result(run)
    assert {one.verdict for one in result.expectations} == {"holds"}
    one_by_one = run.variants["closed-loop"]
    ends = one_by_one.intended_s + one_by_one.latency_ms / 1_000
    assert (one_by_one.intended_s[1:] >= ends[:-1]).all()
    assert len(one_by_one.intended_s) < 0.9 * len(run.variants["open-loop"].intended_s)


# ── Whatever is covered runs


@pytest.mark.parametrize(
    "scenario",
    [one for one in builtin_scenarios() if why_not_covered(one) is None],
    ids=lambda scenario: str(scenario.name),
)
def test_every_covered_scenario_is_simulated(scenario: Any) -> None:
    result, _ = to_result(simulate(scenario.quick(), PARAMETERS))
    assert result.simulated
    before = [variant.phases["before"].endpoints["read_feed"] for variant in result.variants]
    assert all((one.success or 0) > 0.9 for one in before if one.sent)


# ── Everywhere it is shown


def test_a_simulated_result_says_so_everywhere(
    fleet: tuple[SimulatedRun, RunResult], tmp_path: Path
) -> None:
    _, result = fleet
    runs.save(result, to_result(fleet[0])[1], tmp_path)
    loaded = RunResult.load_file(tmp_path / "result.json")
    assert loaded.simulated
    assert loaded.simulation
    assert (loaded.simulation.services, loaded.simulation.shards) == (400, 100)
    answer = build_answer(loaded, ChartData.read(loaded, tmp_path).samples)
    assert answer.simulated
    assert answer.subject.startswith("simulated: 400 services, 2,000 requests/s; ")
    assert any(PARAMETERS.machine in note for note in answer.footnotes)
    assert "simulated" in headline(loaded)
    page.save(loaded, tmp_path)
    assert "Simulated: no process ran" in (tmp_path / "report.html").read_text("utf-8")
    assert "simulated" in str(Result.load_run(tmp_path))


def test_a_simulation_is_no_evidence_for_a_claim(downed: SimulatedRun) -> None:
    result, _ = to_result(downed)
    claim = next(one.claim for one in result.expectations if one.claim)
    assert judged_by(claim, "downed-service", [result]) == (None, [])
    real = result.model_copy(update={"simulated": False})
    assert judged_by(claim, "downed-service", [real])[0] is real


def test_a_sweep_shows_cost_against_size() -> None:
    scenario = find("downed-service").quick()
    sizes = runs.parse_sweep("services=8,80", FleetSpec("shards"), None)
    results = [runs.run_once(scenario, PARAMETERS, 7, spec, rate, True)[0] for spec, rate in sizes]
    noticed, cost = cost_blocks(results)
    assert [row[0].text for row in noticed.sections[0]] == ["8", "8", "80", "80"]
    processes = [heading.heading for heading in cost.columns].index("processes")
    assert [row[processes].text for row in cost.sections[0]] == ["8", "10", "80", "100"]
    assert "80 services, async-bus" in cost_chart(results).description


# ── Bad input


def simulated(name: str, **spec: Any) -> Callable[[], object]:
    rate = spec.pop("rate", 20.0)
    own = FleetSpec(**spec) if spec else BLOG
    return lambda: simulate(find(name).at_rate(rate), PARAMETERS, 7, own)


@pytest.mark.parametrize(
    ("attempt", "error", "says"),
    [
        (simulated("poison-event"), NotCovered, "fault of data"),
        (simulated("read-your-writes"), NotCovered, "follows up"),
        (simulated("rules"), NotCovered, "which database"),
        (simulated("lost-events"), NotCovered, "the model has only the bus log"),
        (simulated("downed-service", rate=1e9), TooLarge, "Lower --rate"),
        (simulated("downed-service", rate=-1.0), ValueError, "is not a number of arrivals"),
        (simulated("downed-service", kind="ring", services=40), ValueError, "no shape 'ring'"),
        (simulated("downed-service", kind="shards", services=3), ValueError, "saw 3"),
        (
            simulated("downed-service", kind="shards", services=40, width=11),
            ValueError,
            "expected 1 to 10",
        ),
        (simulated("downed-service", kind="meta", services=9), ValueError, "at least 10 more"),
        (
            simulated("downed-service", kind="chain", services=1_000, rate=100_000.0),
            TooLarge,
            "minutes",
        ),
        (
            simulated("downed-service", kind="alibaba", services=99, target="hop-100"),
            ValueError,
            "no service 'hop-100'",
        ),
        (lambda: runs.parse_sweep("size=1", BLOG, None), ValueError, "expected one of"),
        (lambda: runs.parse_sweep("services=1,x", BLOG, None), ValueError, "commas between"),
        (lambda: runs.parse_sweep("width=1.5", BLOG, None), ValueError, "whole number"),
        (lambda: runs.find_parameters(["no-such-run"]), ValueError, "no saved run"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(
    attempt: Callable[[], object], error: type[ValueError], says: str
) -> None:
    with pytest.raises(error, match=says):
        attempt()


def test_a_fleet_needs_its_memory_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    class Little:
        available = 10_000_000

    monkeypatch.setattr("psutil.virtual_memory", Little)
    with pytest.raises(TooLarge, match="GiB of memory"):
        simulate(find("downed-service").at_rate(100_000), PARAMETERS)


def test_without_numba_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.simulation.fleet.find_spec", lambda name: None)
    with pytest.raises(ExtraMissing, match=r"pip install 'sync-async-lab\[simulate\]'"):
        require_extra()
