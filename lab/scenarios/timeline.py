"""When what happens in a run: phases, and the faults in them."""

from dataclasses import dataclass

from lab.faults.kinds import Fault

RECOVERING = "recovering"
"""The phase between two methods of a sequence; its figures are nobody's."""


@dataclass(frozen=True, slots=True)
class FaultWindow:
    """A fault, `at_s` seconds into its phase, for `seconds`, in the variants it can act on.

    `group`: what the scenario calls it together with others; "" when it is alone.
    """

    fault: Fault
    at_s: float
    seconds: float
    variants: tuple[str, ...]
    group: str = ""


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of the run. `recovering` may occur several times."""

    name: str
    seconds: float
    faults: tuple[FaultWindow, ...] = ()


WARM_UP = Phase("warm_up", 0.5)
"""What comes before a scenario's own phases; its figures are nobody's either."""
