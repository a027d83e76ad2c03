"""Puts faults on a running stack, removes them, and records the evidence for both.

A fault without evidence does not count: the commonest bug of systems that demonstrate failure is a
switch that does nothing. So every injection ends with a record of what the fault did and of its
removal. A run in which either is missing is an error.

A poison event is published like every other event. It gets a sequence number and stays on the bus,
so it is the only fault that can't be removed.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any
from zlib import crc32

import psutil

from lab.cluster.control_client import ControlResponse
from lab.cluster.errors import LabCannotRun
from lab.cluster.stack import Stack
from lab.domain.events import Envelope
from lab.domain.services import BUS, EVENT_CONSUMERS
from lab.faults.kinds import DownFault, Fault, HangFault, PoisonFault, parse_fault

# ── Poison events

SOURCE = "/lab/poison"
POLL_EVERY_S = 0.02
FAILS_WITHIN_S = 2.0


class PoisonNotPublished(LabCannotRun):
    """The bus did not accept the poison event."""


@dataclass(frozen=True)
class PublishedPoison:
    """A poison event on the bus. `sequence`: None on a bus without sequence numbers."""

    subject: str
    sequence: int | None


async def publish_poison(stack: Stack, fault: PoisonFault) -> PublishedPoison:
    """Publish an event of that type whose data has only an `id`. Raises
    PoisonNotPublished."""
    subject = f"poison-{perf_counter():.6f}"
    data = {"id": subject}
    event = Envelope.create(fault.type, subject=subject, data=data, source=SOURCE)
    answer = await stack.call("POST", stack.urls[BUS], "/events", event.model_dump())
    if not answer.ok:
        raise PoisonNotPublished(
            f"The poison could not be published to {stack.name}'s {BUS}: "
            f"{answer.error or answer.data or answer.status}. Is it up?"
        )
    sequences = (answer.data or {}).get("sequences") or [None]
    return PublishedPoison(subject, sequences[0])


async def find_failures(
    stack: Stack, fault: PoisonFault, poison: PublishedPoison
) -> dict[str, Any]:
    """The evidence: which services `failed` on the event, and which of them are `stuck` or have
    `laid_aside` the event as a dead letter (both left out when empty).

    `acted` counts the targeted services that failed. While it is 0, the states are read again, for
    up to FAILS_WITHIN_S seconds.
    """
    expected = (fault.target,) if fault.target != BUS else EVENT_CONSUMERS[fault.type]
    give_up_at_s = perf_counter() + FAILS_WITHIN_S
    while True:
        states = {name: await stack.state(name) or {} for name in EVENT_CONSUMERS[fault.type]}
        failed = [name for name, of in states.items() if poison.subject in of.get("failed_on", ())]
        if any(name in failed for name in expected) or perf_counter() > give_up_at_s:
            break
        await asyncio.sleep(POLL_EVERY_S)
    stuck = [
        name
        for name in failed
        if (states[name].get("stuck") or {}).get("sequence") == poison.sequence is not None
    ]
    laid_aside = [name for name in failed if name not in stuck and states[name].get("dead")]
    evidence: dict[str, Any] = {"sequence": poison.sequence, "failed": failed}
    evidence |= {"stuck": stuck} if stuck else {}
    evidence |= {"laid_aside": laid_aside} if laid_aside else {}
    return evidence | {"acted": sum(name in failed for name in expected)}


# ── Injection

PROBE_S = 0.1
GONE_WITHIN_S = 5.0


class FaultFailed(LabCannotRun):
    """A fault could not be put on, or could not be removed."""


@dataclass
class Injection:
    """A fault on a target of a stack. `acted` and `removed` are final after `end`.

    Values of `perf_counter`: `began_s` when it began to be put on, `on_s` when it was known to act,
    `off_s` when its removal began, `gone_s` when it was known to be gone: when a killed process
    answered again, although it may have to catch up first.
    """

    stack: Stack
    fault: Fault
    name: str
    began_s: float = 0.0
    on_s: float = 0.0
    off_s: float = 0.0
    gone_s: float = 0.0
    evidence: dict[str, Any] = field(default_factory=dict)
    acted: bool = False
    removed: bool = False
    poison: PublishedPoison | None = None
    group: str = ""  # the scenario's name for several faults that act as one
    window: tuple[float, float] | None = None  # its declared begin and end, from the run's start

    @property
    def _url(self) -> str:
        return self.stack.urls[self.fault.target]

    @property
    def _program(self) -> str:
        return self.stack.program_name(self.fault.target)

    @property
    def _owns_tree(self) -> bool:
        return any(
            program.owns_tree for program in self.stack.programs if program.name == self._program
        )

    async def begin(self, seed: int = 0) -> None:
        """Put the fault on. Raises FaultFailed, PoisonNotTold, NotRunning, SignalFailed."""
        supervisor = self.stack.supervisor
        self.began_s = perf_counter()
        if isinstance(self.fault, DownFault):
            pid = supervisor.pid(self._program)
            await supervisor.kill(self._program)
            self.on_s = perf_counter()
            # Refused at once, unless the machine is busy or a sidecar first probes its service.
            probe = await self.stack.call("GET", self._url, "/health", within_s=GONE_WITHIN_S)
            probe_error = _probe_error(probe)
            if not self.stack.attached:
                self.evidence |= {"pid": pid, "gone": not psutil.pid_exists(pid)}
            self.evidence["probe"] = probe_error
            self.acted = probe_error == "refused"
        elif isinstance(self.fault, HangFault):
            await supervisor.suspend(self._program)
            self.on_s = perf_counter()
            probe = await self.stack.call("GET", self._url, "/health", within_s=PROBE_S)
            if not self.stack.attached:
                self.evidence["pid"] = supervisor.pid(self._program)
            self.evidence["probe"] = probe.error
            self.acted = probe.error == "timeout"
            if descendants := supervisor.descendant_pids(self._program) if self._owns_tree else []:
                # A sidecar may probe only the port, which a suspended process keeps open.
                suspended = sum(map(_is_suspended, descendants))
                self.evidence |= {"suspended": suspended}
                self.acted = suspended == len(descendants)
        elif isinstance(self.fault, PoisonFault):
            self.poison = await publish_poison(self.stack, self.fault)
            self.on_s = perf_counter()
        else:
            request = {
                "kind": self.fault.kind,
                "target": self.fault.target,
                "options": self.fault.settings(),
                # One seed for each target, or all fault filters would hit the same requests.
                "seed": seed + crc32(self.fault.target.encode()),
            }
            answer = await self.stack.call("PUT", self._url, f"/_lab/faults/{self.name}", request)
            if not answer.ok:
                raise FaultFailed(
                    f"{self.fault.kind} could not be put on {self._program}: "
                    f"{answer.error or answer.data}. Is it up? A process that is down or hangs has "
                    "no fault filter to reach."
                )
            self.on_s = perf_counter()

    async def end(self) -> None:
        """Remove the fault and complete the evidence. Raises FaultFailed, StartFailed, NotReady."""
        supervisor, answered_s = self.stack.supervisor, None
        self.off_s = perf_counter()
        self.evidence["seconds"] = round(self.off_s - self.began_s, 3)
        if isinstance(self.fault, DownFault):
            answered_s = await supervisor.restart(self._program)
            self.off_s = min(self.off_s, answered_s)  # an engine may have restarted it earlier
            if not self.stack.attached:
                self.evidence["new_pid"] = supervisor.pid(self._program)
            self.evidence["back_after_seconds"] = round(perf_counter() - self.began_s, 3)
        elif isinstance(self.fault, HangFault):
            await supervisor.resume(self._program)
        elif isinstance(self.fault, PoisonFault):
            assert self.poison is not None
            self.evidence |= await find_failures(self.stack, self.fault, self.poison)
            self.acted = self.evidence["acted"] > 0
        else:
            answer = await self.stack.call("DELETE", self._url, f"/_lab/faults/{self.name}")
            evidence = answer.data.get("evidence") if isinstance(answer.data, dict) else None
            if not (
                answer.ok and isinstance(evidence, dict) and isinstance(evidence.get("acted"), int)
            ):
                raise FaultFailed(
                    f"{self.fault.kind} could not be taken off {self._program}: "
                    f"{answer.error or answer.data or 'it was not there any more'}. "
                    "Was the process restarted meanwhile?"
                )
            self.evidence |= evidence
            self.acted = evidence["acted"] > 0
        self.removed = await self._is_removed()
        self.gone_s = perf_counter() if answered_s is None else answered_s

    async def _is_removed(self) -> bool:
        if self.fault.acts_on == "bus":
            return True  # The event stays on the bus; no further one is published.
        health = await self.stack.call("GET", self._url, "/health", within_s=GONE_WITHIN_S)
        if self.fault.acts_on == "process":
            return health.ok
        active_faults = await self.stack.call("GET", self._url, "/_lab/faults")
        return active_faults.ok and self.name not in (active_faults.data or ())


def _is_suspended(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.NoSuchProcess:
        return True  # It has exited meanwhile, so it answers nothing either.


def _probe_error(probe: ControlResponse) -> str:
    """The error of a probe. A sidecar responds, and reports the error of its service."""
    report = probe.data if isinstance(probe.data, dict) else {}
    return probe.error or str(report.get("error", ""))


@asynccontextmanager
async def fault_active(
    stack: Stack, kind: str, target: str, seed: int = 0, **options: Any
) -> AsyncIterator[Injection]:
    """Keep a fault active inside the block; after the block the injection has its evidence."""
    injection = Injection(stack, parse_fault(kind, target, options), f"check-{kind}")
    await injection.begin(seed)
    try:
        yield injection
    finally:
        await injection.end()
