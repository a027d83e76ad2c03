"""A whole check: the contract first, then one outage after another, each on a fresh system."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from lab.cluster.errors import LabCannotRun, NotReady, NotRunning, SignalFailed, StartFailed
from lab.cluster.fault_rules import out_of_reach
from lab.cluster.injector import FaultFailed, broken
from lab.cluster.program import Exit
from lab.cluster.supervisor import Supervisor
from lab.conformance.clients import Visitors
from lab.conformance.contract import CRITERIA, NEEDED, contract
from lab.conformance.judging import JUDGES, Seen, median_ms, writes
from lab.conformance.outages import OUTAGES, ROLES, Outage
from lab.conformance.report_card import Card, Criterion, Line, Notes, Part
from lab.domain.services import BUS
from lab.experiment.checker import CannotCheck, check
from lab.experiment.readback import read_feed
from lab.external.arrangement import LOG, OWN, arrangement_of, part_of
from lab.external.programs import PRELOAD
from lab.external.stack import ForeignStack
from lab.external.target import Target
from lab.faults.kinds import parse_fault
from lab.load.samples import Sample
from lab.support.text import plain

CALM_S, BROKEN_S = 0.5, 1.5
SETTLED_WITHIN_S = 6.0
_ENDPOINTS = {"posts": "create_post", "comments": "create_comment", "query": "read_feed"}
_LONGEST_LINE = 200
_CONTRACT = "contract"

Progress = Callable[[str], None]


async def report_card(
    target: Target,
    outages: Sequence[Outage] = OUTAGES,
    progress: Progress = lambda _: None,
    bus: str = OWN,
) -> Card:
    """Check a whole system. `bus`: LOG puts the lab's log in the place of the system's bus.

    Raises LabCannotRun if the failure is not the system's.
    """
    began_s = perf_counter()
    with TemporaryDirectory(prefix="lab-check-") as folder:
        async with Supervisor(PRELOAD, Path(folder)) as supervisor:
            trying = Trying(target, supervisor, Path(folder), bus=bus)
            progress("the contract")
            whole, trouble, log = await trying.contract()
            parts = [whole]
            if all(line.held for line in whole.lines if line.criterion.key in NEEDED):
                parts += [await trying.outage(outage, progress) for outage in outages]
    strangers = arrangement_of(target, bus).strangers
    unmoved = strangers.unmoved if strangers else ()
    its_bus = "the lab's log" if bus == LOG else target.its_bus
    return Card(
        target.name,
        title=target.title or target.name,
        services=tuple(target.services),
        bus=its_bus,
        unmoved=unmoved,
        parts=tuple(parts),
        seconds=perf_counter() - began_s,
        trouble=trouble,
        log=log,
    )


class Trying:
    """Checks one system in parts, each on a freshly started one.

    `name`: prefix of its variants' names, for several systems under one supervisor.
    """

    def __init__(
        self,
        target: Target,
        supervisor: Supervisor,
        folder: Path,
        name: str = "",
        bus: str = OWN,
    ) -> None:
        self._name, self._bus = name, bus
        self._target, self._supervisor, self._folder = target, supervisor, folder
        self._done: set[tuple[str, str]] = set()

    async def contract(self) -> tuple[Part, str, tuple[str, ...]]:
        """Check the contract.

        Returns the findings; why the system did not start ("" if it did); the last log lines of the
        program that failed to start.
        """
        trouble, log = "", tuple[str, ...]()
        try:
            lines = await self._of_a_fresh_one(_CONTRACT, contract)
        except (StartFailed, NotReady) as error:
            lines = Notes(CRITERIA).lines()
            trouble = _sentence(error, self._name + _CONTRACT)
            log = tuple(plain(line, _LONGEST_LINE) for line in error.last_lines)
        return Part(_CONTRACT, "The contract", lines), trouble, log

    async def _of_a_fresh_one(
        self, key: str, look: Callable[[ForeignStack], Awaitable[tuple[Line, ...]]]
    ) -> tuple[Line, ...]:
        """Start the system, run `look` on it, and end it."""
        name = self._name + key
        with ForeignStack(
            name, self._target, self._supervisor, self._folder, bus=self._bus
        ) as stack:
            try:
                await stack.start()
                return await look(stack)
            finally:
                await self._supervisor.end(*(one.name for one in stack.programs))

    async def outage(self, outage: Outage, progress: Progress) -> Part:
        """Run one outage. If it can't be run, the findings say why."""
        part = self._whose(outage.role)
        title = f"When {outage.title.format(part=part or ROLES[outage.role])}"
        notes = Notes(_criteria(outage))
        if part is None:
            return Part(outage.key, title, notes.lines(f"there is no {outage.role} here"))
        if why := self._why_not(outage, part):
            return Part(outage.key, title, notes.lines(why))
        progress(title)

        async def look(stack: ForeignStack) -> tuple[Line, ...]:
            seen = await self._go_through(outage, part, stack)
            if seen is None:
                return notes.lines(f"the fault ({outage.kind}) met nobody, so nothing was tried")
            for key in outage.looks:
                notes.note(f"{outage.key}.{key}", *JUDGES[key](seen))
            return notes.lines()

        try:
            return Part(outage.key, title, await self._of_a_fresh_one(outage.key, look))
        except (StartFailed, NotReady, NotRunning, FaultFailed, SignalFailed, _NoUse) as error:
            notes.fail(_sentence(error, self._name + outage.key))
            return Part(outage.key, title, notes.lines())

    def _ended(self, stack: ForeignStack, broken: str) -> list[Exit]:
        """Exits of the other services, each with its whole log.

        The cause may be far above the last line: an uncaught error is printed with everything
        attached to it.
        """
        logs = {one.name: one.log for one in stack.programs}
        return [
            _with_all_of(logs[one.name], one)
            for one in self._supervisor.unexpected_exits()
            if one.name in logs and one.name != stack.program(broken)
        ]

    def _out_of_order(self, part: str) -> tuple[str, ...]:
        """The endpoints that this process itself serves."""
        return tuple(asked for role, asked in _ENDPOINTS.items() if self._whose(role) == part)

    def _whose(self, role: str) -> str | None:
        """The process with a role; None if there is none."""
        actions = self._target.actions
        services: dict[str, str | None] = {
            "posts": actions.create_post.service,
            "comments": actions.create_comment.service,
            "query": actions.read_feed.service,
            BUS: self._target.its_bus,
        }
        service = services.get(role, role)
        return part_of(self._target, service) if service in self._target.services else None

    def _why_not(self, outage: Outage, part: str) -> str:
        if outage.needs_bus and self._target.its_bus is None:
            return "there is no event bus here"
        if (outage.kind, part) in self._done:
            return f"{part} was {outage.kind} above already"
        self._done.add((outage.kind, part))
        fault = parse_fault(outage.kind, part, dict(outage.options))
        return out_of_reach(fault, arrangement_of(self._target, self._bus)) or ""

    async def _go_through(self, outage: Outage, part: str, stack: ForeignStack) -> Seen | None:
        """What was seen in the outage; None if the fault had no effect. Raises LabCannotRun."""
        visitors = Visitors(stack)
        first = await visitors.post()
        if not first.ok:
            raise _NoUse(f"no post was taken: {visitors.said}")
        calm = [first, *await visitors.come(CALM_S, first.id, "before")]
        during: list[Sample] = []
        back, injection = "", None
        try:
            async with broken(stack, outage.kind, part, **dict(outage.options)) as injection:
                during = await visitors.come(BROKEN_S, first.id, "during")
        except (StartFailed, NotReady) as error:
            back = _sentence(error, stack.name)
        if injection is None or not injection.acted:
            return None
        back = back or await _works_again(visitors, first.id)
        await stack.settle(SETTLED_WITHIN_S)
        written = writes([*calm, *during])
        held, data, unread = None, None, ""
        try:
            held = await read_feed(stack)
            data = check(written, held)
        except CannotCheck as error:
            unread = str(error)
        return Seen(
            part=part,
            broken=self._out_of_order(part) if outage.kind != "partition" else (),
            before=median_ms(calm),
            during=during,
            written=written,
            data=data,
            held=held,
            unread=unread,
            ended=self._ended(stack, part),
            back=back,
        )


class _NoUse(LabCannotRun):
    """A fresh system does not work, although it did when the contract was checked."""


def _sentence(error: LabCannotRun, stack: str) -> str:
    """The first line of the error, without the stack's name in front of its services."""
    return str(error).splitlines()[0].replace(f"{stack}.", "").removesuffix(" The end of its log:")


def _with_all_of(log: Path, one: Exit) -> Exit:
    if not log.exists():
        return one
    return replace(one, last_lines=tuple(log.read_text("utf-8", "replace").split("\n")))


def _criteria(outage: Outage) -> list[Criterion]:
    return [
        Criterion(f"{outage.key}.{key}", one.wanted, one.hint, one.claim, one.scenario)
        for key, one in outage.looks.items()
    ]


async def _works_again(visitors: Visitors, post_id: str) -> str:
    """What does not work after the fault is removed; "" if all does."""
    for sample in (
        await visitors.post("after"),
        await visitors.comment(post_id, "after"),
        await visitors.read("after"),
    ):
        if not sample.ok:
            return f"{sample.endpoint}: {visitors.said}"
    return ""
