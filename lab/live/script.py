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

from lab.domain.errors import Conflict, Invalid
from lab.faults.kinds import Fault
from lab.live.panes import Pane
from lab.live.session import Session
from lab.scenarios.catalogue import builtin_scenarios, find
from lab.scenarios.names import builtin_names
from lab.scenarios.scenario import Scenario
from lab.scenarios.spec import BetSpec


@dataclass(frozen=True)
class ScriptAction:
    """One action: add or remove a fault in one pane (`half` None: in both), or change the arrival
    rate (requests per second)."""

    operation: Literal["break", "mend", "load"]
    fault: Fault | None = None
    pane: str | None = None
    rate: float = 0.0

    def __str__(self) -> str:
        if self.fault is None:
            return f"{self.rate:g} requests a second"
        settings = ", ".join(f"{name} {value}" for name, value in self.fault.settings().items())
        kind = f"{self.fault.kind} ({settings})" if settings else self.fault.kind
        pane_note = f" in {self.pane}" if self.pane else ""
        verb = kind if self.operation == "break" else f"heal {kind}"
        return f"{verb}: {self.fault.target}{pane_note}"


@dataclass(frozen=True)
class ScriptStep:
    """The text of a step and its actions; a step of text alone has none."""

    text: str
    actions: tuple[ScriptAction, ...] = ()

    def to_json(self) -> dict[str, str]:
        return {"says": self.text, "does": "; ".join(str(action) for action in self.actions)}


def panes_of(scenario: Scenario) -> tuple[Pane, ...]:
    """The panes of the first two variants, with their options."""
    return tuple(
        Pane(name, spec.arrangement, spec.options)
        for name, spec in list(scenario.variants.items())[:2]
    )


def unsupported_parts(scenario: Scenario) -> list[str]:
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


def build_steps(scenario: Scenario) -> list[ScriptStep]:
    """All steps, in order. Actions at the same moment of the scenario are one step."""
    pane_names = [pane.name for pane in panes_of(scenario)]
    steps = [ScriptStep(scenario.question or scenario.title)]
    timed_actions = sorted(_timed_actions(scenario, pane_names), key=lambda timed: timed[0])
    for _, simultaneous in groupby(timed_actions, key=lambda timed: timed[0]):
        actions = tuple(dict.fromkeys(action for _, action in simultaneous))
        steps.append(ScriptStep("", actions))
    if scenario.explain:
        steps.append(ScriptStep(scenario.explain))
    return steps


def _timed_actions(
    scenario: Scenario, pane_names: Sequence[str]
) -> Iterator[tuple[float, ScriptAction]]:
    for phase in scenario.timeline().phases:
        if phase.rate is not None:
            yield phase.from_s, ScriptAction("load", rate=phase.rate)
            yield phase.until_s, ScriptAction("load", rate=scenario.load.rate)
        for window in phase.faults:
            affected = [name for name in pane_names if name in window.variants]
            targets = [None] if affected == list(pane_names) else affected
            for pane in targets:
                yield window.from_s, ScriptAction("break", window.fault, pane)
                yield window.until_s, ScriptAction("mend", window.fault, pane)


@dataclass(frozen=True)
class Situation:
    """What the first steps of a script have brought about: the active faults, each with its pane
    (None: both), and the arrival rate."""

    faults: tuple[tuple[Fault, str | None], ...]
    rate: float


def situation_after(steps: Sequence[ScriptStep], rate: float) -> Situation:
    """The situation after these steps; `rate` is that of the file."""
    faults: list[tuple[Fault, str | None]] = []
    for action in (action for step in steps for action in step.actions):
        if action.fault is None:
            rate = action.rate
        elif action.operation == "break":
            faults.append((action.fault, action.pane))
        elif (action.fault, action.pane) in faults:
            faults.remove((action.fault, action.pane))
    return Situation(tuple(faults), rate)


def list_demonstrations() -> list[dict[str, Any]]:
    """The built-in scenarios, as the page offers them. `seconds`: how long `lab run` takes;
    `left_out`: the parts that can't be shown live."""
    return [
        {
            "name": scenario.name,
            "title": scenario.title,
            "question": scenario.question,
            "steps": len(build_steps(scenario)),
            "seconds": round(scenario.timeline().phases[-1].until_s),
            "left_out": unsupported_parts(scenario),
        }
        for scenario in builtin_scenarios()
        if len(scenario.variants) > 1
    ]


