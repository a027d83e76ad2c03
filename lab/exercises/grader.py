"""Grades a student's folder: runs its files inside running stacks and returns a verdict.

A student's file replaces a program of the stack, or runs next to the others as a guest.
`lab.cluster.user_service` runs it in a separate process, with a token that no other program
accepts.

If a program does not start, the student is at fault if it is the student's, or if a student's
program is unhealthy at that moment: other programs may be waiting for it. All other errors are the
lab's.
"""

import asyncio
import secrets
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, NamedTuple

import aiohttp

from lab.cluster.arrangements import ARRANGEMENTS, preload
from lab.cluster.control_client import ANSWER_WITHIN_S, Answer, Caller
from lab.cluster.errors import LabCannotRun, NotReady, NotRunning, StartFailed, how_it_ended
from lab.cluster.forkserver_client import tail
from lab.cluster.health import ask_health
from lab.cluster.injector import FaultFailed
from lab.cluster.program import Program
from lab.cluster.stack import Stack
from lab.cluster.supervisor import Supervisor
from lab.cluster.user_service import MARK, MOST_BYTES, guest, sweep
from lab.exercises.exercise import LIMIT_S, Exercise, Piece, Verdict
from lab.exercises.testbed import Bench, Notes
from lab.support.text import plain

# ── Placing the student's files

RUNNER = "lab.cluster.user_service"


class TwoKeys(Caller):
    """The lab's control client: the student's program has its own token, which no other accepts."""

    def __init__(self, token: str, student: str, token_there: str) -> None:
        super().__init__(token)
        self._student, self._there = student, Caller(token_there)

    async def __call__(
        self, method: str, url: str, path: str, body: Any = None, within_s: float = ANSWER_WITHIN_S
    ) -> Answer:
        if url == self._student:
            return await self._there(method, url, path, body, within_s)
        return await super().__call__(method, url, path, body, within_s)

    def close(self) -> None:
        self._there.close()
        super().close()


@contextmanager
def placed(
    piece: Piece, file: Path, supervisor: Supervisor, folder: Path, mark: str
) -> Iterator[tuple[Stack, Program]]:
    """A stack for a piece, not yet started, and the student's program in it.

    All processes that the student's program starts carry `mark` in their environment.
    """
    with Stack(
        piece.arrangement,
        ARRANGEMENTS[piece.arrangement],
        supervisor,
        folder,
        options=piece.options,
    ) as stack:
        token = secrets.token_urlsafe(24)
        env = {"LAB_TOKEN": token, MARK: mark}
        if piece.part in stack.arrangement.programs:
            name = stack.program(piece.part)
            before = next(one for one in stack.programs if one.name == name)
            student = replace(
                before,
                module=RUNNER,
                argv=(str(file.absolute()), *before.argv),
                env={**before.env, **env},
            )
            stack.programs = [student if one is before else one for one in stack.programs]
        else:
            stack.take_in(piece.part, RUNNER)
            student = guest(stack, piece.part, file.absolute(), env)
        stack.call.close()
        stack.call = TwoKeys(stack.token, stack.urls[piece.part], token)
        yield stack, student


# ── The check

READY_WITHIN_S = 8.0
LONGEST_LINE = 200


class Trouble(NamedTuple):
    """Why a check could not be completed, in a sentence, and the file that caused it."""

    says: str
    file: str


async def check(
    exercise: Exercise,
    folder: Path,
    limit_s: float = LIMIT_S,
    ready_within_s: float = READY_WITHIN_S,
) -> Verdict:
    """Check the files in a student's folder. Raises LabCannotRun if the lab is at fault."""
    began_s, notes = perf_counter(), Notes(exercise.criteria)
    with TemporaryDirectory(prefix="lab-exercise-") as here:
        mark, groups = secrets.token_hex(16), set[int]()
        supervisor = Supervisor(preload([one.options for one in exercise.pieces]), Path(here))
        benches: dict[str, Bench] = {}
        try:
            async with supervisor, AsyncExitStack() as held:
                session = await held.enter_async_context(
                    aiohttp.ClientSession(
                        connector=aiohttp.TCPConnector(force_close=True), trust_env=False
                    )
                )
                for piece in exercise.pieces:
                    file = folder / piece.file
                    stack, student = held.enter_context(
                        placed(piece, file, supervisor, Path(here), mark)
                    )
                    benches[piece.file] = Bench(stack, student, session, notes, ready_within_s)
                try:
                    trouble = await _look(exercise, benches, supervisor, limit_s, ready_within_s)
                finally:
                    for bench in benches.values():
                        with suppress(NotRunning):
                            groups.add(supervisor.pid(bench.student.name))
            logs = {file: _last_words(bench.student.log) for file, bench in benches.items()}
        finally:
            sweep(mark, groups)
    steps, took_s = notes.steps(), perf_counter() - began_s
    if trouble is not None:
        return Verdict(exercise.name, steps, took_s, trouble.says, logs[trouble.file])
    verdict = Verdict(exercise.name, steps, took_s)
    return verdict if verdict.passed else replace(verdict, log=_together(logs))


