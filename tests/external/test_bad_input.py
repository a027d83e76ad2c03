"""Whatever somebody's service does: one sentence, the end of its log, and nothing left of it."""

import asyncio
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from lab.card.card import Part
from lab.card.trying import Trying
from lab.cluster.supervisor import Supervisor
from lab.foreign.parts import PRELOAD
from lab.foreign.target import Target

PROGRAM = Path(__file__).parents[1] / "programs" / "odd_blog.py"
READY_WITHIN_S = 5.0
MOST_MIB = 150

WELL = (
    *("plain", "packed", "in_chunks", "of_3_mb"),
    *("forks", "daemonises", "ignores_sigterm", "prints_a_million_lines"),
)
"""Odd, and no trouble."""

NOT_UNDERSTOOD = {
    "html": "app answered 200 to POST /posts: HTML, which begins with '<!DOCTYPE html>",
    "of_9_mb": "more than 8 MiB",
    "closes_early": "app answered with the beginning of an answer, ",
    "redirects": "app answered 301 to POST /posts: a redirect to '/posts/'. It is not followed",
}
"""What is said of a post that it takes."""

NOT_STARTED = {
    "no_command": (
        "app exited with status 127 before it was ready.",
        "There is no program 'no-such-program' on the PATH. Is it installed, and spelled so?",
    ),
    "exits": (
        "app exited with status 3 before it was ready.",
        "Error: Cannot find module 'express'",
    ),
    "never_listens": (
        "app was not ready within 5 s: nothing listens on port",
        "waiting for a database",
    ),
    "listens_elsewhere": ("It listens on port ", ""),
}
"""Why there is nothing to look at, and the last line of its log."""

EVERYTHING = (*WELL, *NOT_UNDERSTOOD, *NOT_STARTED, "ends")


@dataclass(frozen=True)
class Seen:
    contract: Part
    trouble: str
    log: tuple[str, ...]

    def of(self, key: str) -> tuple[bool | None, str]:
        (line,) = [one for one in self.contract.lines if one.criterion.key == key]
        return line.held, line.seen


@dataclass(frozen=True)
class World:
    seen: dict[str, Seen]
    folder: Path
    grown_mib: float


def target(how: str, folder: Path) -> Target:
    (folder / how).mkdir()
    command = [sys.executable, str(PROGRAM), "{port}", how]
    if how == "no_command":
        command = ["no-such-program"]
    asked = {key: {"service": "app"} for key in ("create_post", "create_comment", "read_feed")}
    return Target.model_validate(
        {
            "name": how,
            "folder": folder / how,
            "services": {"app": {"command": command, "port": 0, "port_env": "PORT"}},
            "ready_within_s": READY_WITHIN_S,
            "actions": asked,
        }
    )


async def look_at_all(folder: Path) -> dict[str, Seen]:
    async with Supervisor(PRELOAD, folder) as supervisor:
        trying = [
            Trying(target(how, folder), supervisor, folder / how, f"{how}-") for how in EVERYTHING
        ]
        tried = await asyncio.gather(*(one.contract() for one in trying[:-1]))
        tried.append(await trying[-1].contract())  # alone: the others are busy enough at once
    return {how: Seen(*one) for how, one in zip(EVERYTHING, tried, strict=True)}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """All of them at once: most of the time they wait."""
    with TemporaryDirectory() as name:
        before = most_mib()
        seen = asyncio.run(look_at_all(Path(name)))
        yield World(seen, Path(name), most_mib() - before)


def most_mib() -> float:
    """The most memory that this process has ever had."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1024 * 1024 if sys.platform == "darwin" else 1024)


@pytest.mark.parametrize("how", WELL)
def test_what_is_odd_and_no_trouble_holds_its_contract(world: World, how: str) -> None:
    seen = world.seen[how]
    assert (seen.trouble, seen.log) == ("", ())
    bad = [line for line in seen.contract.lines if line.held is False]
    # Its posts are in memory, and nobody is there to ask for them again.
    assert [line.criterion.key for line in bad] == ["replay"], bad


@pytest.mark.parametrize("how", NOT_UNDERSTOOD)
def test_an_answer_that_is_of_no_use_is_named_in_a_sentence(world: World, how: str) -> None:
    held, seen = world.seen[how].of("create-post")
    assert held is False
    assert NOT_UNDERSTOOD[how] in seen
    assert "\n" not in seen
    assert world.seen[how].of("replay")[0] is None


@pytest.mark.parametrize("how", NOT_STARTED)
def test_one_that_does_not_come_is_named_with_the_end_of_its_log(world: World, how: str) -> None:
    sentence, last = NOT_STARTED[how]
    seen = world.seen[how]
    assert sentence in seen.trouble
    assert "\n" not in seen.trouble
    assert not last or seen.log[-1] == last
    assert {line.held for line in seen.contract.lines} == {None}


def test_who_ends_by_itself_is_named_once_and_what_comes_after_is_not_seen(world: World) -> None:
    seen = world.seen["ends"]
    assert seen.of("created") == (True, "post 201, comment 201")
    assert seen.of("not-found") == (
        False,
        "app ended by itself while this was asked: it exited with status 9; "
        "the last lines of its log: no route, no life",
    )
    for key in ("nonsense", "bus-remembers", "replay"):
        assert seen.of(key) == (None, "app had ended before, as is said above")


def test_a_million_lines_take_no_room(world: World) -> None:
    logs = list((world.folder / "prints_a_million_lines").glob("*.log"))
    assert logs
    assert sum(log.stat().st_size for log in logs) < 3 * 1024 * 1024


def test_nothing_that_was_started_is_left(world: World) -> None:
    families = {one.parent.name: one.read_text() for one in world.folder.rglob("family.txt")}
    assert families.keys() == set(EVERYTHING) - {"no_command"}
    pids = {int(pid) for text in families.values() for pid in text.split()}
    assert len(pids) > len(families)
    assert [pid for pid in pids if psutil.pid_exists(pid)] == []


def test_all_of_it_is_bounded_in_memory(world: World) -> None:
    assert world.grown_mib < MOST_MIB
