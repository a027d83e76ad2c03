"""A whole check: the contract first, then one outage after another, each on a fresh system.

An outage is judged after all have been run: what goes wrong in any control goes wrong by itself.
"""

from collections.abc import Awaitable, Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TypeVar

from lab.cluster.errors import LabCannotRun, NotReady, NotRunning, SignalFailed, StartFailed
from lab.cluster.fault_rules import why_fault_inapplicable
from lab.cluster.injector import FaultFailed, fault_active
from lab.cluster.supervisor import Supervisor
from lab.conformance.calm import Controls, calm_section
from lab.conformance.clients import SystemClient, post_ids
from lab.conformance.contract import CRITERIA, REQUIRED_KEYS, Moderation, check_contract
from lab.conformance.endings import find_endings
from lab.conformance.judging import JUDGES, OutageObservation, WriteControl, lateness_of
from lab.conformance.light_load import CheckSample, LightLoad, longest_wait_s
from lab.conformance.moderator import named_moderator
from lab.conformance.outages import OUTAGES, ROLE_TITLES, Outage
from lab.conformance.outcome import (
    UNCHANGED_FOR_S,
    UNCHANGED_WHEN_BUSY_S,
    CannotCheck,
    Outcome,
    read_final_outcome,
    read_outcome,
)
from lab.conformance.report_card import (
    Criterion,
    CriterionFinding,
    FindingRecorder,
    ReportCard,
    ReportSection,
)
from lab.conformance.standstill import StoodStill, unless_it_stood_still
from lab.domain.services import BUS, ENTRY_POINTS
from lab.external.arrangement import LOG, OWN, arrangement_of, lab_name
from lab.external.programs import PRELOAD
from lab.external.stack import ExternalStack, SeveralNotStarted
from lab.external.target import Target
from lab.faults.kinds import parse_fault
from lab.support.text import plain

REQUESTS, REQUESTS_AFTER = 36, 24
"""Requests of the control and of the outage, and those after it: multiples of the mix of six. Of 6
posts before, a loss of 5 in the outage is significant at the level of `judging`, and so is the loss
of all 4 after it."""

SETTLED_WITHIN_S = 6.0
_MAX_LINE = 200
_CONTRACT = "contract"

Progress = Callable[[str], None]
Inspected = TypeVar("Inspected")


async def check_system(
    target: Target,
    outages: Sequence[Outage] = OUTAGES,
    progress: Progress = lambda _: None,
    bus: str = OWN,
) -> ReportCard:
    """Check a whole system. `bus`: LOG puts the lab's log in the place of the system's bus.

    Raises LabCannotRun if the failure is not the system's.
    """
    began_s = perf_counter()
    with TemporaryDirectory(prefix="lab-check-") as folder:
        async with Supervisor(PRELOAD, Path(folder)) as supervisor:
            check_run = CheckRun(target, supervisor, Path(folder), bus=bus)
            progress("the contract")
            contract_section, trouble, log = await check_run.check_contract()
            sections = [contract_section]
            if all(
                line.held
                for line in contract_section.findings
                if line.criterion.key in REQUIRED_KEYS
            ):
                sections += await check_run.check_outages(outages, progress)
    external = arrangement_of(target, bus).external
    without_sidecar = external.without_sidecar if external else ()
    bus_title = "the lab's log" if bus == LOG else target.bus_name
    return ReportCard(
        target.name,
        title=target.title or target.name,
        services=tuple(target.services),
        bus=bus_title,
        without_sidecar=without_sidecar,
        sections=tuple(sections),
        seconds=perf_counter() - began_s,
        trouble=trouble,
        log=log,
    )


