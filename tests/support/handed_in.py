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
from lab.exercises.exercise import Exercise, Verdict
from lab.exercises.grader import check
from lab.exercises.testbed import Bench
from tests.programs.unhurried import HANGS_AFTER_S, PATIENCE_S
from tests.support.small import processes_of

SOLUTIONS = Path(__file__).parents[1] / "solutions"
AT_ONCE = 3
PATIENCE = 8.0
AFTER_ITS_WORDS_S = 5.0
ITS_TIMEOUT, LONGER = "TIMEOUT_MS = 250", "TIMEOUT_MS = 1_000"
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
LESS_THAN_ITS_TIMEOUT_MS = 450
"""The limit for "quick" in ms; the chain of `breaker` waits 500 ms for an answer."""

Key = TypeVar("Key", bound=Hashable)
Files = Mapping[str, str]


def solution(name: str) -> dict[str, str]:
    """The files of an exercise's right solution, adapted to a machine that may be busy."""
    files = {file: (SOLUTIONS / name / file).read_text() for file in catalogue.find(name).files}
    if name == "timeout":
        assert ITS_TIMEOUT in files["query.py"]
        files["query.py"] = files["query.py"].replace(ITS_TIMEOUT, LONGER)
    return files


def begin(name: str, folder: Path, files: Files | None = None) -> Exercise:
    """Begin an exercise in a folder and replace the text of some of its files."""
    catalogue.start(name, folder)
    for file, text in (files or {}).items():
        assert (folder / file).exists(), f"{name} has no {file}"
        (folder / file).write_text(text)
    return catalogue.begun_in(folder)


def verdicts(
    handed_in: Mapping[Key, tuple[str, Files]], folder: Path, patience: float = PATIENCE
) -> dict[Key, Verdict | BaseException]:
    """The verdict on each exercise with its files, or what the check raised.

    A check mostly waits, so several run at once. All their processes have ended at return.
    """

    async def look() -> list[Verdict | BaseException]:
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(number: int, name: str, files: Files) -> Verdict:
            place = folder / str(number)
            exercise = begin(name, place, files)
            async with gate:
                return await check(exercise, place, HANGS_AFTER_S, PATIENCE_S)

        checks = [one(number, *what) for number, what in enumerate(handed_in.values())]
        return await asyncio.gather(*checks, return_exceptions=True)

    before = {one.pid for one in processes_of(os.getpid())}
    with pytest.MonkeyPatch.context() as patch:
        _be_patient(patch, patience)
        found = asyncio.run(look())
    assert {one.pid for one in processes_of(os.getpid())} <= before
    return dict(zip(handed_in, found, strict=True))


def verdict(name: str, folder: Path, files: Files) -> Verdict:
    """The verdict on one exercise. Raises what the check raises."""
    found = verdicts({name: (name, files)}, folder)[name]
    if isinstance(found, BaseException):
        raise found
    return found


def selected(request: pytest.FixtureRequest, argument: str) -> list[Any]:
    """The values that the selected tests of this module have for an argument, each once."""
    chosen = [
        one.callspec.params
        for one in request.session.items
        if one.path == request.path and hasattr(one, "callspec")
    ]
    return list(dict.fromkeys(one[argument] for one in chosen if argument in one))


def give_up_after_the_first_words(patch: pytest.MonkeyPatch) -> None:
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
        await until_ready(self, child, url, AFTER_ITS_WORDS_S)

    patch.setattr(Supervisor, "_until_ready", patiently)


def _be_patient(patch: pytest.MonkeyPatch, patience: float) -> None:
    for module, bound in BOUNDS:
        patch.setattr(module, bound, getattr(module, bound) * patience)
    patch.setattr(breaker, "QUICK_MS", LESS_THAN_ITS_TIMEOUT_MS)
    patch.setattr(Bench.ask, "__defaults__", (None, 3.0 * patience))
    patch.setattr(Bench.feed, "__defaults__", (3.0 * patience,))
    patch.setattr(Bench.feed_when, "__defaults__", (3.0 * patience,))
    defaults = {**(Bench.ask_when.__kwdefaults__ or {}), "within_s": 3.0 * patience}
    patch.setattr(Bench.ask_when, "__kwdefaults__", defaults)
