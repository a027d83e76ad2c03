"""Exercises as students hand them in, and what the checks say to them, several at once."""

import asyncio
import os
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import TypeVar

from lab.exercises import catalogue
from lab.exercises.checking import check
from lab.exercises.exercise import Exercise, Verdict
from tests.support.small import processes_of

SOLUTIONS = Path(__file__).parents[1] / "solutions"
AT_ONCE = 6

Key = TypeVar("Key", bound=Hashable)
Files = Mapping[str, str]


def solution(name: str) -> dict[str, str]:
    """The files of an exercise, as they are right."""
    return {file: (SOLUTIONS / name / file).read_text() for file in catalogue.find(name).files}


def begin(name: str, folder: Path, files: Files | None = None) -> Exercise:
    """Begin an exercise in a folder, and put other texts into some of its files."""
    catalogue.start(name, folder)
    for file, text in (files or {}).items():
        assert (folder / file).exists(), f"{name} has no {file}"
        (folder / file).write_text(text)
    return catalogue.begun_in(folder)


def verdicts(
    handed_in: Mapping[Key, tuple[str, Files]], folder: Path, **limits: float
) -> dict[Key, Verdict | BaseException]:
    """The verdict on each of these: an exercise and some files. Most of a check is waiting, so
    some run at once. Nothing of them is left running."""

    async def look() -> list[Verdict | BaseException]:
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(number: int, name: str, files: Files) -> Verdict:
            own = folder / str(number)
            exercise = begin(name, own, files)
            async with gate:
                return await check(exercise, own, **limits)

        checks = [one(number, *what) for number, what in enumerate(handed_in.values())]
        return await asyncio.gather(*checks, return_exceptions=True)

    before = {one.pid for one in processes_of(os.getpid())}
    found = asyncio.run(look())
    assert {one.pid for one in processes_of(os.getpid())} <= before
    return dict(zip(handed_in, found, strict=True))


def verdict(name: str, folder: Path, files: Files, **limits: float) -> Verdict:
    """The verdict on one of them. Raises what the check raises."""
    found = verdicts({name: (name, files)}, folder, **limits)[name]
    if isinstance(found, BaseException):
        raise found
    return found