class Script:
    """The running demonstration, or none yet. `position`: how many steps have been taken."""

    def __init__(self, session: Session, scenario: Scenario | None = None) -> None:
        self.scenario: Scenario | None = None
        self._session = session
        self.steps: list[ScriptStep] = []
        self.position = 0
        self._lock = asyncio.Lock()
        if scenario is not None:
            self._set(scenario)
            self._publish()

    @property
    def questions(self) -> Sequence[BetSpec]:
        """What the scenario asks the room; none without a scenario."""
        return () if self.scenario is None else self.scenario.bet

    def _set(self, scenario: Scenario) -> None:
        self.scenario, self.steps, self.position = scenario, build_steps(scenario), 0

    async def start(self, name: str) -> dict[str, Any]:
        """Start the built-in scenario of this name, with the panes of its variants and no data.

        Raises Invalid for another name, Conflict while the stacks are starting, LabCannotRun."""
        if name not in builtin_names() or len((scenario := find(name)).variants) < 2:
            raise Invalid(f"There is no demonstration {name!r}. Press o for the list.")
        async with self._lock:
            self._session.require_up()
            self._set(scenario)
            await self._session.start_panes(panes_of(scenario), f"{scenario.title}.")
        return {"at": self.position}

    def restart(self) -> None:
        """Go back to the first step, and to the load of the file."""
        if self.scenario is None:
            return
        self.position = 0
        load = self.scenario.load
        self._session.rate, self._session.mix = load.rate, dict(load.mix)
        self._session.timeout_s = load.timeout_ms / 1_000
        self._publish()

    async def back(self) -> dict[str, Any]:
        """Go one step back: to the faults and the load of the steps before it.

        Raises Conflict at the first step, and the errors of the fault controller."""
        self._session.require_up()
        async with self._lock:
            await self._undo()
        self._publish()
        return {"at": self.position, "deeds": []}

    async def again(self) -> dict[str, Any]:
        """Take the last step once more. Raises what `back` and `advance` do."""
        self._session.require_up()
        async with self._lock:
            await self._undo()
        return await self.advance()

    async def _undo(self) -> None:
        if self.scenario is None or self.position == 0:
            raise Conflict("No step was taken yet. The space bar takes the first one.")
        before = situation_after(self.steps[: self.position - 1], self.scenario.load.rate)
        controller = self._session.fault_controller
        await controller.heal(None, None, None)
        if self._session.rate != before.rate:
            self._session.set_load(before.rate, None)
        for fault, pane in before.faults:
            await controller.inject(fault.kind, fault.target, fault.settings(), pane)
        self.position -= 1

    async def advance(self) -> dict[str, Any]:
        """Take the next step. Raises Conflict after the last step, and the errors of the fault
        controller; after an error the same step comes again."""
        if self.scenario is None:
            raise Invalid(
                "There is no script here: start with `lab live --script FILE`, or press o."
            )
        self._session.require_up()
        async with self._lock:
            if self.position == len(self.steps):
                raise Conflict("The script is at its end. Reset begins it again.")
            step = self.steps[self.position]
            actions = [deed for action in step.actions for deed in await self._execute(action)]
            self.position += 1
        description = str(step.to_json()["does"] or step.text)
        self._session.broadcast.log_action(
            f"Step {self.position} of {len(self.steps)}: {description}", "script"
        )
        self._publish()
        return {"at": self.position, "deeds": actions}

    async def _execute(self, action: ScriptAction) -> list[Any]:
        controller, fault = self._session.fault_controller, action.fault
        if fault is None:
            self._session.set_load(action.rate, None)
            return []
        if action.operation == "mend":
            return list(await controller.heal(fault.target, fault.kind, action.pane))
        return list(
            await controller.inject(fault.kind, fault.target, fault.settings(), action.pane)
        )

    def _publish(self) -> None:
        assert self.scenario is not None
        steps = [step.to_json() for step in self.steps]
        self._session.broadcast.set_state(
            "script", {"title": self.scenario.title, "steps": steps, "at": self.position}
        )
