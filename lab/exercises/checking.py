"""From a student's folder to a verdict: start a stack with the student's program in it, and look.

Whose fault is it when something doesn't start? The student's, if it is the student's program, or if
that one is not well at this moment: the others may be waiting for it. Everything else is the lab's.
"""

import asyncio
import secrets
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import aiohttp

from lab.cluster.errors import LabCannotRun, NotReady, NotRunning, StartFailed, how_it_ended
from lab.cluster.health import ask_health
from lab.cluster.injector import FaultFailed
from lab.cluster.link import tail
from lab.cluster.program import Program
from lab.cluster.stack import Stack
from lab.cluster.supervisor import Supervisor
from lab.cluster.topology import ARRANGEMENTS, preload
from lab.exercises.bench import Bench, TwoKeys
from lab.exercises.exercise import LIMIT_S, Exercise, Step, Verdict
from lab.exercises.student import MOST_BYTES
from lab.exercises.sweeping import MARK, sweep
from lab.report.text import plain

RUNNER = "lab.exercises.student"
READY_WITHIN_S = 8.0
LONGEST_LINE = 200


async def check(
    exercise: Exercise, file: Path, limit_s: float = LIMIT_S, ready_within_s: float = READY_WITHIN_S
) -> Verdict:
    """Try the student's file. Raises LabCannotRun where it is not the student's fault."""
    began_s = perf_counter()
    with TemporaryDirectory(prefix="lab-exercise-") as folder:
        mark, groups = secrets.token_hex(16), set[int]()
        supervisor = Supervisor(preload([exercise.options]), Path(folder))
        try:
            async with supervisor, AsyncExitStack() as held:
                stack = held.enter_context(
                    Stack(
                        exercise.arrangement,
                        ARRANGEMENTS[exercise.arrangement],
                        supervisor,
                        Path(folder),
                        options=exercise.options,
                    )
                )
                programs, student = _with_student(stack, exercise, file, mark)
                session = await held.enter_async_context(
                    aiohttp.ClientSession(
                        connector=aiohttp.TCPConnector(force_close=True), trust_env=False
                    )
                )
                bench = Bench(exercise, stack, session)
                try:
                    trouble = await _look(bench, programs, student, limit_s, ready_within_s)
                finally:
                    with suppress(NotRunning):
                        groups.add(supervisor.pid(student.name))
            log = _last_words(student.log)
        finally:
            sweep(mark, groups)
    unseen = "not looked at, for what comes before it failed"
    steps = tuple(
        bench.steps.get(one.key, Step(one, False, unseen, looked_at=False))
        for one in exercise.criteria
    )
    verdict = Verdict(exercise.name, steps, perf_counter() - began_s, trouble)
    return verdict if verdict.passed else replace(verdict, log=log)


async def _look(
    bench: Bench, programs: list[Program], student: Program, limit_s: float, ready_within_s: float
) -> str:
    """Start everything and go through the check; the trouble there was, "" for none."""
    supervisor, trouble = bench.stack.supervisor, ""
    try:
        async with asyncio.timeout(limit_s):
            await supervisor.start(*programs, ready_within_s=ready_within_s)
            await bench.exercise.check(bench)
    except LabCannotRun as error:
        if not (trouble := await _students_fault(error, student)):
            raise
    except TimeoutError:
        trouble = f"The check was broken off after {limit_s:g} s."
        if (await ask_health(student.health or "")).status == 200:
            raise LabCannotRun(
                f"{trouble} Your program answers, so this machine may be too busy: "
                "try again when it is not."
            ) from None
    ends = [one for one in supervisor.unexpected_exits() if one.name == student.name]
    if not trouble and ends:
        trouble = f"Your program {how_it_ended(ends[-1].status)} while it was checked."
    if trouble and student.log.exists() and student.log.stat().st_size >= MOST_BYTES:
        trouble += f" It wrote {MOST_BYTES >> 20} MiB of output, the most that is taken."
    return trouble


def _with_student(
    stack: Stack, exercise: Exercise, file: Path, mark: str
) -> tuple[list[Program], Program]:
    """The stack's programs with the student's among them, under a token that opens nothing else."""
    name, token = stack.program(exercise.part), secrets.token_urlsafe(24)
    programs = [
        replace(
            one,
            module=RUNNER,
            argv=(str(file.absolute()), *one.argv),
            env={**one.env, "LAB_TOKEN": token, MARK: mark},
        )
        if one.name == name
        else one
        for one in stack.programs
    ]
    stack.call.close()
    stack.call = TwoKeys(stack.token, stack.urls[exercise.part], token)
    return programs, next(one for one in programs if one.name == name)


async def _students_fault(error: LabCannotRun, student: Program) -> str:
    """What to tell the student; "" when it was not the student's program."""
    if isinstance(error, StartFailed) and error.name == student.name:
        return f"Your program {how_it_ended(error.status)} before it was ready."
    if isinstance(error, NotReady) and error.name == student.name:
        why = error.waits_for or "it does not answer"
        return f"Your program was not ready in time: {why}."
    health = await ask_health(student.health or "")
    if isinstance(error, FaultFailed) and student.name in str(error):
        return "A fault could not act on your program: leave it in the lab's shell, as it began."
    if health.status == 200:
        return ""
    return f"Your program is not well ({health.waits_for}), and what needs it can't go on."


def _last_words(log: Path) -> tuple[str, ...]:
    lines = (plain(line, LONGEST_LINE) for line in tail(log))
    return tuple(line for line in lines if line)
