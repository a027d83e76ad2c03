"""Blogs with a bug under the lab's own load and faults, and then the lab's checker.

No step has a fixed duration. The load runs until it is done; a fault lasts until enough requests of
each kind have met it; the search for a bug is repeated until it is found or the test gives up.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from itertools import cycle
from pathlib import Path
from time import perf_counter
from typing import Any

from lab.cluster.arrangements import ARRANGEMENTS
from lab.cluster.errors import NotReady
from lab.cluster.injector import Injection
from lab.cluster.program import Program
from lab.cluster.stack import Stack
from lab.cluster.supervisor import Supervisor
from lab.experiment.checker import check, read_stored_state
from lab.faults.kinds import parse_fault
from lab.load.plan import PlanPhase, PlanVariant
from lab.load.samples import Sample
from lab.load.schedule import PhaseClock, build_schedule
from lab.load.sender import Sender
from lab.load.visibility import VisibilityProbe
from lab.results.result import CheckerCounts
from lab.support.http_client import HttpClient
from tests.support.power_cut import ForgetfulDisk

MUTANTS = "tests.programs.mutants"
MIX = {"read_feed": 2, "create_post": 3, "create_comment": 5}
USERS, THINK_TIME_S = 5, 0.02
ENOUGH = 2 * USERS  # requests of each kind; more than can have been in flight before
PATIENCE_S = 60.0
GIVE_UP_S = 150.0
SETTLE_WITHIN_S = 5.0  # with a bug: it may never settle
POLL_INTERVAL_S = 0.01


@dataclass(frozen=True)
class Treatment:
    """What is done to a blog under load: `kill` (and restarted at once), `down` (killed, restarted
    after enough requests have met that), `power cut` (all processes at once, with what the disk
    had not stored), or any fault of the fault filter. "": nothing."""

    kind: str = ""
    target: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.kind} {self.target}".strip() or "calm"


CALM = Treatment()
POWER_CUT = Treatment("power cut")


@dataclass(frozen=True)
class MutantTrial:
    """One blog, and the treatments it gets in turn.

    `bug`: a key of BUGS, put into the program `part`; "" for none. `figure`: the checker's figure
    that must find it; "" for none.
    """

    arrangement: str
    treatments: tuple[Treatment, ...] = (CALM,)
    options: Mapping[str, Any] = field(default_factory=dict)
    process: str = ""
    bug: str = ""
    figure: str = ""

    def __str__(self) -> str:
        what = f"{self.process} {self.bug}" if self.bug else "as it is"
        options = "".join(f" {name}={value}" for name, value in self.options.items())
        return f"{self.arrangement}{options}: {what} ({', '.join(map(str, self.treatments))})"

    def programs(self, stack: Stack) -> list[Program]:
        """The programs of the stack, one of them a mutant."""
        mutant = f"{stack.name}.{self.process}"
        return [
            replace(one, module=MUTANTS, argv=(self.bug, one.module, *one.argv))
            if self.bug and one.name == mutant
            else one
            for one in stack.programs
        ]


async def run_mutant_trial(
    supervisor: Supervisor, folder: Path, trial: MutantTrial, power: "Power | None" = None
) -> CheckerCounts:
    """The checker's figures for a trial in an empty folder. A blog with a figure to find is treated
    until that is seen, any other once. `power`: what `power cut` cuts."""
    arrangement = ARRANGEMENTS[trial.arrangement]
    give_up_at_s = perf_counter() + GIVE_UP_S
    settle_within_s = SETTLE_WITHIN_S if trial.figure else PATIENCE_S
    with Stack(folder.name, arrangement, supervisor, folder, options=trial.options) as stack:
        programs = trial.programs(stack)
        try:
            await supervisor.start(*programs, ready_within_s=PATIENCE_S)
            async with under_load(stack) as load:
                while True:
                    for treatment in trial.treatments:
                        await load.wait_for_enough()
                        if power is not None and treatment == POWER_CUT:
                            await power.cut(supervisor, [one.name for one in programs])
                        else:
                            await _apply_treatment(treatment, stack, load, bool(trial.bug))
                    await load.wait_for_enough()
                    async with load.paused():
                        settled = await stack.settle(settle_within_s)
                        assert settled or trial.figure, "it has not settled"
                        counts = check(load.samples, await read_stored_state(stack))
                    done = not trial.figure or getattr(counts, trial.figure)
                    if done or perf_counter() > give_up_at_s:
                        return counts
        finally:
            alive = [one.name for one in programs if supervisor.alive(one.name)]
            await asyncio.gather(*map(supervisor.kill, alive))


async def _apply_treatment(
    treatment: Treatment, stack: Stack, load: "ClosedLoopUsers", has_bug: bool
) -> None:
    if treatment.kind in ("kill", "down"):
        program = stack.program_name(treatment.target)
        await stack.supervisor.kill(program)
        if treatment.kind == "down":
            await load.wait_for_enough()
        # A mutant may never be ready again; it is judged as it is.
        with suppress(NotReady) if has_bug else nullcontext():
            patience_s = SETTLE_WITHIN_S if has_bug else PATIENCE_S
            await stack.supervisor.restart(program, patience_s)
    elif treatment.kind:
        fault = parse_fault(treatment.kind, treatment.target, dict(treatment.options))
        injection = Injection(stack, fault, "the-fault")
        await injection.begin(seed=7)
        await load.wait_for_enough()
        await injection.end()
        assert injection.acted, injection.evidence


@dataclass
class Power:
    """Cuts the power of processes on a disk, at random moments; `cuts` is how often it did.

    In half of the cuts some of what was not synced is on the disk all the same, and in a quarter
    the power goes again while the processes start.
    """

    disk: ForgetfulDisk
    rng: random.Random
    cuts: int = 0

    async def cut(self, supervisor: Supervisor, programs: Sequence[str]) -> None:
        """Kill the programs and undo what they have not synced; return when all are ready again."""
        await asyncio.sleep(self.rng.uniform(0, 0.2))
        while True:
            alive = [name for name in programs if supervisor.alive(name)]
            await asyncio.gather(*map(supervisor.kill, alive))
            survivors = self.rng if self.rng.random() < 0.5 else None
            await asyncio.to_thread(self.disk.cut_power, survivors)
            self.cuts += 1
            restarts = [
                asyncio.create_task(supervisor.restart(name, PATIENCE_S)) for name in programs
            ]
            if self.rng.random() < 0.75:
                await asyncio.gather(*restarts)
                return
            await asyncio.wait(restarts, timeout=self.rng.uniform(0, 0.5))
            # Not cancelled: a process that starts just then would live on, and write.
            while not all(restart.done() for restart in restarts):
                begun = [name for name in programs if supervisor.alive(name)]
                started = [name for name in begun if supervisor.pid(name)]
                await asyncio.gather(*map(supervisor.kill, started), return_exceptions=True)
                await asyncio.wait(restarts, timeout=0.01)
            await asyncio.gather(*restarts, return_exceptions=True)


@dataclass
class ClosedLoopUsers:
    """A few closed-loop users: each sends the next request when the last is answered."""

    sender: Sender

    def __post_init__(self) -> None:
        self._arrivals = enumerate(cycle(build_schedule(7, 1_000, [PHASE], MIX)))
        self._open = asyncio.Event()
        self._open.set()

    @property
    def samples(self) -> list[Sample]:
        return self.sender.samples

    async def send_requests(self) -> None:
        while True:
            await self._open.wait()
            answered = asyncio.Event()
            number, arrival = next(self._arrivals)
            now_s = perf_counter() - self.sender.started_at_s
            self.sender.fire(number, arrival, now_s, answered.set)
            await answered.wait()
            await asyncio.sleep(THINK_TIME_S)

    async def wait_for_enough(self) -> None:
        """Wait until enough requests of each kind, in flight or not yet sent at the call, have been
        answered or have failed."""

        def answered() -> Counter[str]:
            return Counter(one.endpoint for one in self.samples if one.ok or one.error)

        before = answered()
        await _until(lambda: all((answered() - before)[kind] >= ENOUGH for kind in MIX))

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Inside the block no request is sent or in flight."""
        self._open.clear()
        await _until(lambda: not self.sender.counts.in_flight)
        yield
        self._open.set()


