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
from lab.cluster.control_client import RESPONSE_WITHIN_S, ControlClient, ControlResponse
from lab.cluster.errors import LabCannotRun, NotReady, NotRunning, StartFailed, describe_exit
from lab.cluster.forkserver_client import log_tail
from lab.cluster.health import probe_health
from lab.cluster.injector import FaultFailed
from lab.cluster.program import Program
from lab.cluster.stack import Stack
from lab.cluster.supervisor import Supervisor
from lab.cluster.user_service import MARK, MAX_FILE_BYTES, add_guest_program, kill_leftovers
from lab.exercises.exercise import LIMIT_S, Exercise, Grade, Submission
from lab.exercises.testbed import ExerciseTestbed, ResultRecorder
from lab.support.text import plain

# ── Placing the student's files

RUNNER = "lab.cluster.user_service"


class DualTokenClient(ControlClient):
    """The lab's control client: the student's program has its own token, which no other accepts."""

    def __init__(self, token: str, student_url: str, student_token: str) -> None:
        super().__init__(token)
        self._student_url, self._student_client = student_url, ControlClient(student_token)

    async def __call__(
        self,
        method: str,
        url: str,
        path: str,
        body: Any = None,
        within_s: float = RESPONSE_WITHIN_S,
    ) -> ControlResponse:
        if url == self._student_url:
            return await self._student_client(method, url, path, body, within_s)
        return await super().__call__(method, url, path, body, within_s)

    def close(self) -> None:
        self._student_client.close()
        super().close()


@contextmanager
def mount(
    submission: Submission, file: Path, supervisor: Supervisor, folder: Path, mark: str
) -> Iterator[tuple[Stack, Program]]:
    """A stack for a submission, not yet started, and the student's program in it.

    All processes that the student's program starts carry `mark` in their environment.
    """
    with Stack(
        submission.arrangement,
        ARRANGEMENTS[submission.arrangement],
        supervisor,
        folder,
        options=submission.options,
    ) as stack:
        token = secrets.token_urlsafe(24)
        env = {"LAB_TOKEN": token, MARK: mark}
        if submission.program in stack.arrangement.programs:
            name = stack.program_name(submission.program)
            replaced = next(program for program in stack.programs if program.name == name)
            student = replace(
                replaced,
                module=RUNNER,
                argv=(str(file.absolute()), *replaced.argv),
                env={**replaced.env, **env},
            )
            stack.programs = [
                student if program is replaced else program for program in stack.programs
            ]
        else:
            stack.add_guest(submission.program, RUNNER)
            student = add_guest_program(stack, submission.program, file.absolute(), env)
        stack.call.close()
        stack.call = DualTokenClient(stack.token, stack.urls[submission.program], token)
        yield stack, student


# ── The check

READY_WITHIN_S = 8.0
MAX_LINE = 200


class CheckAborted(NamedTuple):
    """Why a check could not be completed, in a sentence, and the file that caused it."""

    reason: str
    file: str


async def check(
    exercise: Exercise,
    folder: Path,
    limit_s: float = LIMIT_S,
    ready_within_s: float = READY_WITHIN_S,
) -> Grade:
    """Check the files in a student's folder. Raises LabCannotRun if the lab is at fault."""
    began_s, recorder = perf_counter(), ResultRecorder(exercise.criteria)
    with TemporaryDirectory(prefix="lab-exercise-") as work_folder:
        mark, process_groups = secrets.token_hex(16), set[int]()
        supervisor = Supervisor(
            preload([submission.options for submission in exercise.submissions]), Path(work_folder)
        )
        testbeds: dict[str, ExerciseTestbed] = {}
        try:
            async with supervisor, AsyncExitStack() as contexts:
                session = await contexts.enter_async_context(
                    aiohttp.ClientSession(
                        connector=aiohttp.TCPConnector(force_close=True), trust_env=False
                    )
                )
                for submission in exercise.submissions:
                    file = folder / submission.file
                    stack, student = contexts.enter_context(
                        mount(submission, file, supervisor, Path(work_folder), mark)
                    )
                    testbeds[submission.file] = ExerciseTestbed(
                        stack, student, session, recorder, ready_within_s
                    )
                try:
                    aborted = await _run_check(
                        exercise, testbeds, supervisor, limit_s, ready_within_s
                    )
                finally:
                    for testbed in testbeds.values():
                        with suppress(NotRunning):
                            process_groups.add(supervisor.pid(testbed.student.name))
            logs = {file: _log_tail(testbed.student.log) for file, testbed in testbeds.items()}
        finally:
            kill_leftovers(mark, process_groups)
    steps, took_s = recorder.results(), perf_counter() - began_s
    if aborted is not None:
        return Grade(exercise.name, steps, took_s, aborted.reason, logs[aborted.file])
    verdict = Grade(exercise.name, steps, took_s)
    return verdict if verdict.passed else replace(verdict, log=_join_logs(logs))