class CheckRun:
    """Checks one system in sections, each on a freshly started one.

    `prefix`: begins its variants' names, for several systems under one supervisor.
    """

    def __init__(
        self,
        target: Target,
        supervisor: Supervisor,
        folder: Path,
        prefix: str = "",
        bus: str = OWN,
    ) -> None:
        self._prefix, self._bus = prefix, bus
        self._target, self._supervisor, self._folder = target, supervisor, folder
        self._tried: set[tuple[str, str]] = set()
        self._moderation = Moderation(named_moderator(target))
        self.controls = Controls()

    async def check_contract(self) -> tuple[ReportSection, str, tuple[str, ...]]:
        """Check the contract.

        Returns the findings; why the system did not start ("" if it did); the last log lines of the
        program that failed to start.
        """
        trouble, log = "", tuple[str, ...]()

        async def check() -> tuple[tuple[CriterionFinding, ...], Moderation]:
            return await self._on_fresh_system(_CONTRACT, check_contract)

        try:
            lines, self._moderation = await unless_it_stood_still(check)
        except (StartFailed, NotReady, SeveralNotStarted) as error:
            lines = FindingRecorder(CRITERIA).findings()
            errors = error.errors if isinstance(error, SeveralNotStarted) else (error,)
            trouble = " ".join(_first_line(each, self._prefix + _CONTRACT) for each in errors)
            log = tuple(plain(line, _MAX_LINE) for each in errors for line in each.last_lines)
        return ReportSection(_CONTRACT, "The contract", lines), trouble, log

    async def _on_fresh_system(
        self, key: str, inspect: Callable[[ExternalStack], Awaitable[Inspected]]
    ) -> Inspected:
        """Start the system, run `inspect` on it, and end it."""
        name = self._prefix + key
        with ExternalStack(
            name, self._target, self._supervisor, self._folder, bus=self._bus
        ) as stack:
            try:
                await _start_unless_too_busy(stack)
                return await inspect(stack)
            finally:
                await self._supervisor.end(*(program.name for program in stack.programs))

    async def check_outages(
        self, outages: Sequence[Outage], progress: Progress = lambda _: None
    ) -> list[ReportSection]:
        """Run the outages, and judge them: first a section about their controls, if there is any,
        then one for each outage."""
        self.controls.moderated = self._moderation.works
        runs = [await self._run(outage, progress) for outage in outages]
        control = self.controls.writes
        sections = [self._judge(run, control) for run in runs]
        return [calm_section(self.controls), *sections] if self.controls.starts else sections

    async def _run(self, outage: Outage, progress: Progress) -> "_OutageRun":
        """Run one outage. If it can't be run, `reason` of the result says why."""
        process = self._process_for(outage.role)
        title = f"When {outage.title.format(process=process or ROLE_TITLES[outage.role])}"
        if process is None:
            return _OutageRun(outage, title, self._missing_role(outage.role))
        if reason := self._skip_reason(outage, process):
            return _OutageRun(outage, title, reason)
        controls = self.controls

        async def attempt() -> _OutageRun:
            progress(title)
            self.controls = deepcopy(controls)
            return await self._try(outage, title, process)

        try:
            return await unless_it_stood_still(attempt)
        except StoodStill as error:
            self.controls = controls
            return _OutageRun(outage, title, str(error))

    async def _try(self, outage: Outage, title: str, process: str) -> "_OutageRun":
        self.controls.starts += 1
        has_started = False

        async def inspect(stack: ExternalStack) -> OutageObservation:
            nonlocal has_started
            has_started = True
            return await self._observe(outage, process, stack)

        try:
            observation = await self._on_fresh_system(outage.key, inspect)
        except _NothingTested as reason_error:
            return _OutageRun(outage, title, str(reason_error))
        except TooBusyToStart as error:
            self.controls.starts -= not has_started
            return _OutageRun(outage, title, str(error))
        except (
            *(StartFailed, NotReady, SeveralNotStarted),
            *(NotRunning, FaultFailed, SignalFailed),
        ) as error:
            reason = _first_line(error, self._prefix + outage.key)
            if not has_started:
                self.controls.failed_starts.append(reason)
                reason = f"it did not start this time: {reason}"
            return _OutageRun(outage, title, reason)
        return _OutageRun(outage, title, "", observation)

    def _judge(self, run: "_OutageRun", control: WriteControl) -> ReportSection:
        recorder = FindingRecorder(_keyed_criteria(run.outage))
        if run.observation is not None:
            observation = replace(
                run.observation, control=control, control_endings=self.controls.endings
            )
            for key in run.outage.criteria:
                full_key = f"{run.outage.key}.{key}"
                if (verdict := JUDGES[key](observation)) is None:
                    recorder.omit(full_key)
                else:
                    recorder.record(full_key, *verdict)
        return ReportSection(run.outage.key, run.title, recorder.findings(run.reason))

    def _missing_role(self, role: str) -> str:
        if role != "moderation":
            return f"there is no {role} here"
        seen = (
            "no service was found without which comments get no verdict"
            if self._moderation.works
            else "comments do not get the expected verdicts, so none could be found by its effect"
        )
        hint = 'If there is one, say so in the target: moderation = "NAME"'
        return f"no service is called moderation, and {seen}. {hint}"

    def _endpoints_of(self, process: str) -> tuple[str, ...]:
        """The endpoints that this process itself serves."""
        return tuple(
            asked for role, asked in ENTRY_POINTS.items() if self._process_for(role) == process
        )

    def _process_for(self, role: str) -> str | None:
        """The process with a role; None if there is none."""
        actions = self._target.actions
        services: dict[str, str | None] = {
            "posts": actions.create_post.service,
            "comments": actions.create_comment.service,
            "query": actions.read_feed.service,
            "moderation": self._moderation.service,
            BUS: self._target.bus_name,
        }
        service = services.get(role, role)
        return lab_name(self._target, service) if service in self._target.services else None

    def _skip_reason(self, outage: Outage, process: str) -> str:
        if outage.needs_bus and self._target.bus_name is None:
            return "there is no event bus here"
        if (outage.kind, process) in self._tried:
            return f"{process} was {outage.kind} above already"
        self._tried.add((outage.kind, process))
        fault = parse_fault(outage.kind, process, dict(outage.options))
        return why_fault_inapplicable(fault, arrangement_of(self._target, self._bus)) or ""

    async def _observe(
        self, outage: Outage, process: str, stack: ExternalStack
    ) -> OutageObservation:
        """What was seen in the outage. Raises _NothingTested, LabCannotRun."""
        load = LightLoad(stack, self._target.forbidden)
        post_id = await self._first_post(load, stack)
        recovery_failure, injection = "", None
        async with load.traffic(post_id):
            before = await load.stretch("before", REQUESTS)
            self.controls.stretches.append(before)
            writes = [sample for sample in before if sample.token]
            await self._note_outcome_before(stack, writes, post_id)
            if endings := await find_endings(stack):
                self.controls.endings += endings
                ended = "; ".join(f"{each.process} {each.how}" for each in endings)
                raise _NothingTested(f"{ended}, before the fault")
            try:
                async with fault_active(
                    stack, outage.kind, process, **dict(outage.options)
                ) as injection:
                    during = await load.stretch("during", REQUESTS)
                    load.write_only()
            except (StartFailed, NotReady) as error:
                if injection is None:
                    raise
                _raise_if_too_busy(stack, error)
                recovery_failure = _first_line(error, stack.name)
            after = await load.stretch("after", REQUESTS_AFTER)
        if injection is None or not injection.acted:
            raise _NothingTested(
                f"the fault ({outage.kind}) affected no request, so nothing was tested"
            )
        outcome, unreadable_reason = await self._final_outcome(stack, load, post_id)
        return OutageObservation(
            process=process,
            own_endpoints=self._endpoints_of(process) if outage.kind != "partition" else (),
            before=before,
            during=during,
            after=[] if recovery_failure else after,
            outcome=outcome,
            unreadable_reason=unreadable_reason,
            moderated=self._moderation.works,
            endings=await find_endings(stack, except_for=(process,)),
            recovery_failure=recovery_failure,
        )

    async def _first_post(self, load: LightLoad, stack: ExternalStack) -> str:
        """The id of a new post, on which all comments are. Raises _NothingTested."""
        post = await load.first_post()
        if not post.ok:
            self.controls.stretches.append([post])
            self.controls.endings += await find_endings(stack)
            reasons = filter(None, (post.failure, lateness_of([post])))
            raise _NothingTested(f"no post was accepted before the fault: {'; '.join(reasons)}")
        if post.id:
            return post.id
        title = f"post {post.token}"
        feed, wrong = await SystemClient(stack).feed_until(lambda feed: bool(post_ids(feed, title)))
        if wrong:
            raise _NothingTested(f"the feed did not show the first post: {wrong}")
        return post_ids(feed, title)[0]

    async def _note_outcome_before(
        self, stack: ExternalStack, writes: Sequence[CheckSample], post_id: str
    ) -> None:
        """Read the outcome of the control. It is not known if the feed can't be read."""
        try:
            outcome = await self._outcome(stack, writes, UNCHANGED_WHEN_BUSY_S)
            outcome = await read_final_outcome(stack, writes, post_id, outcome)
        except CannotCheck:
            return
        self.controls.outcomes.append(outcome)

    async def _final_outcome(
        self, stack: ExternalStack, load: LightLoad, post_id: str
    ) -> tuple[Outcome | None, str]:
        """What became of all writes; None with the reason if the feed can't be read."""
        await stack.settle(SETTLED_WITHIN_S)
        try:
            is_busy = lateness_of(load.samples)
            unchanged_for_s = UNCHANGED_WHEN_BUSY_S if is_busy else UNCHANGED_FOR_S
            outcome = await self._outcome(stack, load.writes, unchanged_for_s)
            return await read_final_outcome(stack, load.writes, post_id, outcome), ""
        except CannotCheck:
            reader = self._target.actions.read_feed.service
            reason = (await load.read()).failure or "it was cut off"
            return None, f"{reader} did not return its feed afterwards: {reason}"

    async def _outcome(
        self, stack: ExternalStack, writes: Sequence[CheckSample], unchanged_for_s: float
    ) -> Outcome:
        """Waits for verdicts about twice as long as the contract has seen one take."""
        verdict_s = self._moderation.verdict_s
        return await read_outcome(
            stack,
            writes,
            patience_s=unchanged_for_s + 2 * verdict_s,
            at_most_s=SETTLED_WITHIN_S + 2 * verdict_s,
            moderated=self._moderation.works,
        )


