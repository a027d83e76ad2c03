"""When what happens in a run: phases, and the faults in them."""

from dataclasses import dataclass

from lab.faults.kinds import Fault

RECOVERING = "recovering"
"""The phase between two methods of a sequence; its figures are nobody's."""


@dataclass(frozen=True, slots=True)
class FaultWindow:
    """A fault, `at_s` seconds into its phase, for `seconds`, in the variants it can act on."""

    fault: Fault
    at_s: float
    seconds: float
    variants: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of the run. `recovering` may occur several times."""

    name: str
    seconds: float
    faults: tuple[FaultWindow, ...] = ()
