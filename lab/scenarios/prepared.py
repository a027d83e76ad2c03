"""A scenario as somebody wants it run: on another bus, with their own services, at another rate."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from lab.foreign.made_of import BUSES
from lab.foreign.reading import read_target
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


class Theirs(TypedDict, total=False):
    """What `prepared` is told of somebody's own services."""

    target: Target
    replaced: tuple[str, Target]


def theirs(whole: str | Path | None, one: Mapping[str, str | Path]) -> Theirs:
    """From the files of targets: a whole system, and one service in the place of the lab's that it
    is named after. Raises TargetError, ValueError."""
    if len(one) > 1:
        raise ValueError(f"replace = {dict(one)}: one service of somebody else's at a time.")
    told = Theirs()
    if whole:
        told["target"] = read_target(Path(whole))
    for part, file in one.items():
        told["replaced"] = part, read_target(Path(file))
    return told
