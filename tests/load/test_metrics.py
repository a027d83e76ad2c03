"""The load without a network: its plan, its schedule, its samples and its figures."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import pytest

from lab.load.generator import main
from lab.load.metrics import (
    endpoint_figures,
    lag_figures,
    percentile,
    phase_figures,
)
from lab.load.plan import BadPlan, LoadAction, PlanPhase, read_plan
from lab.load.samples import (
    COLUMNS,
    BadSamples,
    Sample,
    build_text,
    make_token,
    read_samples,
    write_samples,
)
from lab.load.schedule import PhaseClock, build_schedule, stagger_s
from lab.scenarios.spec import VariantSpec
from tests.support.load_blog import SERVICES, a_plan

PHASES = [PlanPhase(name="before", seconds=30), PlanPhase(name="during", seconds=20)]
MIX: dict[LoadAction, float] = {"read_feed": 6.0, "create_post": 1.0, "create_comment": 3.0}

A_SAMPLE = Sample("sync-chain", "before", "read_feed", 1.0, 0.1, 5.0, 200, ok=True)


def write_plan_file(folder: Path, **changed: Any) -> Path:
    plan = a_plan(folder, rate=20).model_dump(mode="json") | changed
    (folder / "plan.json").write_text(json.dumps(plan))
    return folder / "plan.json"


def test_the_same_seed_gives_the_same_schedule_byte_for_byte() -> None:
    mix_in_another_order = dict(reversed(MIX.items()))
    first, again = (
        build_schedule(7, 100, PHASES, MIX),
        build_schedule(7, 100, PHASES, mix_in_another_order),
    )
    assert json.dumps(first) == json.dumps(again)
    assert first != build_schedule(8, 100, PHASES, MIX)
    short = build_schedule(7, 100, PHASES[:1], MIX)
    assert first[: len(short)] == short, "a longer run begins with the shorter one"


@pytest.mark.parametrize(
    "mix",
    [
        MIX,
        {"read_feed": 4.4, "create_post": 1, "create_comment": 2.3},
        {"read_feed": 1, "create_post": 0},
    ],
)
def test_the_schedule_keeps_the_rate_and_the_mix(mix: dict[LoadAction, float]) -> None:
    arrivals = build_schedule(7, 200, PHASES, mix)
    actions = Counter(arrival.action for arrival in arrivals)
    assert len(arrivals) == pytest.approx(200 * 50, rel=0.05)
    assert actions.keys() == {one for one in mix if mix[one]}, "what nobody wants does not happen"
    for action, weight in mix.items():
        share = weight / sum(mix.values())
        assert actions[action] / len(arrivals) == pytest.approx(share, abs=0.01)
    assert all(0 <= arrival.at_s < 50 for arrival in arrivals)
    assert arrivals == sorted(arrivals, key=lambda arrival: arrival.at_s)


def test_also_a_short_phase_has_some_of_each() -> None:
    for seed in range(30):
        wanted = [each.action for each in build_schedule(seed, 20, PHASES[:1], MIX)]
        hands = [Counter(wanted[first : first + 10]) for first in range(0, len(wanted) - 9, 10)]
        assert hands
        assert all(hand == Counter(read_feed=6, create_post=1, create_comment=3) for hand in hands)


def test_the_share_of_comments_with_the_forbidden_word_is_kept() -> None:
    arrivals = build_schedule(7, 200, PHASES, {"create_comment": 1.0})
    carrying: set[int] = set()
    for share in (0.0, 0.1, 0.3, 1.0):
        texts = [build_text(one, make_token(0, 1), share) for one in arrivals]
        found = {number for number, text in enumerate(texts) if "orange" in text}
        assert len(found) / len(arrivals) == pytest.approx(share, abs=0.02)
        assert carrying <= found, "who carries it at a small share does so at a larger one"
        carrying = found
    told = [build_text(one, make_token(0, 1)) for one in arrivals]
    assert sum("orange" in text for text in told) == sum(one.is_rejectable for one in arrivals) > 0


def test_users_are_only_counted_in_a_closed_loop() -> None:
    assert VariantSpec().closed_loop_users is None
    assert VariantSpec(loop="closed").closed_loop_users == 1
    assert VariantSpec(loop="closed", users=4).closed_loop_users == 4
    with pytest.raises(ValueError, match='Add loop = "closed"'):
        VariantSpec(users=4)


def test_variants_take_turns_at_being_sent_to_first() -> None:
    moments = [0.05 * number for number in range(200)]
    places = [[stagger_s(variant, 2, 20, at_s) for variant in (0, 1)] for at_s in moments]
    assert places[0] == [0, 0.025], "within one mean gap"
    assert all(sorted(both) == [0, 0.025] for both in places)
    assert sum(both == [0, 0.025] for both in places) == pytest.approx(100, abs=5)


def test_a_moment_belongs_to_the_phase_it_lies_in() -> None:
    seen = [PhaseClock(PHASES).phase_at(at_s) for at_s in (0, 29.999, 30, 49.9, 50.01)]
    assert seen == ["before", "before", "during", "during", "during"]


def test_no_token_is_found_inside_another() -> None:
    numbers = (0, 1, 11, 111, 1111, 1_000_001, 11_000_001)
    tokens = [make_token(variant, number) for variant in (0, 1, 11) for number in numbers]
    assert [(a, b) for a in tokens for b in tokens if a != b and a in b] == []


def test_samples_read_back_as_they_were_written(tmp_path: Path) -> None:
    samples = [
        A_SAMPLE,
        Sample("a,b", "during", "create_post", 2.5, 0.0, 7.25, 201, ok=True, visible_ms=20.5),
        Sample("x", "after", "create_comment", 3.0, 12.0, None, dropped=True, post_id='"p"\n'),
        Sample("x", "after", "create_post", 4.0, 0.0, 9.0, 503, "http_503", definite=True),
    ]
    write_samples(tmp_path / "samples.csv", samples)
    assert read_samples(tmp_path / "samples.csv") == samples


def test_a_file_from_before_the_last_columns_still_loads(tmp_path: Path) -> None:
    write_samples(tmp_path / "samples.csv", [A_SAMPLE])
    lines = (tmp_path / "samples.csv").read_text().splitlines()
    for kept in range(COLUMNS.index("dropped") + 1, len(COLUMNS)):
        rows = [",".join(line.split(",")[:kept]) for line in lines]
        (tmp_path / "old.csv").write_text("\n".join(rows) + "\n")
        (sample,) = read_samples(tmp_path / "old.csv")
        assert astuple(sample)[:kept] == astuple(A_SAMPLE)[:kept]


def test_another_kind_of_file_is_refused_with_its_columns(tmp_path: Path) -> None:
    (tmp_path / "samples.csv").write_text("a,b\n1,2\n")
    with pytest.raises(BadSamples, match=r"expected the columns variant,phase.*saw \('a', 'b'\)"):
        read_samples(tmp_path / "samples.csv")


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(n) for n in range(100, 0, -1)]
    wanted = {0: 1, 1: 1, 50: 50, 90: 90, 95: 95, 99: 99, 100: 100}
    assert {percent: percentile(values, percent) for percent in wanted} == wanted
    assert percentile([], 99) is None
    assert [percentile([3.0], percent) for percent in (1, 50, 99)] == [3.0, 3.0, 3.0]


def test_failures_count_as_failures_and_never_as_fast_answers() -> None:
    refused = replace(A_SAMPLE, ok=False, latency_ms=0.2, status=0, error="refused")
    gateway = replace(A_SAMPLE, ok=False, latency_ms=900.0, status=502, error="http_502")
    figures = endpoint_figures([A_SAMPLE, refused, gateway, gateway])
    assert (figures["sent"], figures["ok"], figures["failed"]) == (4, 1, 3)
    assert figures["success"] == 0.25
    assert figures["errors"] == {
        **{"timeout": 0, "refused": 1, "reset": 0, "http_503": 0},
        "http_502": 2,
    }
    assert figures["latency_ms"]["p50"] == figures["latency_ms"]["max"] == 5.0
    assert figures["failed_after_ms"] == {"p50": 900.0}


def test_of_the_good_answers_the_decided_ones_are_counted() -> None:
    decided = replace(A_SAMPLE, decided=True)
    assert endpoint_figures([decided, decided, A_SAMPLE])["decided"] == 2


def test_a_send_is_late_beyond_the_limit_and_only_then() -> None:
    samples = [replace(A_SAMPLE, lag_ms=lag_ms) for lag_ms in (0.5, 10.0, 10.1, 5_000.0)]
    figures = lag_figures([*samples, replace(A_SAMPLE, dropped=True)], 10.0)
    assert (figures["sent"], figures["late"], figures["dropped"]) == (4, 2, 1)
    assert figures["lag_ms"]["max"] == 5_000.0


def test_a_phase_without_samples_shows_nothing_sent_and_no_figures() -> None:
    figures = phase_figures([A_SAMPLE], {"before": 3, "during": 5})["during"]["endpoints"]
    assert figures["read_feed"]["sent"] == 0
    assert figures["read_feed"]["success"] is None
    assert figures["read_feed"]["latency_ms"]["p99"] is None


def test_warm_up_is_left_out_of_the_figures() -> None:
    warm_up = replace(A_SAMPLE, phase="warm_up", lag_ms=500.0, latency_ms=500.0)
    figures = phase_figures([warm_up, A_SAMPLE], {"warm_up": 1, "before": 3})
    assert list(figures) == ["before"]
    assert figures["before"]["endpoints"]["read_feed"]["sent"] == 1
    assert lag_figures([warm_up, A_SAMPLE])["late"] == 0


def test_a_write_has_a_second_latency_until_it_is_visible() -> None:
    seen = replace(A_SAMPLE, endpoint="create_post", visible_ms=40.0)
    unseen = replace(seen, visible_ms=None)
    figures = phase_figures([seen, unseen, A_SAMPLE], {"before": 3})["before"]["endpoints"]
    assert figures["create_post"]["visible_ms"] == {"p50": 40.0, "p99": 40.0, "max": 40.0}
    assert figures["create_post"]["never_visible"] == 1
    assert "visible_ms" not in figures["read_feed"]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"rate": -1}, "rate: Input should be greater than 0"),
        ({"mix": {"read_feed": 0}}, "nothing to send"),
        ({"mix": {"delete_post": 1}}, "mix.delete_post"),
        ({"colour": "red"}, "colour: Extra inputs"),
        ({"phases": []}, "phases"),
        ({"samples": "/there-is-no-such-folder/samples.csv"}, "make that folder first"),
    ],
)
def test_a_bad_plan_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, Any], says: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([str(write_plan_file(tmp_path, **changed))])
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("url", ["https://127.0.0.1:1", "127.0.0.1:1", "http://example.org:1", ""])
def test_a_url_that_is_no_plain_address_is_refused(tmp_path: Path, url: str) -> None:
    urls = dict.fromkeys(SERVICES, "http://127.0.0.1:4100") | {"posts": url}
    variants = [{"name": "sync-chain", "urls": urls, "seed_posts": ["1"]}]
    with pytest.raises(BadPlan, match=r"is not of the form http://127\.0\.0\.1:PORT"):
        read_plan(write_plan_file(tmp_path, variants=variants))
