"""A complete run in this process: what it measures, and when it is no result."""

import asyncio
import csv
import os
import signal
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lab.cluster.program import Exit
from lab.experiment import trial
from lab.experiment.evaluate import validity_problems
from lab.experiment.runner import Run
from lab.load.samples import read_samples
from lab.report.tracing.trace import trace_by_id
from lab.results.result import (
    CheckerCounts,
    FaultEvidence,
    LoadSummary,
    PhaseResult,
    RunResult,
    VariantResult,
)
from lab.scenarios.scenario import Scenario
from tests.programs.unhurried import be_unhurried
from tests.support.small import SLOW_POSTS, scenario_file

KINDS: dict[str, dict[str, Any]] = {
    "latency": {"ms": 60, "jitter_ms": 10},
    "error": {"status": 502},
    "reset_peer": {},
    "hang": {},
    "down": {},
}
FAILING = ("down", "error", "reset_peer")
TWINS = ["sync-chain", "async-bus"]


def scenario(folder: Path, *methods: Mapping[str, Any], **more: Any) -> Scenario:
    found = Scenario.load_file(folder / scenario_file(folder, "own", *methods, **more))
    patient = found.load.model_copy(update={"settle_s": 60.0})
    return found.model_copy(update={"load": patient})


class ProbedInjection(trial.Injection):
    """A fault that always meets a request, even on a busy machine, and then a read of the feed."""

    async def begin(self, seed: int = 0) -> None:
        await super().begin(seed)
        if self.fault.acts_on != "process":
            await self.stack.call("GET", self._url, "/comments?post_ids=1", within_s=60)
        if self.fault.kind in FAILING:
            feed = await self.stack.call("GET", self.stack.urls["query"], "/feed", within_s=60)
            self.evidence["feed"] = feed.status


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("in-turn")


@pytest.fixture(scope="module")
def run(folder: Path) -> RunResult:
    """`comments` has several faults, one after another, in both arrangements."""
    one = scenario(
        folder,
        *({"fault": kind, "target": "comments", **of} for kind, of in KINDS.items()),
        mix="read_feed = 4, create_post = 1, create_comment = 5",
        phases="before = 0.6, after = 0.6, each = 0.4, between = 0.3",
        timeout_ms=60_000,
        steady="read_feed.success >= 0",
    )
    with pytest.MonkeyPatch.context() as patch:
        be_unhurried(patch.setattr)
        patch.setattr(trial, "Injection", ProbedInjection)
        return asyncio.run(Run(one, folder)())


def test_a_run_is_valid_and_its_counts_add_up(run: RunResult) -> None:
    assert (run.problems, run.valid, run.exit_code) == ([], True, 0)
    assert [variant.name for variant in run.variants] == TWINS
    for variant in run.variants:
        assert set(variant.phases) == {"before", *(f"comments {kind}" for kind in KINDS), "after"}
        for phase in variant.phases.values():
            assert phase.endpoints.keys() == {"read_feed", "create_post", "create_comment"}
            for endpoint in phase.endpoints.values():
                assert endpoint.sent == endpoint.ok + endpoint.failed
                assert endpoint.failed == sum(endpoint.errors.values())


def test_both_variants_are_sent_the_same(folder: Path, run: RunResult) -> None:
    sent = {name: Counter[str]() for name in TWINS}
    for one in read_samples(folder / "samples.csv"):
        sent[one.variant][f"{one.endpoint} {one.token.partition('-')[2][2:]}"] += 1
    assert sent["sync-chain"] == sent["async-bus"]
    assert sent["sync-chain"].total() > 80


@pytest.mark.parametrize("arrangement", TWINS)
@pytest.mark.parametrize("kind", KINDS)
def test_each_fault_brings_the_evidence_of_its_kind(
    run: RunResult, arrangement: str, kind: str
) -> None:
    variant = run.variant(arrangement)
    assert variant is not None
    (proof,) = [fault for fault in variant.faults if fault.kind == kind]
    evidence = proof.evidence
    assert (proof.target, proof.phase) == ("comments", f"comments {kind}")
    assert proof.acted, evidence
    assert evidence["healed"] is True
    assert evidence["seconds"] > 0
    if kind == "down":
        assert (evidence["gone"], evidence["probe"]) == (True, "refused")
        assert evidence["new_pid"] != evidence["pid"]
    elif kind == "hang":
        assert evidence["probe"] == "timeout"
    else:
        assert 0 < evidence["acted"] <= evidence["visitors"]
        assert evidence["settings"].items() >= KINDS[kind].items()
    if kind in FAILING:  # with `comments` only the chain's feed fails
        assert evidence["feed"] in ((502, 503) if arrangement == "sync-chain" else (200,))


