"""Parameters from the samples and spans of a run folder that is written by hand."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lab.load.samples import Sample, write_samples
from lab.results.result import (
    FaultEvidence,
    NoiseFloor,
    RunResult,
    RunTimeline,
    TimelinePhase,
    TimelineWindow,
    VariantResult,
)
from lab.simulation.fleet.calibration import measure, parameters_from
from lab.simulation.fleet.parameters import BadParameters, Parameters, shipped_parameters

BEGAN = 1_000.0
COUNT = 40
OWN_MS, CALL_MS, HELD_MS = 3.0, 6.0, 50.0
JUDGE = "moderation.judge"


def span(
    trace: str, parent: str, service: str, name: str, at_s: float, ms: float, **more: Any
) -> dict[str, Any]:
    kind = more.pop("kind", "server")
    return {
        "trace": trace,
        "span": f"{trace}-{service}-{name}",
        "parent": parent,
        "service": service,
        "kind": kind,
        "name": name,
        "at": BEGAN + at_s,
        "ms": ms,
        **more,
    }


def feed(number: int, at_s: float, slow_ms: float = 0.0) -> list[dict[str, Any]]:
    """A feed: `query` computes 3 ms and asks `posts` for 6 ms, of which 1 ms is its handler's."""
    trace = f"{number:032x}"
    call = {"whom": "posts", "what": "GET /posts", "at": BEGAN + at_s, "ms": CALL_MS + slow_ms}
    whole = span(
        *(trace, trace[:16], "query", "GET /feed", at_s, OWN_MS + CALL_MS + HELD_MS + slow_ms),
        held_ms=HELD_MS,
        asked=[call],
    )
    return [whole, span(trace, whole["span"], "posts", "GET /posts", at_s, 1.0 + slow_ms)]


def written(number: int, at_s: float) -> list[dict[str, Any]]:
    """A comment on the bus: committed after 10 ms, consumed 4 ms later, its verdict 9 ms later."""
    trace = f"{number + 1_000:032x}"
    whole = span(trace, trace[:16], "comments", "POST /posts/{post_id}/comments", at_s, 10.0)
    heard = span(
        trace, whole["span"], "moderation", "CommentCreated", at_s + 0.014, 1.0, kind="consumer"
    )
    verdict = span(
        trace, heard["span"], "comments", "CommentModerated", at_s + 0.024, 1.0, kind="consumer"
    )
    return [whole, heard, verdict]


def run_folder(folder: Path, spans: Mapping[str, list[dict[str, Any]]], **more: Any) -> Path:
    samples = [
        Sample(
            *("chain", "before", "read_feed", 1.0 + number / 10),
            lag_ms=100.0,
            latency_ms=100.0 + OWN_MS + CALL_MS + HELD_MS + 2.0,
            ok=True,
            trace=f"{number:032x}",
        )
        for number in range(COUNT)
    ]
    folder.mkdir(parents=True)
    write_samples(folder / "samples.csv", samples)
    (folder / "load.json").write_text(json.dumps({"started_at_unix": BEGAN}))
    for variant, own in spans.items():
        lines = [*map(json.dumps, own), '{"trace": "cut off by a ki']
        (folder / f"{variant}.all.spans.ndjson").write_text("\n".join(lines))
    down = FaultEvidence(
        kind="down", target="posts", acted=True, phase="during", from_s=6, until_s=8, gone_s=8.07
    )
    RunResult(
        **{
            "scenario": "by-hand",
            "title": "",
            "question": "",
            "explain": "",
            "seed": 7,
            "quick": False,
            "started": "2026-01-02T03:04:05+00:00",
            "environment": {"processor": "An abacus", "cores": 3},
            "variants": [
                VariantResult(name="chain", arrangement="sync-chain", faults=[down]),
                VariantResult(name="bus", arrangement="async-bus"),
            ],
            "noise_floor": NoiseFloor(),
            "timeline": RunTimeline(
                stages=[
                    TimelinePhase(name="before", from_s=1.0, until_s=6.0),
                    TimelinePhase(name="during", from_s=6.0, until_s=8.0),
                ],
                windows=[
                    TimelineWindow(
                        target="posts", kind="down", from_s=6.0, until_s=8.0, variants=["chain"]
                    )
                ],
            ),
            **more,
        }
    ).save(folder / "result.json")
    return folder


def feeds() -> list[dict[str, Any]]:
    return [line for n in range(COUNT) for line in feed(n, 1.0 + n / 10)]


