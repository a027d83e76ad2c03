"""A prepared demonstration: the steps of a file, taken one by one with the space bar.

The file may be a scenario, the same as for `lab run`. First comes the question, for the class to
answer before anything happens; then each start and each end of a fault or of another load is a
step; the explanation comes last. The instructor decides when to go on, so the durations in the file
do not apply. Parts that can't be shown live (newcomer, history, `reach_in`, `at_once`, more than
two variants) are left out and reported.

Or the file is a lecture (lab/scenarios/lecture.py): each part of a scene is a step.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from lab.domain.errors import Conflict, Invalid, ServiceError
from lab.faults.kinds import Fault
from lab.live.bets import Bets
from lab.live.cards import is_final
from lab.live.panes import Pane
from lab.live.session import Session
from lab.scenarios.catalogue import builtin_scenarios, find
from lab.scenarios.lecture import Lecture, SceneSpec, faults_of
from lab.scenarios.names import builtin_names
from lab.scenarios.scenario import Scenario
from lab.scenarios.spec import BetSpec

POLL_INTERVAL_S = 0.1


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
    """The text of a step and its actions; a step of text alone has none.

    `asks`: the bet that it opens; `closes_bet`: it shows the bars. `heals`: it removes all faults
    before its actions. `wait_until`: a condition to wait for after its actions. If the
    scene goes on, the next step then comes by itself. `card`: it keeps the card of the last
    outage on the screen."""

    text: str
    actions: tuple[ScriptAction, ...] = ()
    heals: bool = False
    asks: BetSpec | None = None
    closes_bet: bool = False
    wait_until: float | str | None = None
    scene_goes_on: bool = False
    card: bool = False

    def to_json(self) -> dict[str, Any]:
        deeds = [
            *(["heal all"] if self.heals else []),
            *map(str, self.actions),
            *([f"ask the room: {self.asks.question}"] if self.asks else []),
            *(["close the bet"] if self.closes_bet else []),
            *(["the card of the outage"] if self.card else []),
        ]
        return {"says": self.text, "does": "; ".join(deeds), "card": self.card}


def panes_of(source: Scenario | Lecture) -> tuple[Pane, ...]:
    """The panes of the first two variants, with their options."""
    return tuple(
        Pane(name, spec.arrangement or name, spec.options)
        for name, spec in list(source.variants.items())[:2]
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


def build_steps(source: Scenario | Lecture) -> list[ScriptStep]:
    """All steps, in order. Actions at the same moment of a scenario are one step."""
    if isinstance(source, Lecture):
        return [step for scene in source.scene for step in _scene_steps(scene)]
    return _scenario_steps(source)


def _scene_steps(scene: SceneSpec) -> Iterator[ScriptStep]:
    if scene.say or scene.bet:
        yield ScriptStep(scene.say, asks=scene.bet)
    if scene.bet:
        yield ScriptStep("", closes_bet=True)
    if scene.changes_something:
        load = [ScriptAction("load", rate=scene.rate)] if scene.rate else []
        faults = [ScriptAction("break", fault, pane) for fault, pane in faults_of(scene)]
        yield ScriptStep(
            "",
            (*load, *faults),
            heals=scene.heal,
            wait_until=scene.wait_until,
            scene_goes_on=scene.card,
        )
    if scene.card:
        yield ScriptStep("", card=True)


def _scenario_steps(scenario: Scenario) -> list[ScriptStep]:
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
    for step in steps:
        if step.heals:
            faults.clear()
        for action in step.actions:
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
    """The running demonstration, or none yet. `position`: how many steps have been taken; `bets`
    opens and closes those of a lecture."""

    bets: Bets

    def __init__(self, session: Session, source: Scenario | Lecture | None = None) -> None:
        self.source: Scenario | Lecture | None = None
        self._session = session
        self.steps: list[ScriptStep] = []
        self.position = 0
        self._lock = asyncio.Lock()
        self._waiting: asyncio.Task[None] | None = None
        if source is not None:
            self._set(source)
            self._publish()

    @property
    def questions(self) -> Sequence[BetSpec]:
        """What the demonstration asks the room; none without one."""
        if isinstance(self.source, Lecture):
            return [scene.bet for scene in self.source.scene if scene.bet]
        return () if self.source is None else self.source.bet

    def _set(self, source: Scenario | Lecture) -> None:
        self.source, self.steps, self.position = source, build_steps(source), 0

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
        self.stop_waiting()
        if self.source is None:
            return
        self.position = 0
        load = self.source.load
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
        if self.source is None or self.position == 0:
            raise Conflict("No step was taken yet. The space bar takes the first one.")
        self.stop_waiting()
        before = situation_after(self.steps[: self.position - 1], self.source.load.rate)
        controller = self._session.fault_controller
        if self.steps[self.position - 1].asks:
            self.bets.drop()
        await controller.heal(None, None, None)
        if self._session.rate != before.rate:
            self._session.set_load(before.rate, None)
        for fault, pane in before.faults:
            await controller.inject(fault.kind, fault.target, fault.settings(), pane)
        self.position -= 1

    async def advance(self) -> dict[str, Any]:
        """Take the next step. Raises Conflict after the last step, and the errors of the fault
        controller; after an error the same step comes again."""
        if self.source is None:
            raise Invalid(
                "There is no script here: start with `lab live --script FILE`, or press o."
            )
        self._session.require_up()
        async with self._lock:
            if self.position == len(self.steps):
                raise Conflict("The script is at its end. Reset begins it again.")
            self.stop_waiting()
            step = self.steps[self.position]
            deeds = await self._take(step)
            self.position += 1
        description = str(step.to_json()["does"] or step.text)
        self._session.broadcast.log_action(
            f"Step {self.position} of {len(self.steps)}: {description}", "script"
        )
        if step.wait_until is not None:
            self._waiting = asyncio.create_task(self._advance_when(step.wait_until))
        self._publish()
        return {"at": self.position, "deeds": deeds}

    async def _take(self, step: ScriptStep) -> list[Any]:
        deeds: list[Any] = []
        if step.asks:
            self.bets.drop()
            self.bets.ask(step.asks)
        if step.closes_bet and self.bets.is_open:
            self.bets.close()
        if step.heals:
            deeds += await self._session.fault_controller.heal(None, None, None)
        for action in step.actions:
            deeds += await self._execute(action)
        return deeds

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

    def stop_waiting(self) -> None:
        """Wait no longer for the condition of a step; the next step comes by hand."""
        task, self._waiting = self._waiting, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    async def _advance_when(self, condition: float | str) -> None:
        if isinstance(condition, float):
            await asyncio.sleep(condition)
        while True:
            if self._holds(condition):
                break
            await asyncio.sleep(POLL_INTERVAL_S)
        self._waiting = None
        if self.steps[self.position - 1].scene_goes_on:
            with suppress(ServiceError):
                await self.advance()
        else:
            self._publish()

    def _holds(self, condition: float | str) -> bool:
        if condition == "decided":
            return self.bets.current is None or self.bets.current.holds is not None
        if condition == "normal":
            cards = self._session.broadcast.current_state["cards"]
            return all(is_final(card) for card in cards)
        return True

    def _publish(self) -> None:
        assert self.source is not None
        state = {
            "title": self.source.title,
            "steps": [step.to_json() for step in self.steps],
            "at": self.position,
            "waits": self._waiting is not None,
        }
        self._session.broadcast.set_state("script", state)
