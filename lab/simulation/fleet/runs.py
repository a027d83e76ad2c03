"""What the command line and the Python API do with a simulation: prepare, sweep, run, save."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab.load.samples import Sample, write_samples
from lab.results.result import ResultError, RunResult
from lab.results.run_folder import create_run_folder, find_run
from lab.scenarios import catalogue
from lab.scenarios.overrides import apply_overrides
from lab.scenarios.scenario import Scenario
from lab.simulation.fleet.calibration import parameters_from
from lab.simulation.fleet.fleets import BLOG, FleetSpec
from lab.simulation.fleet.model import prepare, simulate, why_not_covered
from lab.simulation.fleet.outcome import to_result
from lab.simulation.fleet.parameters import Parameters, shipped_parameters
from lab.simulation.fleet.validate import refuse, shipped_validation

SWEPT = ("services", "rate", "width", "broken")
MOST_SIZES = 20


def covered() -> Iterator[tuple[str, str | None]]:
    """The names of the built-in scenarios, each with why the model does not cover it, or None."""
    for scenario in (*catalogue.builtin_scenarios(), *map(catalogue.find, catalogue.FLEETS)):
        yield scenario.name, why_not_covered(scenario)


def prepared(
    scenario: Scenario,
    *,
    quick: bool = False,
    only: Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Scenario:
    """The scenario with these changes. Raises ValueError for one that is not possible."""
    return apply_overrides(scenario, only=only, quick=quick, settings=settings)


def find_parameters(measured: Sequence[str]) -> Parameters:
    """The parameters of saved runs, by their folders or scenarios; without any, those that come
    with the lab. Raises BadParameters, or ValueError where there is no such run."""
    if not measured:
        return shipped_parameters()
    try:
        return parameters_from([find_run(one) for one in measured])
    except ResultError as error:
        raise ValueError(f"--from: {error}") from None


def parse_sweep(
    text: str, spec: FleetSpec, rate: float | None
) -> list[tuple[FleetSpec, float | None]]:
    """`services=10,100,1000` as fleets and rates; a rate given for a sweep of services is for its
    first size, and grows with it. Raises ValueError."""
    what, equals, values = text.partition("=")
    if not equals or what not in SWEPT:
        raise ValueError(
            f"--sweep {text!r}: expected one of {', '.join(SWEPT)} with values, as "
            "services=10,100,1000."
        )
    try:
        numbers = [float(value) for value in values.split(",")]
    except ValueError:
        raise ValueError(f"--sweep {text!r}: expected numbers with commas between them.") from None
    if len(numbers) > MOST_SIZES:
        raise ValueError(f"--sweep: expected at most {MOST_SIZES} values, saw {len(numbers)}.")
    if what == "rate":
        return [(spec, number) for number in numbers]
    if any(number != int(number) for number in numbers):
        raise ValueError(f"--sweep {text!r}: {what} is a whole number.")
    sizes: list[tuple[FleetSpec, float | None]] = []
    for number in numbers:
        its_rate = rate * number / numbers[0] if rate and what == "services" else rate
        size: dict[str, Any] = {what: int(number)}
        sizes.append((replace(spec, **size), its_rate))
    return sizes


def run_once(
    scenario: Scenario,
    parameters: Parameters,
    seed: int,
    spec: FleetSpec,
    rate: float | None,
    quick: bool = False,
) -> tuple[RunResult, list[Sample]]:
    """Simulate a scenario in a fleet. `rate`: arrivals a second for each variant; None: the
    scenario's for each shard. Figures of a larger fleet for which the model missed the real lab are
    left out. Raises ValueError before anything is simulated."""
    run = simulate(_at_rate(scenario, spec, rate), parameters, seed, spec)
    result, samples = to_result(run, quick)
    if spec != BLOG and result.simulation is not None:
        result.simulation.refused = refuse(result, shipped_validation())
    return result, samples


def check(scenario: Scenario, parameters: Parameters, spec: FleetSpec, rate: float | None) -> None:
    """Raises what `run_once` raises, and simulates nothing."""
    prepare(_at_rate(scenario, spec, rate), parameters, fleet=spec)


def _at_rate(scenario: Scenario, spec: FleetSpec, rate: float | None) -> Scenario:
    shards = max(spec.of(one.options).shards for one in scenario.variants.values())
    return scenario.at_rate(scenario.load.rate * shards if rate is None else rate)


def create_folder(name: str, parent: Path) -> Path:
    """The folder of a simulated run, whose name says that it is one."""
    return create_run_folder(f"simulated-{name}", parent)


def save(result: RunResult, samples: Sequence[Sample], folder: Path) -> None:
    """Write `result.json` and `samples.csv`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    result.save(folder / "result.json")
    write_samples(folder / "samples.csv", samples)
