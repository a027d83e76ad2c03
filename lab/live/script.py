"""A prepared demonstration: a scenario file, gone through step by step with the space bar.

The same file that `lab run` takes, in its own order: first the question, to be answered by the
class before anything is done; then what the method does, each beginning and each end a step; in the
end the explanation. When to go on is for the instructor to say, so the file's seconds are not kept.
What can't be shown so (a newcomer, a history, services that reach in, a third variant) is left out,
and said to be.
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
    """A fault put on or taken off in one half (None: both), or another arrival rate."""

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
    """What is said, and what is done; a step of words alone does nothing."""

    says: str
    actions: tuple[Action, ...] = ()

    def told(self) -> dict[str, str]:
        return {"says": self.says, "does": "; ".join(str(action) for action in self.actions)}


def halves_of(scenario: Scenario) -> tuple[Half, ...]:
    """Its first two variants, with all that they switch."""
    return tuple(
        Half(name, spec.arrangement, spec.options)
        for name, spec in list(scenario.variants.items())[:2]
    )


def left_out(scenario: Scenario) -> list[str]:
    """What of it can't be shown live, in words."""
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
    """The whole demonstration, in order."""
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
    """The demonstration under way. `at`: how many steps have been taken."""

    def __init__(self, scenario: Scenario, session: Session) -> None:
        self.scenario, self._session = scenario, session
        self.steps = steps_of(scenario)
        self.at = 0
        self._one_at_a_time = asyncio.Lock()
        self._tell()

    def restart(self) -> None:
        """From the first step again, with the load that the file has."""
        self.at = 0
        load = self.scenario.load
        self._session.rate, self._session.mix = load.rate, dict(load.mix)
        self._session.timeout_s = load.timeout_ms / 1_000
        self._tell()

    async def step(self) -> dict[str, Any]:
        """Take the next step. Raises Conflict behind the last one, and what the switches raise;
        a step that could not be taken is not passed."""
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
