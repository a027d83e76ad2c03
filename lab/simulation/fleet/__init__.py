"""A fleet of services as a discrete-event model, with parameters that real runs measured.

parameters.py  what is measured, as empirical distributions
fleets.py      the shapes of fleets
network.py     the network of a variant: stations, handlers, calls, events
world.py       the arrays of a simulation; its random numbers, its heap
engine.py      requests, calls and their policies; bus.py: events, consumers, faults
model.py       a scenario, simulated; outcome.py: its result document
"""

from importlib.util import find_spec


class ExtraMissing(ImportError):
    """The packages that only a simulation needs are not installed; the message says how to."""


def require_extra() -> None:
    """Raises ExtraMissing without numba, which compiles the engine."""
    if find_spec("numba") is None:
        raise ExtraMissing(
            "`lab simulate` needs numba, which compiles its engine and is not installed here. "
            "Try: pip install 'sync-async-lab[simulate]'"
        )
