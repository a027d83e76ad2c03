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
from lab.cluster.fault_rules import why_fault_impossible, why_fault_inapplicable
from lab.cluster.injector import Injection
from lab.cluster.stack import Stack
from lab.domain.errors import Conflict, Invalid
from lab.faults.kinds import KINDS, Fault, HangFault, parse_fault
from lab.support.text import did_you_mean

# ── Actions

State = Literal["on", "ended", "healed", "restarted", "lost", "failed"]


@dataclass(frozen=True)
class FaultAction:
    """One action on one target of one stack, or one active fault; `says` is its sentence."""

    stack: str
    target: str
    kind: str
    options: dict[str, Any]
    state: State
    says: str
    evidence: dict[str, Any]


def action_from_injection(injection: Injection, state: State, says: str) -> FaultAction:
    """The action for an injection, with its evidence."""
    fault, evidence = injection.fault, dict(injection.evidence)
    return FaultAction(
        injection.stack.name, fault.target, fault.kind, fault.settings(), state, says, evidence
    )


def fault_label(fault: Fault) -> str:
    """The kind of a fault with its settings, as `latency (ms 300)`."""
    options = fault.settings().items()
    settings = ", ".join(f"{k} {v if isinstance(v, str) else format(v, 'g')}" for k, v in options)
    return f"{fault.kind} ({settings})" if settings else fault.kind


def describe_evidence(injection: Injection) -> str:
    """The evidence as sentences: what the fault affected and for how long, or that it had no
    effect."""
    evidence, seconds = injection.evidence, injection.evidence.get("seconds", 0.0)
    unit = "events" if injection.fault.event_effect else "requests"
    if injection.fault.acts_on == "process":
        says = f"Process {evidence['pid']} was away for {seconds:.1f} s (a probe: "
        says += f"{evidence['probe'] or 'answered'})."
        if "new_pid" in evidence:
            says += f" It is process {evidence['new_pid']} now."
    elif injection.fault.acts_on == "bus":
        position = f"is event {evidence['sequence']}" if evidence["sequence"] else "has no number"
        says = f"It {position}, and stays on the bus. It was more than "
        says += f"{' and '.join(evidence['failed']) or 'NOBODY'} could digest."
        says += (
            f" Still stuck at it: {', '.join(evidence['stuck'])}." if "stuck" in evidence else ""
        )
        if "laid_aside" in evidence:
            says += f" Laid aside by {', '.join(evidence['laid_aside'])}: `lab events --dead`."
        return says
    elif not injection.acted:
        says = f"In {seconds:.1f} s it hit NOTHING: {evidence['visitors']} {unit} came."
    else:
        says = f"In {seconds:.1f} s it hit {evidence['acted']} of {evidence['visitors']} {unit}"
        if "delayed_ms_mean" in evidence:
            says += f", for {evidence['delayed_ms_mean']:.0f} ms on average"
        says += "."
    return says if injection.removed else f"{says} But it is not well yet: look at /health."


# ── Fault controller

PROCESS_FAULT_STATES = {"down": "is already down", "hang": "already hangs"}


