"""A whole check: the contract first, then one outage after another, each on a fresh system."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from lab.cluster.errors import LabCannotRun, NotReady, NotRunning, SignalFailed, StartFailed
from lab.cluster.fault_rules import why_fault_inapplicable
from lab.cluster.injector import FaultFailed, fault_active
from lab.cluster.program import Exit
from lab.cluster.supervisor import Supervisor
from lab.conformance.clients import LightLoad
from lab.conformance.contract import CRITERIA, REQUIRED_KEYS, check_contract
from lab.conformance.judging import JUDGES, OutageObservation, median_feed_ms, write_samples
from lab.conformance.outages import OUTAGES, ROLE_TITLES, Outage
from lab.conformance.report_card import (
    Criterion,
    CriterionFinding,
    FindingRecorder,
    ReportCard,
    ReportSection,
)
from lab.domain.services import BUS, ENTRY_POINTS
from lab.experiment.checker import CannotCheck, check
from lab.experiment.readback import read_external_state
from lab.external.arrangement import LOG, OWN, arrangement_of, lab_name
from lab.external.programs import PRELOAD
from lab.external.stack import ExternalStack
from lab.external.target import Target
from lab.faults.kinds import parse_fault
from lab.load.samples import Sample
from lab.support.text import plain

CALM_S, BROKEN_S = 0.5, 1.5
SETTLED_WITHIN_S = 6.0
_MAX_LINE = 200
_CONTRACT = "contract"

Progress = Callable[[str], None]


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
                sections += [await check_run.check_outage(outage, progress) for outage in outages]
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

    async def check_contract(self) -> tuple[ReportSection, str, tuple[str, ...]]:
        """Check the contract.

        Returns the findings; why the system did not start ("" if it did); the last log lines of the
        program that failed to start.
        """
        trouble, log = "", tuple[str, ...]()
        try:
            lines = await self._on_fresh_system(_CONTRACT, check_contract)
        except (StartFailed, NotReady) as error:
            lines = FindingRecorder(CRITERIA).findings()
            trouble = _first_line(error, self._prefix + _CONTRACT)
            log = tuple(plain(line, _MAX_LINE) for line in error.last_lines)
        return ReportSection(_CONTRACT, "The contract", lines), trouble, log

    async def _on_fresh_system(
        self, key: str, inspect: Callable[[ExternalStack], Awaitable[tuple[CriterionFinding, ...]]]
    ) -> tuple[CriterionFinding, ...]:
        """Start the system, run `inspect` on it, and end it."""
        name = self._prefix + key
        with ExternalStack(
            name, self._target, self._supervisor, self._folder, bus=self._bus
        ) as stack:
            try:
                await stack.start()
                return await inspect(stack)
            finally:
                await self._supervisor.end(*(program.name for program in stack.programs))

    async def check_outage(self, outage: Outage, progress: Progress) -> ReportSection:
        """Run one outage. If it can't be run, the findings say why."""
        process = self._process_for(outage.role)
        title = f"When {outage.title.format(process=process or ROLE_TITLES[outage.role])}"
        recorder = FindingRecorder(_keyed_criteria(outage))
        if process is None:
            return ReportSection(
                outage.key, title, recorder.findings(f"there is no {outage.role} here")
            )
        if reason := self._skip_reason(outage, process):
            return ReportSection(outage.key, title, recorder.findings(reason))
        progress(title)

        async def inspect(stack: ExternalStack) -> tuple[CriterionFinding, ...]:
            seen = await self._run_outage(outage, process, stack)
            if seen is None:
                return recorder.findings(
                    f"the fault ({outage.kind}) affected no request, so nothing was tested"
                )
            for key in outage.criteria:
                recorder.record(f"{outage.key}.{key}", *JUDGES[key](seen))
            return recorder.findings()

        try:
            return ReportSection(
                outage.key, title, await self._on_fresh_system(outage.key, inspect)
            )
        except (
            StartFailed,
            NotReady,
            NotRunning,
            FaultFailed,
            SignalFailed,
            _SystemUnusable,
        ) as error:
            recorder.record_failure(_first_line(error, self._prefix + outage.key))
            return ReportSection(outage.key, title, recorder.findings())

    def _other_exits(self, stack: ExternalStack, broken_process: str) -> list[Exit]:
        """Exits of the other services, each with its whole log.

        The cause may be far above the last line: an uncaught error is printed with everything
        attached to it.
        """
        logs = {program.name: program.log for program in stack.programs}
        return [
            _with_whole_log(logs[exit_.name], exit_)
            for exit_ in self._supervisor.unexpected_exits()
            if exit_.name in logs and exit_.name != stack.program_name(broken_process)
        ]

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

    async def _run_outage(
        self, outage: Outage, process: str, stack: ExternalStack
    ) -> OutageObservation | None:
        """What was seen in the outage; None if the fault had no effect. Raises LabCannotRun."""
        load = LightLoad(stack)
        first = await load.post()
        if not first.ok:
            raise _SystemUnusable(f"no post was taken: {load.last_failure}")
        baseline = [first, *await load.run(CALM_S, first.id, "before")]
        during: list[Sample] = []
        recovery_failure, injection = "", None
        try:
            async with fault_active(
                stack, outage.kind, process, **dict(outage.options)
            ) as injection:
                during = await load.run(BROKEN_S, first.id, "during")
        except (StartFailed, NotReady) as error:
            recovery_failure = _first_line(error, stack.name)
        if injection is None or not injection.acted:
            return None
        recovery_failure = recovery_failure or await _recovery_failure(load, first.id)
        await stack.settle(SETTLED_WITHIN_S)
        writes = write_samples([*baseline, *during])
        stored_state, data, unreadable_reason = None, None, ""
        try:
            stored_state = await read_external_state(stack)
            data = check(writes, stored_state)
        except CannotCheck as error:
            unreadable_reason = str(error)
        return OutageObservation(
            process=process,
            own_endpoints=self._endpoints_of(process) if outage.kind != "partition" else (),
            baseline_ms=median_feed_ms(baseline),
            during=during,
            writes=writes,
            data=data,
            stored_state=stored_state,
            unreadable_reason=unreadable_reason,
            exits=self._other_exits(stack, process),
            recovery_failure=recovery_failure,
        )


class _SystemUnusable(LabCannotRun):
    """A fresh system does not work, although it did when the contract was checked."""


def _first_line(error: LabCannotRun, stack: str) -> str:
    """The first line of the error, without the stack's name in front of its services."""
    return str(error).splitlines()[0].replace(f"{stack}.", "").removesuffix(" The end of its log:")


def _with_whole_log(log: Path, exit_: Exit) -> Exit:
    if not log.exists():
        return exit_
    return replace(exit_, last_lines=tuple(log.read_text("utf-8", "replace").split("\n")))


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


async def _recovery_failure(load: LightLoad, post_id: str) -> str:
    """What does not work after the fault is removed; "" if all does."""
    for sample in (
        await load.post("after"),
        await load.comment(post_id, "after"),
        await load.read("after"),
    ):
        if not sample.ok:
            return f"{sample.endpoint}: {load.last_failure}"
    return ""