@dataclass(frozen=True)
class _OutageRun:
    """An outage with its observation; None if it was not run, and `reason` says why."""

    outage: Outage
    title: str
    reason: str
    observation: OutageObservation | None = None


class TooBusyToStart(LabCannotRun):
    """The services were not ready in time, and got hardly any processor time."""


async def _start_unless_too_busy(stack: ExternalStack) -> None:
    """Raises StartFailed, NotReady, SeveralNotStarted, TooBusyToStart."""
    try:
        await stack.start()
    except (NotReady, SeveralNotStarted) as error:
        _raise_if_too_busy(stack, error)
        raise


def _raise_if_too_busy(stack: ExternalStack, error: LabCannotRun) -> None:
    """Raise TooBusyToStart if services were only late, and waited for a processor for most of the
    time that they have to become ready."""
    each = error.errors if isinstance(error, SeveralNotStarted) else (error,)
    waited_s = longest_wait_s(stack)
    if all(isinstance(one, NotReady) for one in each) and (
        waited_s > stack.target.ready_within_s / 2
    ):
        raise TooBusyToStart(
            f"This machine was too busy (a service waited {waited_s:.0f} s for a processor), so "
            f"{_first_line(each[0], stack.name)}"
        ) from None


class _NothingTested(Exception):
    """Nothing can be said about the fault; the message says why."""


def _first_line(error: LabCannotRun, stack: str) -> str:
    """The first line of the error, without the stack's name in front of its services."""
    return str(error).splitlines()[0].replace(f"{stack}.", "").removesuffix(" The end of its log:")


def _keyed_criteria(outage: Outage) -> list[Criterion]:
    return [
        Criterion(
            f"{outage.key}.{key}",
            criterion.requirement,
            criterion.hint,
            criterion.claim,
            criterion.scenario,
        )
        for key, criterion in outage.criteria.items()
    ]
