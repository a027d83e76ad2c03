"""Adds and removes faults on the stacks of a running lab, and reports the evidence of each.

A target has *either* one fault on its process *or* faults in its fault filter. The counters of a
fault filter are lost when its process exits. So before a process is killed or suspended, the faults
in its filter are removed and their evidence is collected.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal

import psutil

from lab.cluster.errors import LabCannotRun
from lab.cluster.fault_rules import makes_no_sense, out_of_reach
from lab.cluster.injector import Injection
from lab.cluster.stack import Stack
from lab.domain.errors import Conflict, Invalid
from lab.faults.kinds import KINDS, Fault, Hang, parse_fault
from lab.support.text import did_you_mean

# ── Actions

State = Literal["on", "ended", "healed", "restarted", "lost", "failed"]


@dataclass(frozen=True)
class Deed:
    """One action on one target of one stack, or one active fault; `says` is its sentence."""

    stack: str
    target: str
    kind: str
    options: dict[str, Any]
    state: State
    says: str
    evidence: dict[str, Any]


def deed_of(one: Injection, state: State, says: str) -> Deed:
    """The action for an injection, with its evidence."""
    fault, evidence = one.fault, dict(one.evidence)
    return Deed(one.stack.name, fault.target, fault.kind, fault.settings(), state, says, evidence)


def called(fault: Fault) -> str:
    """The kind of a fault with its settings, as `latency (ms 300)`."""
    given = fault.settings().items()
    settings = ", ".join(f"{k} {v if isinstance(v, str) else format(v, 'g')}" for k, v in given)
    return f"{fault.kind} ({settings})" if settings else fault.kind


def account(injection: Injection) -> str:
    """The evidence as sentences: what the fault affected and for how long, or that it had no
    effect."""
    told = injection.evidence
    if injection.fault.acts_on == "process":
        says = f"Process {told['pid']} was away for {told['seconds']:.1f} s (a probe: "
        says += f"{told['probe'] or 'answered'})."
        if "new_pid" in told:
            says += f" It is process {told['new_pid']} now."
    elif injection.fault.acts_on == "bus":
        which = f"is event {told['sequence']}" if told["sequence"] else "has no number"
        says = f"It {which}, and stays on the bus. It was more than "
        says += f"{' and '.join(told['failed']) or 'NOBODY'} could digest."
        says += f" Still stuck at it: {', '.join(told['stuck'])}." if "stuck" in told else ""
        if "laid_aside" in told:
            says += f" Laid aside by {', '.join(told['laid_aside'])}: `lab events --dead`."
        return says
    elif not injection.acted:
        says = f"In {told['seconds']:.1f} s it hit NOBODY: {told['visitors']} came to the door."
    else:
        says = f"In {told['seconds']:.1f} s it hit {told['acted']} of {told['visitors']} visitors"
        if "delayed_ms_mean" in told:
            says += f", for {told['delayed_ms_mean']:.0f} ms on average"
        says += "."
    return says if injection.gone else f"{says} But it is not well yet: look at /health."


# ── Fault controller

IS = {"down": "is already down", "hang": "already hangs"}


class Switchboard:
    """Controls the faults on some running stacks. A lock runs the requests one after another."""

    def __init__(self, stacks: Sequence[Stack]) -> None:
        self._stacks = {stack.name: stack for stack in stacks}
        self._on: list[Injection] = []
        self._number = 0
        self._one_at_a_time = asyncio.Lock()

    @property
    def stacks(self) -> list[Stack]:
        """The running stacks."""
        return list(self._stacks.values())

    def faults(self) -> list[Deed]:
        """The active faults, the oldest first."""
        return [deed_of(one, "on", f"{called(one.fault)} is on.") for one in self._on]

    def ended(self) -> list[Deed]:
        """The processes that exited without a fault."""
        says = "It has ended by itself. Heal it: that starts it again."
        return [
            Deed(stack.name, target, "", {}, "ended", says, {})
            for stack, target in self._ended(self.stacks)
        ]

    def _ended(self, stacks: Iterable[Stack], target: str | None = None) -> list[tuple[Stack, str]]:
        """The processes that exited by themselves, each with its stack. `target`: only the process
        that runs it."""
        found = dict.fromkeys(
            (one, one.arrangement.home(name))
            for one in stacks
            for name in one.arrangement.targets
            if target in (None, name) and self._has_ended_by_itself(one, name)
        )
        return list(found)

    async def put(
        self, kind: str, target: str, options: dict[str, Any], stack: str | None
    ) -> list[Deed]:
        """Inject a fault into the target, in the named stack or in each that has it. All stacks are
        checked before the first one is changed.

        Raises Invalid (unknown kind, target, option or stack, or the fault can't act there) and
        Conflict (the state of the target does not allow it)."""
        try:
            fault = parse_fault(kind, target, options)
        except ValueError as error:
            raise Invalid(str(error)) from None
        stacks = _reached(fault, self._stacks_with(target, stack))
        async with self._one_at_a_time:
            for one in stacks:
                self._refuse_if_broken(one, target)
            in_the_way = [
                one
                for where in stacks
                for one in self._on_target(where, target)
                if fault.acts_on == "process" or one.fault.kind == kind
            ]
            healed = await _together(self._end(one) for one in in_the_way)
            begun = await _together(self._begin(one, fault) for one in stacks)
            self._on.sort(key=lambda one: one.began_s)
            return healed + begun

    async def heal(self, target: str | None, kind: str | None, stack: str | None) -> list[Deed]:
        """Remove all faults, or those that match, and restart processes that exited by themselves.

        Returns the actions with their evidence; an empty list when nothing was broken.
        Raises Invalid."""
        if kind is not None and kind not in KINDS:
            raise Invalid(f"There is no fault {kind!r}. {did_you_mean(kind, KINDS)}", field="kind")
        stacks = self._stacks_with(target, stack)
        async with self._one_at_a_time:
            ended = self._ended(stacks, target)
            lost = [self._lose(one) for place in ended for one in self._on_target(*place)]
            wanted = [
                one
                for one in self._on
                if one.stack in stacks
                and (target is None or one in self._on_target(one.stack, target))
                and kind in (None, one.fault.kind)
            ]
            restarts = [self._restart(*place) for place in ended if kind in (None, "down")]
            # Concurrently: a service on the bus becomes ready only after the bus itself is ready.
            return lost + await _together([*(self._end(one) for one in wanted), *restarts])

    def _stacks_with(self, target: str | None, stack: str | None) -> list[Stack]:
        if stack is not None and stack not in self._stacks:
            raise Invalid(
                f"No stack {stack!r} runs here. {did_you_mean(stack, self._stacks)}", field="stack"
            )
        named = [one for name, one in self._stacks.items() if stack in (None, name)]
        have_it = [one for one in named if target in (None, *one.arrangement.targets)]
        if not have_it:
            targets = list(dict.fromkeys(t for one in named for t in one.arrangement.targets))
            where = " and ".join(one.name for one in named)
            raise Invalid(
                f"{where}: there is no {target!r}. {did_you_mean(str(target), targets)}",
                field="target",
            )
        return have_it

    def _refuse_if_broken(self, stack: Stack, target: str) -> None:
        at = f"{target} of {stack.name}"
        for one in self._on_target(stack, target):
            if one.fault.acts_on == "process":
                raise Conflict(f"{at} {IS[one.fault.kind]}. Heal {target} first.")
        if self._has_ended_by_itself(stack, target):
            raise Conflict(
                f"{at} has ended by itself, so there is nothing to break. "
                f"Heal {target}: that starts it again."
            )

    def _on_target(self, stack: Stack, target: str) -> list[Injection]:
        """The active faults on the process that runs `target`: in the monolith, those of all
        targets."""
        program = stack.program(target)
        return [
            one
            for one in self._on
            if one.stack is stack and stack.program(one.fault.target) == program
        ]

    def _has_ended_by_itself(self, stack: Stack, target: str) -> bool:
        alive = stack.supervisor.alive(stack.program(target))
        return not alive and all(o.fault.kind != "down" for o in self._on_target(stack, target))

    async def _begin(self, stack: Stack, fault: Fault) -> Deed:
        self._number += 1
        injection = Injection(stack, fault, f"by-hand-{self._number}")
        try:
            await injection.begin()
        except (LabCannotRun, psutil.Error) as error:
            return deed_of(injection, "failed", f"{fault.kind} could not be put on: {error}")
        self._on.append(injection)
        if fault.acts_on == "process" and not injection.acted:
            probe = injection.evidence.get("probe") or "an answer"
            says = f"{fault.kind} was put on, yet a probe of it got: {probe}."
            return deed_of(injection, "failed", says)
        return deed_of(injection, "on", f"{called(fault)} is on: {fault.says}.")

    async def _end(self, injection: Injection) -> Deed:
        kind = injection.fault.kind
        try:
            await injection.end()
        except (LabCannotRun, psutil.Error) as error:
            if not await self._is_still_on(injection):
                self._on.remove(injection)
            return deed_of(injection, "failed", f"{kind} was to be healed: {error}")
        self._on.remove(injection)
        return deed_of(injection, "healed", f"{kind} is healed. {account(injection)}")

    def _lose(self, injection: Injection) -> Deed:
        self._on.remove(injection)
        kind = injection.fault.kind
        return deed_of(injection, "lost", f"{kind} ended with its process, and so did its proof.")

    async def _is_still_on(self, injection: Injection) -> bool:
        stack, fault = injection.stack, injection.fault
        if not stack.supervisor.alive(stack.program(fault.target)):
            return False
        if fault.acts_on != "door":
            return isinstance(fault, Hang)
        hanging = await stack.call("GET", stack.urls[fault.target], "/_lab/faults")
        return not hanging.ok or injection.name in hanging.data

    async def _restart(self, stack: Stack, target: str) -> Deed:
        program, began_s = stack.program(target), perf_counter()
        says = f"{target} had ended by itself, and is started again."
        try:
            await stack.supervisor.restart(program)
        except LabCannotRun as error:
            return Deed(stack.name, target, "", {}, "failed", f"{target}: {error}", {})
        evidence = {
            "new_pid": stack.supervisor.pid(program),
            "ready_after_seconds": round(perf_counter() - began_s, 3),
        }
        return Deed(stack.name, target, "", {}, "restarted", says, evidence)


def _reached(fault: Fault, stacks: Sequence[Stack]) -> list[Stack]:
    """The stacks in which the fault can act. Raises Invalid if there is none."""
    # The check of fault against target knows only the blog's own services, not a guest.
    guest = any(fault.target in one.arrangement.guests for one in stacks)
    anywhere = None if guest else makes_no_sense(fault)
    whys = [anywhere] + [out_of_reach(fault, one.arrangement) for one in stacks]
    reached = [one for one, why in zip(stacks, whys[1:], strict=True) if why is None]
    if whys[0] or not reached:
        raise Invalid(next(why for why in whys if why))
    return reached


async def _together(deeds: Iterable[Coroutine[Any, Any, Deed]]) -> list[Deed]:
    return list(await asyncio.gather(*deeds))