async def _run_check(
    exercise: Exercise,
    testbeds: Mapping[str, ExerciseTestbed],
    supervisor: Supervisor,
    limit_s: float,
    ready_within_s: float,
) -> CheckAborted | None:
    """Start everything except the guests, which the check starts itself, and run the check."""
    students, aborted = {file: testbed.student for file, testbed in testbeds.items()}, None
    try:
        async with asyncio.timeout(limit_s):
            await supervisor.start(
                *(
                    program
                    for testbed in testbeds.values()
                    for program in testbed.stack.programs
                    if not testbed.is_guest(program)
                ),
                ready_within_s=ready_within_s,
            )
            await exercise.check(*testbeds.values())
    except LabCannotRun as error:
        if not (aborted := await _blame_student(error, students, supervisor)):
            raise
    except TimeoutError:
        sentence = f"The check was broken off after {limit_s:g} s."
        if not (unhealthy := await _unhealthy_files(students, supervisor)):
            raise LabCannotRun(
                f"{sentence} Your program answers, so this machine may be too busy: "
                "try again when it is not."
            ) from None
        aborted = CheckAborted(sentence, next(iter(unhealthy)))
    aborted = aborted or await _unexpected_exit(students, supervisor)
    if aborted and _log_size(students[aborted.file].log) >= MAX_FILE_BYTES:
        output_limit = f" It wrote {MAX_FILE_BYTES >> 20} MiB of output, the most that is taken."
        aborted = CheckAborted(aborted.reason + output_limit, aborted.file)
    return aborted


async def _blame_student(
    error: LabCannotRun, students: Mapping[str, Program], supervisor: Supervisor
) -> CheckAborted | None:
    """The message for the student; None if no program of the student's caused the error."""
    for file, student in students.items():
        if isinstance(error, StartFailed) and error.name == student.name:
            how_ended = describe_exit(error.status)
            return CheckAborted(f"Your {file} {how_ended} before it was ready.", file)
        if isinstance(error, NotReady) and error.name == student.name:
            why = error.reason or "it does not answer"
            return CheckAborted(f"Your {file} was not ready in time: {why}.", file)
        if isinstance(error, FaultFailed) and student.name in str(error):
            sentence = (
                f"A fault could not act on your {file}: leave it in the lab's shell, as it began."
            )
            return CheckAborted(sentence, file)
    for file, why in (await _unhealthy_files(students, supervisor)).items():
        return CheckAborted(
            f"Your {file} is not well ({why}), and what needs it can't go on.", file
        )
    return None


async def _unexpected_exit(
    students: Mapping[str, Program], supervisor: Supervisor
) -> CheckAborted | None:
    """The message about a student's program that exited unexpectedly; None if none did.

    Raises LabCannotRun if a program of the lab exited while the student's are healthy.
    """
    names = {student.name: file for file, student in students.items()}
    others = []
    for exit_ in supervisor.unexpected_exits():
        sentence = f"{describe_exit(exit_.status)} while it was checked."
        if exit_.name in names:
            return CheckAborted(f"Your {names[exit_.name]} {sentence}", names[exit_.name])
        others.append(f"{exit_.name} {sentence} {' '.join(exit_.last_lines[-1:])}".strip())
    if others and not await _unhealthy_files(students, supervisor):
        raise LabCannotRun(f"{others[0]} Your program is well: try again.")
    return None


async def _unhealthy_files(
    students: Mapping[str, Program], supervisor: Supervisor
) -> dict[str, str]:
    """The files whose programs are started but not healthy, each with what it is waiting for."""
    unhealthy = {}
    for file, student in students.items():
        with suppress(NotRunning):
            supervisor.pid(student.name)
            health = await probe_health(student.health or "")
            if health.status != 200:
                unhealthy[file] = str(health.reason)
    return unhealthy


def _log_size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def _log_tail(log: Path) -> tuple[str, ...]:
    lines = (plain(line, MAX_LINE) for line in log_tail(log))
    return tuple(line for line in lines if line)


def _join_logs(logs: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The logs one after the other; if there are several, each after its file's name."""
    if len(logs) == 1:
        return next(iter(logs.values()))
    return tuple(line for file, lines in logs.items() if lines for line in (f"{file}:", *lines))
