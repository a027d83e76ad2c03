"""The timeline of a run: when each phase and each fault begins and ends.

Times are seconds from the start of the run, as in `samples.csv` and `lag.csv`. The run begins with
the warm-up; the phases of the scenario follow.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lab.faults.kinds import Fault
from lab.load.plan import WARM_UP
from lab.results.result import SURGE, RunTimeline, TimelinePhase, TimelineWindow

RECOVERING = "recovering"
"""The phase between two methods of a sequence; its figures are not reported."""


@dataclass(frozen=True, slots=True)
class FaultWindow:
    """A fault that acts in `variants` for `seconds`, beginning at `from_s`.

    `group`: the target in the scenario, if it stands for several faults; "" for a single one.
    """

    fault: Fault
    from_s: float
    seconds: float
    variants: tuple[str, ...]
    group: str = ""

    @property
    def until_s(self) -> float:
        return self.from_s + self.seconds


@dataclass(frozen=True, slots=True)
class ScenarioPhase:
    """A phase and its faults. `rate`: arrivals per second, if they differ from the scenario's."""

    name: str
    from_s: float
    seconds: float
    faults: tuple[FaultWindow, ...] = ()
    rate: float | None = None

    @property
    def until_s(self) -> float:
        return self.from_s + self.seconds


WARM_UP_PHASE = ScenarioPhase(WARM_UP, 0.0, 0.5)
"""The phase before a scenario's own phases; its figures are not reported either."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """The phases of a scenario in order, without the warm-up. The name `recovering` may repeat."""

    phases: tuple[ScenarioPhase, ...]

    @property
    def seconds(self) -> float:
        """The length of all phases, without the warm-up."""
        return sum(phase.seconds for phase in self.phases)

    @property
    def until_s(self) -> float:
        """The end of the load."""
        return self.phases[-1].until_s

    @property
    def main_phase(self) -> ScenarioPhase:
        """The phase `during`; in a sequence, which has none, the first phase."""
        return next((phase for phase in self.phases if phase.name == "during"), self.phases[0])

    @property
    def faults(self) -> tuple[FaultWindow, ...]:
        """The faults of all phases."""
        return tuple(window for phase in self.phases for window in phase.faults)

    def disturbance(self, variant: str) -> tuple[float, float] | None:
        """From the begin of the first fault or surge in a variant to the end of the last one; None
        if it has neither."""
        spans: list[FaultWindow | ScenarioPhase] = [
            *(window for window in self.faults if variant in window.variants),
            *(phase for phase in self.phases if phase.rate is not None),
        ]
        if not spans:
            return None
        return min(span.from_s for span in spans), max(span.until_s for span in spans)

    def to_result(self, variants: Sequence[str]) -> RunTimeline:
        """The timeline as a result has it. Faults of one method, kind and time are one window."""
        windows: dict[tuple[str, str, float], TimelineWindow] = {}
        for fault_window in self.faults:
            target, fault = fault_window.group or fault_window.fault.target, fault_window.fault
            window = windows.setdefault(
                (target, fault.kind, fault_window.from_s),
                TimelineWindow(
                    target=target,
                    kind=fault.kind,
                    from_s=fault_window.from_s,
                    until_s=fault_window.until_s,
                    settings=fault.settings(),
                ),
            )
            known = window.variants
            window.variants = [*known, *(n for n in fault_window.variants if n not in known)]
        surges = [
            TimelineWindow(
                target="load",
                kind=SURGE,
                from_s=phase.from_s,
                until_s=phase.until_s,
                variants=list(variants),
            )
            for phase in self.phases
            if phase.rate is not None
        ]
        return RunTimeline(
            stages=[
                TimelinePhase(name=phase.name, from_s=phase.from_s, until_s=phase.until_s)
                for phase in self.phases
            ],
            windows=sorted([*windows.values(), *surges], key=lambda window: window.from_s),
        )
