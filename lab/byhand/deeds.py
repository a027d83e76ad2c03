"""What was done to a running lab, one deed at a time, and how it is told to people."""

from dataclasses import dataclass
from typing import Any, Literal

from lab.cluster.injector import Injection
from lab.faults.kinds import Fault

State = Literal["on", "ended", "healed", "restarted", "lost", "failed"]


@dataclass(frozen=True)
class Deed:
    """What was done to one target of one stack, or what is on; `says` tells it to people."""

    stack: str
    target: str
    kind: str
    options: dict[str, Any]
    state: State
    says: str
    evidence: dict[str, Any]


def deed_of(one: Injection, state: State, says: str) -> Deed:
    """What was done with an injection."""
    fault, evidence = one.fault, dict(one.evidence)
    return Deed(one.stack.name, fault.target, fault.kind, fault.settings(), state, says, evidence)


def called(fault: Fault) -> str:
    """A fault in a word, with its settings."""
    given = fault.settings().items()
    settings = ", ".join(f"{k} {v if isinstance(v, str) else format(v, 'g')}" for k, v in given)
    return f"{fault.kind} ({settings})" if settings else fault.kind


def account(injection: Injection) -> str:
    """The evidence in words: what the fault did, to whom, for how long; or that it did nothing."""
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
