"""A run from beginning to end, in this process: what it measures, and when it is no result."""

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from lab.cluster.program import Exit
from lab.scenarios.evaluate import health_of_the_run
from lab.scenarios.result import Load, Result
from lab.scenarios.runner import Run
from lab.scenarios.scenario import Scenario
from tests.support.laboratory import eventually
from tests.support.small import LATE, SLOW_POSTS, TRIES, processes_of, scenario_file

KINDS: dict[str, dict[str, Any]] = {
    "latency": {"ms": 60, "jitter_ms": 10},
    "error": {"status": 502},
    "reset_peer": {},
    "timeout": {"first": 4},
    "hang": {},
    "down": {},
}
DOCUMENT = {"schema", "scenario", "seed", "quick", "started", "environment", "valid", "problems"}
DOCUMENT |= {"variants", "expectations"}


def scenario(folder: Path, *methods: Mapping[str, Any], **more: Any) -> Scenario:
    return Scenario.load_file(folder / scenario_file(folder, "own", *methods, **more))


async def ran(one: Scenario, folder: Path, **more: Any) -> Result:
    """The result of the first run (of three) in which the load was not late."""
    for number in range(TRIES):
        (folder / f"try-{number}").mkdir()
        result = await Run(one, folder / f"try-{number}", **more)()
        if LATE not in " ".join(result.problems):
            break
    return result


@pytest.fixture(scope="module")
def broken_in_turn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scenario, Result]:
    """Comments is hurt in every way there is, one after another, in both arrangements."""
    folder = tmp_path_factory.mktemp("in-turn")
    one = scenario(
        folder,
        *({"fault": kind, "target": "comments", **of} for kind, of in KINDS.items()),
        mix="read_feed = 4, create_post = 1, create_comment = 5",
        phases="before = 0.6, after = 0.8, each = 0.5, between = 0.4",
        timeout_ms=1_000,
    )
    return one, asyncio.run(ran(one, folder))


def test_a_run_is_valid_and_its_document_has_the_keys_of_the_contract(
    broken_in_turn: tuple[Scenario, Result],
) -> None:
    one, result = broken_in_turn
    assert (result.problems, result.valid, result.exit_code) == ([], True, 0)
    document = json.loads(result.to_json())
    assert {
        "schema",
        "scenario",
        "seed",
        "quick",
        "started",
        "environment",
        "valid",
        "problems",
    } | {
        "variants",
        "expectations",
    } <= document.keys()
    assert [variant["name"] for variant in document["variants"]] == ["sync-chain", "async-bus"]
    for variant in document["variants"]:
        assert list(variant["phases"]) == list(one.reported_phases())
        assert {"name", "arrangement", "options", "recovery_seconds", "faults"} <= variant.keys()
        assert {"acknowledged", "visible", "lost", "duplicated", "unsettled"} <= variant[
            "data"
        ].keys()
        assert variant["data"]["visible_ms"].keys() == {"p50", "p99", "max"}
        for phase in variant["phases"].values():
            assert phase.keys() == {"seconds", "endpoints"}
            assert phase["endpoints"].keys() == {"read_feed", "create_post", "create_comment"}
            for endpoint in phase["endpoints"].values():
                assert endpoint["sent"] == endpoint["ok"] + endpoint["failed"]
                assert endpoint["failed"] == sum(endpoint["errors"].values())
                latency = endpoint["latency_ms"]
                assert latency.keys() == {"p50", "p90", "p95", "p99", "max", "mean"}
                assert {"late", "dropped", "success"} <= endpoint.keys()
    (expectation,) = document["expectations"]
    assert {"says", "claim", "verdict", "expected", "measured"} <= expectation.keys()


def test_both_variants_were_sent_the_same(broken_in_turn: tuple[Scenario, Result]) -> None:
    chain, bus = broken_in_turn[1].variants
    for phase, figures in chain.phases.items():
        for name, endpoint in figures.endpoints.items():
            other = bus.phases[phase].endpoints[name]
            # They take turns at a phase's very end, and a fault catches whom it catches.
            assert abs(endpoint.sent - other.sent) <= 2