async def _look(
    exercise: Exercise,
    benches: Mapping[str, Bench],
    supervisor: Supervisor,
    limit_s: float,
    ready_within_s: float,
) -> Trouble | None:
    """Start everything except the guests, which the check starts itself, and run the check."""
    students, trouble = {file: bench.student for file, bench in benches.items()}, None
    try:
        async with asyncio.timeout(limit_s):
            await supervisor.start(
                *(
                    program
                    for bench in benches.values()
                    for program in bench.stack.programs
                    if not bench.is_guest(program)
                ),
                ready_within_s=ready_within_s,
            )
            await exercise.check(*benches.values())
    except LabCannotRun as error:
        if not (trouble := await _students_fault(error, students, supervisor)):
            raise
    except TimeoutError:
        says = f"The check was broken off after {limit_s:g} s."
        if not (unwell := await _unwell(students, supervisor)):
            raise LabCannotRun(
                f"{says} Your program answers, so this machine may be too busy: "
                "try again when it is not."
            ) from None
        trouble = Trouble(says, next(iter(unwell)))
    trouble = trouble or await _ended_by_itself(students, supervisor)
    if trouble and _size(students[trouble.file].log) >= MOST_BYTES:
        most = f" It wrote {MOST_BYTES >> 20} MiB of output, the most that is taken."
        trouble = Trouble(trouble.says + most, trouble.file)
    return trouble


async def _students_fault(
    error: LabCannotRun, students: Mapping[str, Program], supervisor: Supervisor
) -> Trouble | None:
    """The message for the student; None if no program of the student's caused the error."""
    for file, student in students.items():
        if isinstance(error, StartFailed) and error.name == student.name:
            how = how_it_ended(error.status)
            return Trouble(f"Your {file} {how} before it was ready.", file)
        if isinstance(error, NotReady) and error.name == student.name:
            why = error.waits_for or "it does not answer"
            return Trouble(f"Your {file} was not ready in time: {why}.", file)
        if isinstance(error, FaultFailed) and student.name in str(error):
            says = (
                f"A fault could not act on your {file}: leave it in the lab's shell, as it began."
            )
            return Trouble(says, file)
    for file, why in (await _unwell(students, supervisor)).items():
        return Trouble(f"Your {file} is not well ({why}), and what needs it can't go on.", file)
    return None


async def _ended_by_itself(
    students: Mapping[str, Program], supervisor: Supervisor
) -> Trouble | None:
    """The message about a student's program that exited unexpectedly; None if none did.

    Raises LabCannotRun if a program of the lab exited while the student's are healthy.
    """
    names = {student.name: file for file, student in students.items()}
    others = []
    for one in supervisor.unexpected_exits():
        says = f"{how_it_ended(one.status)} while it was checked."
        if one.name in names:
            return Trouble(f"Your {names[one.name]} {says}", names[one.name])
        others.append(f"{one.name} {says} {' '.join(one.last_lines[-1:])}".strip())
    if others and not await _unwell(students, supervisor):
        raise LabCannotRun(f"{others[0]} Your program is well: try again.")
    return None


async def _unwell(students: Mapping[str, Program], supervisor: Supervisor) -> dict[str, str]:
    """The files whose programs are started but not healthy, each with what it is waiting for."""
    found = {}
    for file, student in students.items():
        with suppress(NotRunning):
            supervisor.pid(student.name)
            health = await ask_health(student.health or "")
            if health.status != 200:
                found[file] = str(health.waits_for)
    return found


def _size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def _last_words(log: Path) -> tuple[str, ...]:
    lines = (plain(line, LONGEST_LINE) for line in tail(log))
    return tuple(line for line in lines if line)


def _together(logs: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The logs one after the other; if there are several, each after its file's name."""
    if len(logs) == 1:
        return next(iter(logs.values()))
    return tuple(line for file, lines in logs.items() if lines for line in (f"{file}:", *lines))
