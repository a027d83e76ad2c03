"""How well the load kept its own promise, and how much of the machine was left for anything."""

from lab.report import cells
from lab.scenarios.result import Load

CROWDED = 0.9
"""From this share of all processors' time on, what runs waits for a processor now and then."""


def load_line(load: Load) -> str:
    """In a line without its full stop: lag, late and dropped sends, the processors, the probes."""
    said = [
        f"load: 99 % of the requests left within {cells.ms(load.lag_ms.p99)} ms of their moment",
        f"{load.late} late, {load.dropped} dropped",
    ]
    if load.machine_share is not None:
        said.append(processors(load.machine_share))
    if load.probes:
        asked = ", ".join(f"{name} {number}" for name, number in load.probes.items())
        said.append(f"asked besides, to see when writes are visible: {asked}")
    return "; ".join(said)


def processors(share: float) -> str:
    """`share`: of all processors' time, 0 to 1."""
    said = f"the processors were busy {100 * share:.0f} % of the time"
    if share >= CROWDED:
        said += ", so that all milliseconds here have waiting for one in them"
    return said
