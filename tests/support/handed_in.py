"""Exercises as students hand them in, checked several at once.

A check's time limits assume an idle machine. Here they are `patience` times as long: a right
solution may be slow, and a wrong one stays wrong.
"""

import asyncio
import os
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest

from lab.cluster.supervisor import Supervisor
from lab.exercises import catalogue
from lab.exercises.checks import breaker, idempotent, likes, outbox, rebuild, starving, timeout
from lab.exercises.exercise import Exercise, Grade
from lab.exercises.grader import check
from lab.exercises.testbed import ExerciseTestbed
from tests.programs.unhurried import HANGS_AFTER_S, PATIENCE_S
from tests.support.small import find_processes

SOLUTIONS = Path(__file__).parents[1] / "solutions"
CONCURRENT_CHECKS = 3
PATIENCE = 8.0
AFTER_OUTPUT_S = 5.0
SOLUTION_TIMEOUT, LONGER_TIMEOUT = "TIMEOUT_MS = 250", "TIMEOUT_MS = 1_000"
BOUNDS = (
    (breaker, "BACK_WITHIN_S"),
    (idempotent, "KNOWN_WITHIN_S"),
    (likes, "HEARD_WITHIN_S"),
    (likes, "REFUSED_WITHIN_MS"),
    (outbox, "ANSWER_WITHIN_MS"),
    (outbox, "TOLD_WITHIN_S"),
    (rebuild, "WITHIN_S"),
    (starving, "WITHIN_S"),
    (timeout, "WITHIN_S"),
)
PATIENT_QUICK_MS = 450
"""The limit for "quick" in ms; the chain of `breaker` waits 500 ms for an answer."""

Key = TypeVar("Key", bound=Hashable)
FileTexts = Mapping[str, str]


def solution(name: str) -> dict[str, str]:
    """The files of an exercise's right solution, adapted to a machine that may be busy."""
    files = {file: (SOLUTIONS / name / file).read_text() for file in catalogue.find(name).files}
    if name == "timeout":
        assert SOLUTION_TIMEOUT in files["query.py"]
        files["query.py"] = files["query.py"].replace(SOLUTION_TIMEOUT, LONGER_TIMEOUT)
    return files


def start_exercise(name: str, folder: Path, files: FileTexts | None = None) -> Exercise:
    """Begin an exercise in a folder and replace the text of some of its files."""
    catalogue.start(name, folder)
    for file, text in (files or {}).items():
        assert (folder / file).exists(), f"{name} has no {file}"
        (folder / file).write_text(text)
    return catalogue.exercise_in(folder)


def grade_all(
    submissions: Mapping[Key, tuple[str, FileTexts]], folder: Path, patience: float = PATIENCE
) -> dict[Key, Grade | BaseException]:
    """The verdict on each exercise with its files, or what the check raised.

    A check mostly waits, so several run at once. All their processes have ended at return.
    """

    async def check_all() -> list[Grade | BaseException]:
        semaphore = asyncio.Semaphore(CONCURRENT_CHECKS)

        async def check_one(number: int, name: str, files: FileTexts) -> Grade:
            exercise_folder = folder / str(number)
            exercise = start_exercise(name, exercise_folder, files)
            async with semaphore:
                return await check(exercise, exercise_folder, HANGS_AFTER_S, PATIENCE_S)

        checks = [check_one(number, *what) for number, what in enumerate(submissions.values())]
        return await asyncio.gather(*checks, return_exceptions=True)

    before = {one.pid for one in find_processes(os.getpid())}
    with pytest.MonkeyPatch.context() as patch:
        _extend_limits(patch, patience)
        found = asyncio.run(check_all())
    assert {one.pid for one in find_processes(os.getpid())} <= before
    return dict(zip(submissions, found, strict=True))


def grade_one(name: str, folder: Path, files: FileTexts) -> Grade:
    """The verdict on one exercise. Raises what the check raises."""
    found = grade_all({name: (name, files)}, folder)[name]
    if isinstance(found, BaseException):
        raise found
    return found


def selected_params(request: pytest.FixtureRequest, argument: str) -> list[Any]:
    """The values that the selected tests of this module have for an argument, each once."""
    chosen = [
        one.callspec.params
        for one in request.session.items
        if one.path == request.path and hasattr(one, "callspec")
    ]
    return list(dict.fromkeys(one[argument] for one in chosen if argument in one))


def give_up_after_first_output(patch: pytest.MonkeyPatch) -> None:
    """Wait for an unready program until it has printed a line, and then only a little longer."""
    until_ready = Supervisor._until_ready

    async def patiently(self: Supervisor, child: Any, url: str, within_s: float) -> None:
        ready = asyncio.create_task(until_ready(self, child, url, PATIENCE_S))
        try:
            while not ready.done() and not child.last_lines():
                await asyncio.wait({ready}, timeout=0.05)
            if ready.done():
                return await ready
        finally:
            ready.cancel()
            await asyncio.wait({ready})
            _ = ready.cancelled() or ready.exception()
        await until_ready(self, child, url, AFTER_OUTPUT_S)

    patch.setattr(Supervisor, "_until_ready", patiently)


def _extend_limits(patch: pytest.MonkeyPatch, patience: float) -> None:
    for module, bound in BOUNDS:
        patch.setattr(module, bound, getattr(module, bound) * patience)
    patch.setattr(breaker, "QUICK_MS", PATIENT_QUICK_MS)
    patch.setattr(ExerciseTestbed.ask, "__defaults__", (None, 3.0 * patience))
    patch.setattr(ExerciseTestbed.feed, "__defaults__", (3.0 * patience,))
    patch.setattr(ExerciseTestbed.feed_until, "__defaults__", (3.0 * patience,))
    defaults = {**(ExerciseTestbed.ask_until.__kwdefaults__ or {}), "within_s": 3.0 * patience}
    patch.setattr(ExerciseTestbed.ask_until, "__kwdefaults__", defaults)
