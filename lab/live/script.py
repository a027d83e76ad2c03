"""A prepared demonstration: the steps of a scenario file, taken one by one with the space bar.

The file is the same as for `lab run`. First comes the question, for the class to answer before
anything happens; then each start and each end of a fault or of another load is a step; the
explanation comes last. The instructor decides when to go on, so the durations in the file do not
apply. Parts that can't be shown live (newcomer, history, `reach_in`, `at_once`, more than two
variants) are left out and reported.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from lab.domain.errors import Conflict
from lab.faults.kinds import Fault
from lab.live.panes import Half
from lab.live.session import Session
from lab.scenarios.scenario import Scenario


@dataclass(frozen=True)
class Action:
    """One action: add or remove a fault in one pane (`half` None: in both), or change the arrival
    rate (requests per second)."""

    do: Literal["break", "mend", "load"]
    fault: Fault | None = None
    half: str | None = None
    rate: float = 0.0

    def __str__(self) -> str:
        if self.fault is None:
            return f"{self.rate:g} requests a second"
        settings = ", ".join(f"{name} {value}" for name, value in self.fault.settings().items())
        kind = f"{self.fault.kind} ({settings})" if settings else self.fault.kind
        where = f" in {self.half}" if self.half else ""
        verb = kind if self.do == "break" else f"heal {kind}"
        return f"{verb}: {self.fault.target}{where}"


@dataclass(frozen=True)
class Step:
    """The text of a step and its actions; a step of text alone has none."""

    says: str
    actions: tuple[Action, ...] = ()

    def told(self) -> dict[str, str]:
        return {"says": self.says, "does": "; ".join(str(action) for action in self.actions)}


def halves_of(scenario: Scenario) -> tuple[Half, ...]:
    """The panes of the first two variants, with their options."""
    return tuple(
        Half(name, spec.arrangement, spec.options)
        for name, spec in list(scenario.variants.items())[:2]
    )


def left_out(scenario: Scenario) -> list[str]:
    """The parts of the scenario that can't be shown live, as phrases."""
    others = list(scenario.variants)[2:]
    parts = {
        f"the variants {', '.join(others)}": bool(others),
        "its history": scenario.history is not None,
        "its newcomer": bool(scenario.newcomer),
        "services that reach in": bool(scenario.reach_in),
        "what authors do at once": bool(scenario.load.at_once),
    }
    return [name for name, there in parts.items() if there]


def steps_of(scenario: Scenario) -> list[Step]:
    """All steps, in order. Actions at the same moment of the scenario are one step."""
    halves = [half.name for half in halves_of(scenario)]
    steps = [Step(scenario.question or scenario.title)]
    moments = sorted(_moments(scenario, halves), key=lambda one: one[0])
    for _, together in groupby(moments, key=lambda one: one[0]):
        actions = tuple(dict.fromkeys(action for _, action in together))
        steps.append(Step("", actions))
    if scenario.explain:
        steps.append(Step(scenario.explain))
    return steps


def _moments(scenario: Scenario, halves: Sequence[str]) -> Iterator[tuple[float, Action]]:
    begins_s = 0.0
    for phase in scenario.timeline():
        ends_s = begins_s + phase.seconds
        if phase.name == "during" and scenario.load.during_rate is not None:
            yield begins_s, Action("load", rate=scenario.load.during_rate)
            yield ends_s, Action("load", rate=scenario.load.rate)
        for window in phase.faults:
            reached = [name for name in halves if name in window.variants]
            where = [None] if reached == list(halves) else reached
            for half in where:
                from_s = begins_s + window.at_s
                yield from_s, Action("break", window.fault, half)
                yield from_s + window.seconds, Action("mend", window.fault, half)
        begins_s = ends_s


class Script:
    """The running demonstration. `at`: how many steps have been taken."""

    def __init__(self, scenario: Scenario, session: Session) -> None:
        self.scenario, self._session = scenario, session
        self.steps = steps_of(scenario)
        self.at = 0
        self._one_at_a_time = asyncio.Lock()
        self._tell()

    def restart(self) -> None:
        """Go back to the first step, and to the load of the file."""
        self.at = 0
        load = self.scenario.load
        self._session.rate, self._session.mix = load.rate, dict(load.mix)
        self._session.timeout_s = load.timeout_ms / 1_000
        self._tell()

    async def step(self) -> dict[str, Any]:
        """Take the next step. Raises Conflict after the last step, and the errors of the fault
        controller; after an error the same step comes again."""
        self._session.require_up()
        async with self._one_at_a_time:
            if self.at == len(self.steps):
                raise Conflict("The script is at its end. Reset begins it again.")
            step = self.steps[self.at]
            deeds = [deed for action in step.actions for deed in await self._do(action)]
            self.at += 1
        said = str(step.told()["does"] or step.says)
        self._session.show.done(f"Step {self.at} of {len(self.steps)}: {said}", "script")
        self._tell()
        return {"at": self.at, "deeds": deeds}

    async def _do(self, action: Action) -> list[Any]:
        board, fault = self._session.board, action.fault
        if fault is None:
            self._session.set_load(action.rate, None)
            return []
        if action.do == "mend":
            return list(await board.heal(fault.target, fault.kind, action.half))
        return list(await board.put(fault.kind, fault.target, fault.settings(), action.half))

    def _tell(self) -> None:
        told = [step.told() for step in self.steps]
        self._session.show.change(
            "script", {"title": self.scenario.title, "steps": told, "at": self.at}
        )
