"""A surge: in `during` more people come than usual (`[load] during_rate`).

It is no fault, for nothing is broken by it; but what it leaves behind is measured as after a fault:
how long consumers take to be level again, and how long it takes until people are served as before.
"""

from collections.abc import Iterator
from typing import Any

from lab.scenarios.spec import LoadSpec, PhasesSpec
from lab.scenarios.timeline import WARM_UP

DURING = "during"


def surge_window(load: LoadSpec, phases: PhasesSpec) -> tuple[float, float] | None:
    """From when to when it lasts, in seconds from the start of the run; None without one."""
    if load.during_rate is None:
        return None
    begins_s = WARM_UP.seconds + phases.before
    return begins_s, begins_s + phases.during


def rate_of(phase: str, load: LoadSpec) -> dict[str, Any]:
    """What the plan says of a phase with a rate of its own."""
    surges = phase == DURING and load.during_rate is not None
    return {"rate": load.during_rate} if surges else {}


def surge_problems(load: LoadSpec, phases: PhasesSpec) -> Iterator[str]:
    """What is wrong with it: a sentence, the key first."""
    if load.during_rate is not None and phases.each is not None:
        yield "load.during_rate: is for the phase `during`, and with phases.each there is none."