def measured(folder: Path, base: Parameters | None = None) -> Parameters:
    chain = feeds()
    chain += [line for n in range(50, 60) for line in feed(n, 6.0 + n / 100, slow_ms=900.0)]
    bus = [line for n in range(COUNT) for line in written(n, 1.0 + n / 10)]
    return parameters_from([run_folder(folder, {"chain": chain, "bus": bus})], base)


def test_each_time_is_separated_from_the_others(tmp_path: Path) -> None:
    found = measured(tmp_path / "run")
    medians = {
        "own": found.handler("sync-chain", "query.read_feed").quantile(0.5),
        "callee": found.handler("sync-chain", "posts.list_posts").quantile(1.0),
        "service": found.network_ms["service"].quantile(0.5),
        "client": found.network_ms["client"].quantile(0.5),
        "way": found.publish_ms.quantile(0.5) + found.delivery_ms.quantile(0.5),
        "commit": found.batch_ms["comments"].quantile(0.5),
        "apply": found.apply_ms["comments.CommentModerated"].quantile(0.5),
        "restart": found.restart_ms.quantile(0.5),
    }
    assert medians == pytest.approx(
        {
            "own": OWN_MS,
            "callee": 1.0,  # what was slow under the fault does not count
            "service": CALL_MS - 1.0,
            "client": 2.0,  # without what the generator was late
            "way": 4.0,
            "commit": 9.0 - 4.0,
            "apply": 1.0,
            "restart": 70.0,
        },
        abs=0.05,
    )
    assert (found.machine, found.source, found.measured) == (
        "An abacus, 3 cores",
        "by-hand",
        "2026-01-02",
    )


def test_what_a_run_did_not_measure_is_as_slow_as_what_it_did(tmp_path: Path) -> None:
    base = shipped_parameters()
    twice = base.at_pace(2.0)
    found = measured(tmp_path / "run", base)
    slow = measured(tmp_path / "the same, with a base of a slower machine", twice)
    assert Parameters.from_json(found.to_json()) == found
    feed = [of.handler("sync-chain", "query.read_feed") for of in (found, slow)]
    assert feed[0] == feed[1]  # it was measured
    medians = [of.handler("sync-chain", JUDGE).quantile(0.5) for of in (found, slow)]
    assert medians[0] == pytest.approx(medians[1], rel=0.001)
    assert medians[0] != base.handler("sync-chain", JUDGE).quantile(0.5)


def test_the_wait_for_another_event_is_not_that_for_the_bus(tmp_path: Path) -> None:
    lines = []
    for number in range(COUNT):
        for late, behind_ms in ((0, 0.0), (1, 50.0)):  # the second one waits for the first one
            trace = f"{2 * number + late:032x}"
            at_s = 1.0 + number / 10 + late / 1_000
            whole = span(trace, trace[:16], "posts", "POST /posts", at_s, 10.0)
            heard_s = at_s + (14.0 - late + behind_ms) / 1_000
            lines += [
                whole,
                span(trace, whole["span"], "query", "PostCreated", heard_s, 50.0, kind="consumer"),
            ]
    found = parameters_from([run_folder(tmp_path / "run", {"bus": lines, "chain": feeds()})])
    way_ms = found.publish_ms.quantile(0.5) + found.delivery_ms.quantile(1.0)
    assert way_ms == pytest.approx(4.0, abs=0.05)


def test_runs_measured_one_by_one_are_those_measured_together(tmp_path: Path) -> None:
    folders = []
    for number in range(2):
        measured(tmp_path / f"{number}")
        folders.append(tmp_path / f"{number}")
    together = measure(folders[0])
    together += measure(folders[1])
    assert together.parameters() == parameters_from(folders)
    assert together.parameters().source == "by-hand"


def test_the_parameters_of_the_lab_name_their_machine_and_have_all_handlers() -> None:
    base = shipped_parameters()
    assert base.machine
    assert base.measured
    for arrangement in ("sync-chain", "async-bus", "monolith"):
        for name in ("posts.create_post", "comments.create_comment", "query.read_feed"):
            assert base.handler(arrangement, name).samples >= 10
    assert 0.0 < base.together < 1.0


def test_a_folder_without_spans_or_without_processes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadParameters, match=r"load\.json"):
        parameters_from([tmp_path])
    with pytest.raises(BadParameters, match="saw none"):
        parameters_from([run_folder(tmp_path / "none", {})])
    with pytest.raises(BadParameters, match="simulated"):
        parameters_from([run_folder(tmp_path / "simulated", {}, simulated=True)])