PHASE = PlanPhase(name="trial", seconds=1)


@asynccontextmanager
async def under_load(stack: Stack) -> AsyncIterator[ClosedLoopUsers]:
    """A stack under load inside the block."""
    loop, started_at_s = asyncio.get_running_loop(), perf_counter()
    variant = PlanVariant(
        name=stack.name, urls=dict(stack.entry_urls), seed_posts=[await _create_seed_post(stack)]
    )
    sender = Sender(
        index=0,
        variant=variant,
        client=HttpClient(loop, 64),
        probe=VisibilityProbe(
            loop,
            HttpClient(loop, 1),
            variant.origin("query"),
            variant.seed_posts,
            started_at_s,
            reader_delay_s=0.3,
            timeout_s=PATIENCE_S,
        ),
        phase_clock=PhaseClock([PHASE]),
        started_at_s=started_at_s,
        timeout_s=PATIENCE_S,
        max_in_flight=64,
        follow_ups=("comment_at_once",),
    )
    load = ClosedLoopUsers(sender)
    users = [asyncio.create_task(load.send_requests()) for _ in range(USERS)]
    try:
        yield load
        assert not [one for one in users if one.done()]
    finally:
        for one in users:
            one.cancel()
        sender.close()
        await asyncio.gather(*users, return_exceptions=True)


async def _create_seed_post(stack: Stack) -> str:
    """A post that may be commented on. If a mutant loses it for good, another one is made."""
    ids: list[str] = []
    async with asyncio.timeout(PATIENCE_S):
        while True:
            body = {"title": f"A seed, number {len(ids)}"}
            answer = await stack.call("POST", stack.urls["posts"], "/posts", body)
            assert answer.status == 201, answer
            ids.append(str(answer.data["id"]))
            for one in ids:
                path, comment = f"/posts/{one}/comments", {"content": "!"}
                answer = await stack.call("POST", stack.urls["comments"], path, comment)
                if answer.ok:
                    return one
            await asyncio.sleep(POLL_INTERVAL_S)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - answers arrive in several places
            await asyncio.sleep(POLL_INTERVAL_S)