def test_no_acknowledged_write_is_lost_and_no_refused_one_kept(run: RunResult) -> None:
    for variant in run.variants:
        data = variant.data
        assert data is not None
        assert data.acknowledged == data.visible > 0
        assert (data.lost, data.duplicated, data.refused_kept, data.unsettled) == (0, 0, 0, 0)


def test_a_run_keeps_how_far_consumers_were_behind(folder: Path, run: RunResult) -> None:
    chain, bus = run.variants
    assert (chain.lag, chain.newcomers) == ({}, [])
    assert list(bus.lag) == ["comments", "moderation", "query"]
    with (folder / "lag.csv").open(newline="") as lines:
        assert {row["variant"] for row in csv.DictReader(lines)} == {"async-bus"}


def test_each_sample_leads_to_the_spans_of_its_request(folder: Path, run: RunResult) -> None:
    for name in TWINS:
        post = next(
            one
            for one in read_samples(folder / "samples.csv")
            if (one.variant, one.endpoint, one.ok) == (name, "create_post", True)
        )
        (story,) = trace_by_id(folder, post.trace)
        assert [step.service for step in story.steps[:2]] == ["client", "posts"]
        assert story.answered_ms == post.latency_ms


@pytest.mark.parametrize(
    ("changed", "problems"),
    [
        ({}, []),
        ({"late": 60, "sent": 100}, []),
        ({"late": 49, "sent": 100}, []),
        ({"dropped": 1}, []),
        ({"acted": False}, ["latency on posts of sync-chain is not proved to have acted"]),
        ({"success": 0.9}, ["sync-chain was not well before anything was broken"]),
        ({"success": None}, ["sync-chain was not well before anything was broken"]),
        ({"acknowledged": 0, "writes": 1}, ["not one write was acknowledged"]),
        ({"acknowledged": 0, "writes": 0}, ["not one write was acknowledged"]),
        ({"acknowledged": 0, "mix": "read_feed = 1"}, []),
        ({"acknowledged": 0, "mix": "read_feed = 1, create_post = 0"}, []),
        ({"died": True}, ["sync-chain.posts exited unexpectedly (status -9): bye"]),
    ],
    ids=str,
)
def test_a_run_that_was_not_honest_says_why(
    tmp_path: Path, changed: dict[str, Any], problems: list[str]
) -> None:
    mix = changed.get("mix", "read_feed = 6, create_post = 1, create_comment = 3")
    one = scenario(tmp_path, SLOW_POSTS, variants=("sync-chain",), mix=mix)
    sent = changed.get("sent", 100)
    feed = {"sent": sent, "ok": sent, "failed": 0, "success": changed.get("success", 1.0)}
    posts = {**feed, "sent": changed.get("writes", 0)}
    phases = {
        name: PhaseResult.model_validate({"seconds": 1, "endpoints": endpoints})
        for name, endpoints in (("before", {"read_feed": feed}), ("during", {"create_post": posts}))
    }
    variant = VariantResult(
        name="sync-chain",
        arrangement="sync-chain",
        phases=phases,
        data=CheckerCounts(
            acknowledged=changed.get("acknowledged", 1),
            **{"visible": 1, "lost": 0, "duplicated": 0, "unsettled": 0},
        ),
        faults=[FaultEvidence(kind="latency", target="posts", acted=changed.get("acted", True))],
    )
    load = LoadSummary(late=changed.get("late", 0), dropped=changed.get("dropped", 0))
    result = RunResult(scenario="own", seed=7, started="2025", load=load, variants=[variant])
    deaths = [Exit("sync-chain.posts", -9, ("bye",))] if "died" in changed else []
    found = validity_problems(one, result, deaths)
    assert len(found) == len(problems)
    assert all(expected in seen for seen, expected in zip(found, problems, strict=True))


async def test_a_service_that_ends_by_itself_makes_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KillingInjection(trial.Injection):
        """As it begins, `query` exits for another reason."""

        async def begin(self, seed: int = 0) -> None:
            await super().begin(seed)
            os.kill(self.stack.pids()["query"], signal.SIGKILL)

    monkeypatch.setattr(trial, "Injection", KillingInjection)
    slow = {**SLOW_POSTS, "variants": ["sync-chain"]}
    phases = "before = 0.3, during = 0.3, after = 0.3"
    one = scenario(tmp_path, slow, mix="read_feed = 1", phases=phases)
    (tmp_path / "run").mkdir()
    result = await Run(one, tmp_path / "run")()
    assert (result.valid, result.exit_code) == (False, 3)
    text = " ".join(result.problems)
    assert "sync-chain.query exited unexpectedly (status -9)" in text
    assert "After the run, sync-chain's query did not return its data" in text
    chain, bus = result.variants
    assert chain.data is None
    assert bus.data is not None
    assert RunResult.load_file(tmp_path / "run" / "result.json").problems == result.problems
