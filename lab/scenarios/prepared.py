"""A scenario as somebody wants it run: on another bus, with some variants, at another rate."""

from collections.abc import Sequence

from lab.scenarios.other_bus import on_bus
from lab.scenarios.scenario import Scenario


def prepared(
    scenario: Scenario,
    *,
    bus: str | None = None,
    only: Sequence[str] | None = None,
    rate: float | None = None,
    quick: bool = False,
) -> Scenario:
    """The same experiment, changed as told. Raises ValueError, in a sentence, where it can't be."""
    if bus:
        scenario = on_bus(scenario, bus, only)
    if only:
        scenario = scenario.only(only)
    if rate:
        scenario = scenario.at_rate(rate)
    return scenario.quick() if quick else scenario