@pytest.mark.parametrize("arrangement", ["sync-chain", "async-bus"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_fault_brings_the_evidence_of_its_own_kind(
    broken_in_turn: tuple[Scenario, Result], arrangement: str, kind: str
) -> None:
    variant = broken_in_turn[1].variant(arrangement)
    assert variant is not None
    (proof,) = [fault for fault in variant.faults if fault.kind == kind]
    assert (proof.target, proof.acted, proof.phase) == ("comments", True, f"comments {kind}")
    evidence = proof.evidence
    assert evidence["healed"] is True
    assert evidence["seconds"] > 0
    if kind == "down":
        assert (evidence["gone"], evidence["probe"]) == (True, "refused")
        assert evidence["new_pid"] != evidence["pid"]
        assert evidence["back_after_seconds"] >= evidence["seconds"]
    elif kind == "hang":
        assert evidence["probe"] == "timeout"
    else:
        assert 0 < evidence["acted"] <= evidence["visitors"]
        assert evidence["settings"].items() >= KINDS[kind].items()
    if kind == "latency":
        assert evidence["delayed_ms_min"] >= 50
    if kind == "timeout":
        assert evidence["acted"] <= 4


def test_the_feed_falls_with_comments_in_the_chain_and_stands_on_the_bus(
    broken_in_turn: tuple[Scenario, Result],
) -> None:
    chain, bus = broken_in_turn[1].variants
    for kind in ("down", "error", "reset_peer"):
        felt = chain.phases[f"comments {kind}"].endpoints["read_feed"]
        assert felt.success is not None
        assert felt.success < 0.5
    for phase in bus.phases.values():
        assert phase.endpoints["read_feed"].success == 1


def test_nothing_acknowledged_is_lost_and_nothing_refused_is_kept(
    broken_in_turn: tuple[Scenario, Result],
) -> None:
    for variant in broken_in_turn[1].variants:
        data = variant.data
        assert data is not None
        assert data.acknowledged == data.visible > 0
        assert (data.lost, data.duplicated, data.refused_kept, data.unsettled) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("changed", "problems"),
    [
        ({}, []),
        ({"late": 3, "sent": 100}, []),
        ({"late": 4, "sent": 100}, ["sent 4 of 100 requests more than 10 ms late"]),
        ({"late": 10, "sent": 1_000}, []),
        ({"late": 11, "sent": 1_000}, ["sent 11 of 1000 requests more than 10 ms late"]),
        ({"dropped": 1}, ["could not send 1 requests at all"]),
        ({"acted": False}, ["latency on posts of sync-chain is not proved to have acted"]),
        ({"success": 0.9}, ["sync-chain was not well before anything was broken"]),
        ({"success": None}, ["sync-chain was not well before anything was broken"]),
        ({"acknowledged": 0, "writes": 1}, ["not one write was acknowledged"]),
        ({"acknowledged": 0, "writes": 0}, ["not one write was acknowledged"]),
        ({"acknowledged": 0, "mix": "read_feed = 1"}, []),
        ({"acknowledged": 0, "mix": "read_feed = 1, create_post = 0"}, []),
        ({"died": True}, ["sync-chain.posts ended though nobody told it to (status -9): bye"]),
    ],
    ids=str,
)
def test_a_run_that_was_not_honest_says_why(
    tmp_path: Path, changed: dict[str, Any], problems: list[str]
) -> None:
    mix = changed.get("mix", "read_feed = 6, create_post = 1, create_comment = 3")
    one = scenario(tmp_path, SLOW_POSTS, variants=("sync-chain",), mix=mix)
    sent = changed.get("sent", 100)
    figures = {"sent": sent, "ok": sent, "failed": 0, "success": changed.get("success", 1.0)}
    result = Result.model_validate(
        {
            "scenario": "own",
            "seed": 7,
            "started": "2025-01-01T00:00:00Z",
            "load": Load(late=changed.get("late", 0), dropped=changed.get("dropped", 0)),
            "variants": [
                {
                    "name": "sync-chain",
                    "arrangement": "sync-chain",
                    "phases": {
                        "before": {"seconds": 1, "endpoints": {"read_feed": figures}},
                        "during": {
                            "seconds": 1,
                            "endpoints": {"create_post": {**figures, "sent": 0}},
                        },
                    },
                    "data": {
                        "acknowledged": changed.get("acknowledged", 1),
                        "visible": 1,
                        "lost": 0,
                        "duplicated": 0,
                        "unsettled": 0,
                    },
                    "faults": [
                        {"kind": "latency", "target": "posts", "acted": changed.get("acted", True)}
                    ],
                }
            ],
        }
    )
    result.variants[0].phases["during"].endpoints["create_post"].sent = changed.get("writes", 0)
    deaths = [Exit("sync-chain.posts", -9, ("bye",))] if "died" in changed else []
    found = health_of_the_run(one, result, deaths)
    assert len(found) == len(problems)
    for seen, expected in zip(found, problems, strict=True):
        assert expected in seen


async def test_a_service_that_ends_by_itself_is_named_and_the_run_is_no_result(
    tmp_path: Path,
) -> None:
    one = scenario(tmp_path, mix="read_feed = 1", phases="before = 0.5, during = 0.5, after = 0.5")
    (tmp_path / "run").mkdir()
    killed: list[int] = []

    def kill_query(line: Mapping[str, Any]) -> None:
        if line["phase"] == "during" and not killed:
            plan = json.loads((tmp_path / "run" / "plan.json").read_text())
            victim = _listens_on(plan["variants"][0]["urls"]["query"])
            victim.kill()
            killed.append(victim.pid)

    result = await Run(one, tmp_path / "run", progress=kill_query)()
    assert killed
    assert (result.valid, result.exit_code) == (False, 3)
    text = " ".join(result.problems)
    assert "sync-chain.query ended though nobody told it to (status -9)" in text
    assert "After the run, sync-chain's query did not show what it holds" in text
    chain, bus = result.variants
    assert chain.data is None
    assert bus.data is not None
    assert Result.load_file(tmp_path / "run" / "result.json").problems == result.problems


def _listens_on(url: str) -> psutil.Process:
    port = urlsplit(url).port

    def find() -> psutil.Process | None:
        for process in processes_of(os.getpid()):
            for one in process.net_connections(kind="inet"):
                if one.laddr.port == port and one.status == psutil.CONN_LISTEN:
                    return process
        return None

    found = eventually(find, f"somebody listening at {url}")
    assert found is not None
    return found
