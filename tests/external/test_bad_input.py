"""For any misbehaviour of an external service: one sentence, the end of its log, no leftovers."""

import asyncio
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from lab.cluster.supervisor import Supervisor
from lab.conformance.report_card import ReportSection
from lab.conformance.runner import CheckRun
from lab.external.programs import PRELOAD
from tests.programs.keeping_labs import until_ended
from tests.support.foreign_blog import make_odd_blog
from tests.support.patience import PATIENCE_S, no_patience_after

CONCURRENT_CHECKS = 4

HARMLESS = (
    *("plain", "packed", "in_chunks", "of_3_mb"),
    *("forks", "daemonises", "ignores_sigterm", "prints_a_million_lines"),
)
"""Odd services that are nevertheless accepted."""

UNUSABLE_ANSWERS = {
    "html": "app answered 200 to POST /posts: HTML, which begins with '<!DOCTYPE html>",
    "of_9_mb": "more than 8 MiB",
    "closes_early": "app answered with the beginning of an answer, ",
    "redirects": "app answered 301 to POST /posts: a redirect to '/posts/'. It is not followed",
}
"""Expected messages about the answer to a post."""

NOT_STARTED = {
    "no_command": (
        "app exited with status 127 before it was ready.",
        "There is no program 'no-such-program' on the PATH. Is it installed, and spelled so?",
    ),
    "exits": (
        "app exited with status 3 before it was ready.",
        "Error: Cannot find module 'express'",
    ),
}
NEVER_READY = {
    "never_listens": (
        f"app was not ready within {PATIENCE_S:g} s: nothing listens on port",
        "waiting for a database",
    ),
    "listens_elsewhere": ("It listens on port ", "listening"),
}
"""Why nothing can be checked, and the last line of the log."""


@dataclass(frozen=True)
class ContractRun:
    contract: ReportSection
    trouble: str
    log: tuple[str, ...]

    def outcome_of(self, key: str) -> tuple[bool | None, str]:
        (line,) = [one for one in self.contract.findings if one.criterion.key == key]
        return line.held, line.observed


@dataclass(frozen=True)
class OddBlogRuns:
    runs: dict[str, ContractRun]
    folder: Path


async def check_odd_blog(oddity: str, supervisor: Supervisor, folder: Path) -> ContractRun:
    (folder / oddity).mkdir()
    target = make_odd_blog(oddity, folder / oddity)
    if oddity == "no_command":
        app = target.services["app"].model_copy(update={"command": ("no-such-program",)})
        target = target.model_copy(update={"services": {"app": app}})
    return ContractRun(
        *await CheckRun(target, supervisor, folder / oddity, f"{oddity}-").check_contract()
    )


def log_contains(folder: Path, words: str) -> bool:
    return any(words in log.read_text() for log in folder.glob("*.app.log"))


async def check_all(folder: Path) -> dict[str, ContractRun]:
    some = asyncio.Semaphore(CONCURRENT_CHECKS)

    async def check_limited(how: str) -> ContractRun:
        async with some:
            return await check_odd_blog(how, supervisor, folder)

    together = (*HARMLESS, *UNUSABLE_ANSWERS, *NOT_STARTED)
    async with Supervisor(PRELOAD, folder) as supervisor:
        cards = await asyncio.gather(*map(check_limited, together))
        seen = dict(zip(together, cards, strict=True))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("lab.conformance.contract._KNOWN_WITHIN_S", PATIENCE_S)
            seen["ends"] = await check_odd_blog("ends", supervisor, folder)
        for how, (_, last) in NEVER_READY.items():
            with pytest.MonkeyPatch.context() as patch:
                no_patience_after(partial(log_contains, folder / how, last), patch)
                seen[how] = await check_odd_blog(how, supervisor, folder)
    return seen


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> OddBlogRuns:
    folder = tmp_path_factory.mktemp("odd")
    return OddBlogRuns(asyncio.run(check_all(folder)), folder)


@pytest.mark.parametrize("how", HARMLESS)
def test_what_is_odd_and_no_trouble_holds_its_contract(world: OddBlogRuns, how: str) -> None:
    seen = world.runs[how]
    assert (seen.trouble, seen.log) == ("", ())
    assert [line for line in seen.contract.findings if line.held is False] == []


@pytest.mark.parametrize("how", UNUSABLE_ANSWERS)
def test_a_useless_answer_is_named_in_a_sentence(world: OddBlogRuns, how: str) -> None:
    held, seen = world.runs[how].outcome_of("create-post")
    assert held is False
    assert UNUSABLE_ANSWERS[how] in seen
    assert "\n" not in seen
    assert world.runs[how].outcome_of("replay")[0] is None


@pytest.mark.parametrize("how", NOT_STARTED | NEVER_READY)
def test_a_failed_start_is_named_with_the_last_lines(world: OddBlogRuns, how: str) -> None:
    sentence, last = (NOT_STARTED | NEVER_READY)[how]
    seen = world.runs[how]
    assert sentence in seen.trouble
    assert "\n" not in seen.trouble
    assert seen.log[-1] == last
    assert {line.held for line in seen.contract.findings} == {None}


def test_an_early_end_is_named_once(world: OddBlogRuns) -> None:
    seen = world.runs["ends"]
    assert seen.outcome_of("created") == (True, "post 201, comment 201")
    assert seen.outcome_of("not-found") == (
        False,
        "app ended by itself while this was asked: it exited with status 9: no route, no life",
    )
    for key in ("nonsense", "bus-remembers", "replay"):
        assert seen.outcome_of(key) == (None, "app had ended before, as is said above")


def test_a_million_lines_take_no_room(world: OddBlogRuns) -> None:
    logs = list((world.folder / "prints_a_million_lines").glob("*.log"))
    assert logs
    assert sum(log.stat().st_size for log in logs) < 3 * 1024 * 1024


def test_nothing_that_was_started_is_left(world: OddBlogRuns) -> None:
    families = {one.parent.name: one.read_text() for one in world.folder.rglob("family.txt")}
    assert families.keys() == world.runs.keys() - {"no_command"}
    pids = {int(pid) for text in families.values() for pid in text.split()}
    assert len(pids) > len(families)
    until_ended(pids)
