"""A scenario as somebody wants it run: on another bus, with their own services, at another rate."""

from collections.abc import Sequence

from lab.foreign.made_of import BUSES
from lab.foreign.target import Target
from lab.scenarios.foreign import with_replaced, with_target
from lab.scenarios.other_bus import on_bus
from lab.scenarios.scenario import Scenario


def prepared(
    scenario: Scenario,
    *,
    bus: str | None = None,
    only: Sequence[str] | None = None,
    rate: float | None = None,
    quick: bool = False,
    target: Target | None = None,
    replaced: tuple[str, Target] | None = None,
) -> Scenario:
    """The same experiment, changed as told. Raises ValueError, in a sentence, where it can't be.

    `target`: somebody's own services, to run beside the others; `bus` is then that of theirs, and
    of the lab's own variants where it would change anything. `replaced`: a service of the lab's,
    and the target whose service takes its place in one more variant.
    """
    if replaced:
        scenario = with_replaced(scenario, *replaced)
    if target:
        scenario = with_target(scenario, target, {"bus": bus} if bus else {})
    if bus and not (target and bus in BUSES):
        scenario = on_bus(scenario, bus, only)
    if only:
        scenario = scenario.only(only)
    if rate:
        scenario = scenario.at_rate(rate)
    return scenario.quick() if quick else scenario
