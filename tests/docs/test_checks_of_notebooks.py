"""The checks of the notebooks' exercises reject half-right answers.

`tests/docs/test_notebooks.py` shows that they accept right answers and report missing ones.
"""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.small import ROOT, environment

HEARD = "UPDATE heard SET sequence = ?"
COUNTED = "UPDATE counted SET comments = comments + 1"


@pytest.fixture(autouse=True)
def beside_the_notebooks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "notebooks"))
    monkeypatch.setenv("LAB_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)


def test_runs_of_notebooks_are_saved_outside_of_their_folder(tmp_path: Path) -> None:
    """A new process reads the place when it imports the lab."""
    folder = tmp_path / "notebooks"
    shutil.copytree(ROOT / "notebooks" / "checks", folder / "checks")
    script = "import checks; from lab.results.saved_names import RUNS; print(RUNS)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env=environment(PYTHONPATH=str(ROOT), LAB_RUNS_DIR=""),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(tmp_path / "runs")


def is_new(db: Any, event: Mapping[str, int]) -> bool:
    (heard,) = db.execute("SELECT sequence FROM heard").fetchone()
    return event["sequence"] > heard


def in_two_commits(db: Any, event: Mapping[str, int]) -> None:
    if is_new(db, event):
        db.execute(COUNTED)
        db.commit()
        db.execute(HEARD, (event["sequence"],))
        db.commit()


def whatever_comes(db: Any, event: Mapping[str, int]) -> None:
    db.execute(HEARD, (event["sequence"],))
    db.execute(COUNTED)
    db.commit()


def without_a_commit(db: Any, event: Mapping[str, int]) -> None:
    if is_new(db, event):
        db.execute(HEARD, (event["sequence"],))
        db.execute(COUNTED)


def misspelt(db: Any, event: Mapping[str, int]) -> None:
    db.execute("UPDATE herd SET sequence = 1")


@pytest.mark.parametrize(
    ("listener", "seen"),
    [
        (in_two_commits, "5 counted, when it was killed before its step number 4"),
        (whatever_comes, "8 counted"),
        (without_a_commit, "after event 1, heard.sequence is still 0"),
        (misspelt, "no such table: herd"),
    ],
)
def test_a_listener_that_is_half_right_is_found_out(listener: Any, seen: str) -> None:
    from checks import kept

    said = kept.counts_once(listener)
    assert said.right is False
    assert seen in said.seen


@pytest.mark.parametrize(
    ("goal", "right", "seen"),
    [
        (..., None, "..."),
        ("missing >= 2", True, "failures 1, missing 2"),
        ("lost", False, "failures 1, missing 1"),
        ("mising > 1", False, "Did you mean 'missing'"),
        (2, False, "2, which is not a text"),
    ],
    ids=str,
)
def test_a_goal_is_judged_by_the_history_it_finds(goal: Any, right: Any, seen: str) -> None:
    from checks import outages

    said = outages.two_by_one_failure(goal, "outbox=off")
    assert said.right is right
    assert seen in said.seen


def test_the_variants_of_a_goal_are_searched() -> None:
    from checks import outages

    said = outages.reaching({"outbox=off"}, "doubled", among=("dedupe=off",))
    assert (said.right, said.seen) == (False, "0 of 1 found, 1 too many")


@pytest.mark.slow
async def test_telling_everybody_again_judges_comments_twice() -> None:
    from checks import kept

    async def mend(bus: Any, deliver: Any) -> None:
        for event in await bus.events():
            for service in ("posts", "comments", "moderation", "query"):
                await deliver(service, event)

    said = await kept.mended(mend)
    assert said.right is False
    assert "2 of 2 posts" in said.seen
    assert "2 verdicts" not in said.seen


@pytest.mark.parametrize(
    ("settings", "seen"),
    [
        ({"retries": 2}, "the whole feed; then 60 requests"),
        pytest.param({"retries": 2, "retry_budget": 0.1}, "no whole feed", marks=pytest.mark.slow),
        pytest.param({"fallback": True, "breaker": True}, "no whole feed", marks=pytest.mark.slow),
        ({"retires": 2}, "There is no switch 'retires' here. Did you mean 'retries'?"),
    ],
    ids=str,
)
async def test_switches_that_help_in_one_case_are_found_out(
    settings: Mapping[str, Any], seen: str
) -> None:
    from checks import chain

    said = await chain.enough(settings)
    assert said.right is False
    assert seen in said.seen


class Chain:
    """A chain on a simulated clock: only its delays take time, and 10 ms per request."""

    def __init__(self) -> None:
        self._ms: dict[str, int] = {}

    async def heal(self) -> None:
        self._ms.clear()

    async def fault(self, kind: str, service: str, ms: int) -> None:
        assert kind == "latency"
        self._ms[service] = ms

    async def feed(self) -> SimpleNamespace:
        return SimpleNamespace(ms=10 + sum(map(self._at, ("query", "posts", "comments"))))

    async def post(self, title: str) -> SimpleNamespace:
        return SimpleNamespace(ms=10 + self._at("posts"))

    def _at(self, service: str) -> int:
        return self._ms.get(service, 0)


@pytest.mark.parametrize(
    ("delays", "right"),
    [
        (..., None),
        ({"posts": 60, "comments": 480}, True),
        ({"posts": 540}, False),
        ({"query": 100, "comments": 300}, False),
    ],
    ids=str,
)
async def test_delays_are_judged_by_the_feed_and_the_post(delays: Any, right: bool | None) -> None:
    import checks

    assert (await checks.delays(Chain(), delays)).right is right


class Measured:
    """A run in which each service was down once: the share of successful requests, by phase."""

    def __init__(self, shares: Mapping[str, Mapping[str, float | None]]) -> None:
        self._shares = shares
        self.phases = list(shares)

    def __getitem__(self, name: str) -> "Measured":
        assert name == "sync-chain"
        return self

    def phase(self, name: str) -> Mapping[str, SimpleNamespace]:
        shares = self._shares[name]
        return {kind: SimpleNamespace(success=share) for kind, share in shares.items()}


MEASURED = Measured(
    {
        "before": {"read_feed": 1.0, "create_post": 1.0},
        "posts down": {"read_feed": 0.0, "create_post": 0.1},
        "query down": {"read_feed": 0.2, "create_post": 0.9},
        "event-bus down": {"read_feed": 0.0, "create_post": 0.0},
    }
)
DARK = {("posts", "read_feed"), ("posts", "create_post"), ("query", "read_feed")}


@pytest.mark.parametrize(
    ("answer", "right", "seen"),
    [
        (..., None, "..."),
        (DARK, True, "3 of 3 found, 0 too many"),
        (DARK - {("query", "read_feed")}, False, "2 of 3 found, 0 too many"),
        (DARK | {("query", "create_post")}, False, "3 of 3 found, 1 too many"),
        ("posts", False, "'posts', which is not a set"),
    ],
    ids=["nothing", "right", "one missing", "one too many", "not a set"],
)
def test_dark_cells_are_judged_by_the_run(answer: Any, right: bool | None, seen: str) -> None:
    import checks

    said = checks.dark_cells(answer, MEASURED)
    assert (said.right, said.seen) == (right, seen)