class FaultController:
    """Controls the faults on some running stacks. A lock runs the requests one after another."""

    def __init__(self, stacks: Sequence[Stack]) -> None:
        self._stacks = {stack.name: stack for stack in stacks}
        self._active: list[Injection] = []
        self._last_number = 0
        self._lock = asyncio.Lock()

    @property
    def stacks(self) -> list[Stack]:
        """The running stacks."""
        return list(self._stacks.values())

    def faults(self) -> list[FaultAction]:
        """The active faults, the oldest first."""
        return [
            action_from_injection(injection, "on", f"{fault_label(injection.fault)} is on.")
            for injection in self._active
        ]

    def ended_processes(self) -> list[FaultAction]:
        """The processes that exited without a fault."""
        says = "It has ended by itself. Heal it: that starts it again."
        return [
            FaultAction(stack.name, target, "", {}, "ended", says, {})
            for stack, target in self._find_ended_processes(self.stacks)
        ]

    def _find_ended_processes(
        self, stacks: Iterable[Stack], target: str | None = None
    ) -> list[tuple[Stack, str]]:
        """The processes that exited by themselves, each with its stack. `target`: only the process
        that runs it."""
        processes = dict.fromkeys(
            (candidate, candidate.arrangement.process_of(name))
            for candidate in stacks
            for name in candidate.arrangement.targets
            if target in (None, name) and self._has_ended_by_itself(candidate, name)
        )
        return list(processes)

    async def inject(
        self, kind: str, target: str, options: dict[str, Any], stack: str | None
    ) -> list[FaultAction]:
        """Inject a fault into the target, in the named stack or in each that has it. All stacks are
        checked before the first one is changed.

        Raises Invalid (unknown kind, target, option or stack, or the fault can't act there) and
        Conflict (the state of the target does not allow it)."""
        try:
            fault = parse_fault(kind, target, options)
        except ValueError as error:
            raise Invalid(str(error)) from None
        stacks = _applicable_stacks(fault, self._stacks_with(target, stack))
        async with self._lock:
            for candidate in stacks:
                self._refuse_if_broken(candidate, target)
            conflicting = [
                injection
                for where in stacks
                for injection in self._on_target(where, target)
                if fault.acts_on == "process" or injection.fault.kind == kind
            ]
            healed = await _gather_actions(self._heal_one(injection) for injection in conflicting)
            injected = await _gather_actions(
                self._inject_one(candidate, fault) for candidate in stacks
            )
            self._active.sort(key=lambda injection: injection.began_s)
            return healed + injected

    async def heal(
        self, target: str | None, kind: str | None, stack: str | None
    ) -> list[FaultAction]:
        """Remove all faults, or those that match, and restart processes that exited by themselves.

        Returns the actions with their evidence; an empty list when nothing was broken.
        Raises Invalid."""
        if kind is not None and kind not in KINDS:
            raise Invalid(f"There is no fault {kind!r}. {did_you_mean(kind, KINDS)}", field="kind")
        stacks = self._stacks_with(target, stack)
        async with self._lock:
            ended = self._find_ended_processes(stacks, target)
            lost = [
                self._drop_lost(injection)
                for place in ended
                for injection in self._on_target(*place)
            ]
            matching = [
                injection
                for injection in self._active
                if injection.stack in stacks
                and (target is None or injection in self._on_target(injection.stack, target))
                and kind in (None, injection.fault.kind)
            ]
            restarts = [self._restart(*place) for place in ended if kind in (None, "down")]
            # Concurrently: a service on the bus becomes ready only after the bus itself is ready.
            return lost + await _gather_actions(
                [*(self._heal_one(injection) for injection in matching), *restarts]
            )

    def _stacks_with(self, target: str | None, stack: str | None) -> list[Stack]:
        if stack is not None and stack not in self._stacks:
            raise Invalid(
                f"No stack {stack!r} runs here. {did_you_mean(stack, self._stacks)}", field="stack"
            )
        selected = [candidate for name, candidate in self._stacks.items() if stack in (None, name)]
        matching = [
            candidate for candidate in selected if target in (None, *candidate.arrangement.targets)
        ]
        if not matching:
            targets = list(
                dict.fromkeys(t for candidate in selected for t in candidate.arrangement.targets)
            )
            where = " and ".join(candidate.name for candidate in selected)
            raise Invalid(
                f"{where}: there is no {target!r}. {did_you_mean(str(target), targets)}",
                field="target",
            )
        return matching

    def _refuse_if_broken(self, stack: Stack, target: str) -> None:
        at = f"{target} of {stack.name}"
        for injection in self._on_target(stack, target):
            if injection.fault.acts_on == "process":
                raise Conflict(
                    f"{at} {PROCESS_FAULT_STATES[injection.fault.kind]}. Heal {target} first."
                )
        if self._has_ended_by_itself(stack, target):
            raise Conflict(
                f"{at} has ended by itself, so there is nothing to break. "
                f"Heal {target}: that starts it again."
            )

    def _on_target(self, stack: Stack, target: str) -> list[Injection]:
        """The active faults on the process that runs `target`: in the monolith, those of all
        targets."""
        program = stack.program_name(target)
        return [
            injection
            for injection in self._active
            if injection.stack is stack and stack.program_name(injection.fault.target) == program
        ]

    def _has_ended_by_itself(self, stack: Stack, target: str) -> bool:
        alive = stack.supervisor.alive(stack.program_name(target))
        return not alive and all(o.fault.kind != "down" for o in self._on_target(stack, target))

    async def _inject_one(self, stack: Stack, fault: Fault) -> FaultAction:
        self._last_number += 1
        injection = Injection(stack, fault, f"by-hand-{self._last_number}")
        try:
            await injection.begin()
        except (LabCannotRun, psutil.Error) as error:
            return action_from_injection(
                injection, "failed", f"{fault.kind} could not be put on: {error}"
            )
        self._active.append(injection)
        if fault.acts_on == "process" and not injection.acted:
            probe = injection.evidence.get("probe") or "an answer"
            says = f"{fault.kind} was put on, yet a probe of it got: {probe}."
            return action_from_injection(injection, "failed", says)
        return action_from_injection(
            injection, "on", f"{fault_label(fault)} is on: {fault.description}."
        )

    async def _heal_one(self, injection: Injection) -> FaultAction:
        kind = injection.fault.kind
        try:
            await injection.end()
        except (LabCannotRun, psutil.Error) as error:
            if not await self._is_still_active(injection):
                self._active.remove(injection)
            return action_from_injection(injection, "failed", f"{kind} was to be healed: {error}")
        self._active.remove(injection)
        return action_from_injection(
            injection, "healed", f"{kind} is healed. {describe_evidence(injection)}"
        )

    def _drop_lost(self, injection: Injection) -> FaultAction:
        self._active.remove(injection)
        kind = injection.fault.kind
        return action_from_injection(
            injection, "lost", f"{kind} ended with its process, and so did its proof."
        )

    async def _is_still_active(self, injection: Injection) -> bool:
        stack, fault = injection.stack, injection.fault
        if not stack.supervisor.alive(stack.program_name(fault.target)):
            return False
        if fault.acts_on != "door":
            return isinstance(fault, HangFault)
        response = await stack.call("GET", stack.urls[fault.target], "/_lab/faults")
        return not response.ok or injection.name in response.data

    async def _restart(self, stack: Stack, target: str) -> FaultAction:
        program, began_s = stack.program_name(target), perf_counter()
        says = f"{target} had ended by itself, and is started again."
        try:
            await stack.supervisor.restart(program)
        except LabCannotRun as error:
            return FaultAction(stack.name, target, "", {}, "failed", f"{target}: {error}", {})
        evidence = {
            "new_pid": stack.supervisor.pid(program),
            "ready_after_seconds": round(perf_counter() - began_s, 3),
        }
        return FaultAction(stack.name, target, "", {}, "restarted", says, evidence)


def _applicable_stacks(fault: Fault, stacks: Sequence[Stack]) -> list[Stack]:
    """The stacks in which the fault can act. Raises Invalid if there is none."""
    # The check of fault against target knows only the blog's own services, not a guest.
    guest = any(fault.target in candidate.arrangement.guests for candidate in stacks)
    why_impossible_anywhere = None if guest else why_fault_impossible(fault)
    reasons = [why_impossible_anywhere] + [
        why_fault_inapplicable(fault, candidate.arrangement) for candidate in stacks
    ]
    applicable = [
        candidate for candidate, why in zip(stacks, reasons[1:], strict=True) if why is None
    ]
    if reasons[0] or not applicable:
        raise Invalid(next(why for why in reasons if why))
    return applicable


async def _gather_actions(actions: Iterable[Coroutine[Any, Any, FaultAction]]) -> list[FaultAction]:
    return list(await asyncio.gather(*actions))
