"""The load without a network: its plan, its schedule, its rows and its figures."""

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
    recovery_seconds,
)
from lab.load.pacer import Timeline, schedule, shift_s
from lab.load.plan import Action, BadPlan, Phase, read_plan
from lab.load.samples import (
    COLUMNS,
    BadSamples,
    Sample,
    read_samples,
    text_of,
    token,
    write_samples,
)

PHASES = [Phase(name="before", seconds=30), Phase(name="during", seconds=20)]
MIX: dict[Action, float] = {"read_feed": 6.0, "create_post": 1.0, "create_comment": 3.0}

A_SAMPLE = Sample("sync-chain", "before", "read_feed", 1.0, 0.1, 5.0, 200, ok=True)


def a_plan(folder: Path, **changed: Any) -> dict[str, Any]:
    services = ("posts", "comments", "query")
    plan: dict[str, Any] = {
        "seed": 7,
        "rate": 20.0,
        "mix": MIX,
        "phases": [{"name": "before", "seconds": 1}],
        "variants": [
            {
                "name": "sync-chain",
                "urls": dict.fromkeys(services, "http://127.0.0.1:4100"),
                "seed_posts": ["1"],
            }
        ],
        **{name: str(folder / name) for name in ("samples", "progress", "summary")},
    }
    return plan | changed


def test_the_same_seed_gives_the_same_schedule_byte_for_byte() -> None:
    mix_in_another_order = dict(reversed(MIX.items()))

    first, again = schedule(7, 100, PHASES, MIX), schedule(7, 100, PHASES, mix_in_another_order)

    assert json.dumps(first) == json.dumps(again)
    assert first != schedule(8, 100, PHASES, MIX)


def test_a_longer_run_begins_with_the_shorter_one() -> None:
    short = schedule(7, 100, PHASES[:1], MIX)

    assert schedule(7, 100, PHASES, MIX)[: len(short)] == short


def test_the_schedule_keeps_the_rate_the_mix_and_the_share_of_rejectable_comments() -> None:
    arrivals = schedule(7, 200, PHASES, MIX)
    actions = Counter(arrival.action for arrival in arrivals)

    assert len(arrivals) == pytest.approx(200 * 50, rel=0.05)
    assert actions["read_feed"] / len(arrivals) == pytest.approx(0.6, abs=0.03)
    assert actions["create_comment"] / len(arrivals) == pytest.approx(0.3, abs=0.03)
    rejectable = sum(arrival.is_rejectable for arrival in arrivals) / len(arrivals)
    assert rejectable == pytest.approx(0.1, abs=0.02)
    assert all(0 <= arrival.at_s < 50 for arrival in arrivals)
    assert arrivals == sorted(arrivals, key=lambda arrival: arrival.at_s)


def test_also_a_short_phase_has_some_of_each() -> None:
    for seed in range(100):
        wanted = [each.action for each in schedule(seed, 20, PHASES[:1], MIX)]
        hands = [Counter(wanted[first : first + 10]) for first in range(0, len(wanted) - 9, 10)]

        assert hands
        assert all(hand == Counter(read_feed=6, create_post=1, create_comment=3) for hand in hands)


def test_shares_that_do_not_come_out_even_in_a_hand_do_so_in_the_long_run() -> None:
    mix: dict[Action, float] = {"read_feed": 4.4, "create_post": 1, "create_comment": 2.3}
    actions = Counter(one.action for one in schedule(7, 1_000, PHASES, mix))

    for action, weight in mix.items():
        assert actions[action] / actions.total() == pytest.approx(weight / 7.7, abs=0.01)


def test_what_nobody_wants_does_not_happen() -> None:
    mix: dict[Action, float] = {"read_feed": 1, "create_post": 0}
    assert {one.action for one in schedule(7, 100, PHASES, mix)} == {"read_feed"}


def test_variants_are_shifted_within_one_mean_gap() -> None:
    assert [shift_s(variant, 2, rate=20, at_s=0) for variant in (0, 1)] == [0, 0.025]


def test_variants_take_turns_at_being_sent_to_first() -> None:
    moments = [0.05 * number for number in range(200)]
    places = [[shift_s(variant, 2, 20, at_s) for variant in (0, 1)] for at_s in moments]
    assert all(sorted(both) == [0, 0.025] for both in places)
    assert sum(both == [0, 0.025] for both in places) == pytest.approx(100, abs=5)


def test_a_moment_belongs_to_the_phase_it_lies_in() -> None:
    timeline = Timeline(PHASES)

    seen = [timeline.phase_at(at_s) for at_s in (0, 29.999, 30, 49.9, 50.01)]

    assert seen == ["before", "before", "during", "during", "during"]


def test_no_token_is_found_inside_another() -> None:
    numbers = (0, 1, 11, 111, 1111, 1_000_001, 11_000_001)
    tokens = [token(variant, number) for variant in (0, 1, 11) for number in numbers]

    assert [(a, b) for a in tokens for b in tokens if a != b and a in b] == []


def test_one_comment_in_ten_carries_the_forbidden_word() -> None:
    comments = schedule(7, 200, PHASES, {"create_comment": 1.0})

    oranges = sum("orange" in text_of(arrival, token(0, 1)) for arrival in comments)

    assert oranges == sum(arrival.is_rejectable for arrival in comments) > 0


def test_samples_read_back_as_they_were_written(tmp_path: Path) -> None:
    samples = [
        A_SAMPLE,
        Sample("a,b", "during", "create_post", 2.5, 0.0, 7.25, 201, ok=True, visible_ms=20.5),
        Sample("x", "after", "create_comment", 3.0, 12.0, None, dropped=True, post_id='"p"\n'),
        Sample("x", "after", "create_post", 4.0, 0.0, 9.0, 503, "http_503", definite=True),
    ]

    write_samples(tmp_path / "samples.csv", samples)

    assert read_samples(tmp_path / "samples.csv") == samples


@pytest.mark.parametrize("later", range(len(COLUMNS) - COLUMNS.index("dropped")))
def test_a_file_from_before_the_last_columns_still_loads(tmp_path: Path, later: int) -> None:
    kept = len(COLUMNS) - later
    write_samples(tmp_path / "samples.csv", [A_SAMPLE])
    rows = [line.split(",")[:kept] for line in (tmp_path / "samples.csv").read_text().splitlines()]
    (tmp_path / "old.csv").write_text("\n".join(map(",".join, rows)) + "\n")

    (sample,) = read_samples(tmp_path / "old.csv")
    assert astuple(sample)[:kept] == astuple(A_SAMPLE)[:kept]


def test_a_file_of_something_else_is_refused_with_what_was_seen(tmp_path: Path) -> None:
    (tmp_path / "samples.csv").write_text("a,b\n1,2\n")

    with pytest.raises(BadSamples, match=r"expected the columns variant,phase.*saw \('a', 'b'\)"):
        read_samples(tmp_path / "samples.csv")


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1), (1, 1), (50, 50), (90, 90), (95, 95), (99, 99), (100, 100)]
)
def test_percentiles_are_values_that_were_measured(percent: float, expected: float) -> None:
    assert percentile([float(n) for n in range(100, 0, -1)], percent) == expected


def test_the_percentile_of_nothing_is_nothing_and_of_one_value_that_value() -> None:
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


def test_a_phase_without_samples_shows_nothing_sent_and_no_figures() -> None:
    figures = phase_figures([A_SAMPLE], {"before": 3, "during": 5})["during"]["endpoints"]

    assert figures["read_feed"]["sent"] == 0
    assert figures["read_feed"]["success"] is None
    assert figures["read_feed"]["latency_ms"]["p99"] is None


def test_warm_up_is_kept_in_the_rows_and_left_out_of_the_figures() -> None:
    warm_up = replace(A_SAMPLE, phase="warm_up", lag_ms=500.0, latency_ms=500.0)

    figures = phase_figures([warm_up, A_SAMPLE], {"warm_up": 1, "before": 3})

    assert list(figures) == ["before"]
    assert figures["before"]["endpoints"]["read_feed"]["sent"] == 1
    assert lag_figures([warm_up, A_SAMPLE])["late"] == 0


def test_a_write_has_a_second_latency_and_one_never_seen_is_counted() -> None:
    seen = replace(A_SAMPLE, endpoint="create_post", visible_ms=40.0)
    unseen = replace(seen, visible_ms=None)

    figures = phase_figures([seen, unseen, A_SAMPLE], {"before": 3})["before"]["endpoints"]

    assert figures["create_post"]["visible_ms"] == {"p50": 40.0, "p99": 40.0, "max": 40.0}
    assert figures["create_post"]["never_visible"] == 1
    assert "visible_ms" not in figures["read_feed"]


def _after_the_fault(*latencies_ms: float) -> list[Sample]:
    """One answer every 100 ms from second 10 on; a latency of 0 is a failure."""
    return [
        replace(A_SAMPLE, intended_s=10 + n / 10, latency_ms=latency_ms, ok=latency_ms > 0)
        for n, latency_ms in enumerate(latencies_ms)
    ]


USUAL = {"read_feed": endpoint_figures([A_SAMPLE])}  # p99 5 ms: good is up to 30 ms


def test_recovery_is_the_first_of_ten_good_requests_in_a_row() -> None:
    samples = _after_the_fault(0, 0, 5, 5, 31, *[30] * 10)

    assert recovery_seconds(reversed(samples), 10.0, USUAL) == pytest.approx(0.5)
    assert recovery_seconds(samples[:10], 10.0, USUAL) is None, "only five in a row, of ten"


def test_where_fewer_than_ten_were_sent_all_in_a_row_will_do() -> None:
    assert recovery_seconds(_after_the_fault(5, 5, 5), 10.0, USUAL) == 0.0
    assert recovery_seconds(_after_the_fault(5, 0, 5), 10.0, USUAL) is None
    assert recovery_seconds([], 10.0, USUAL) is None


def test_a_service_that_stays_slow_has_not_recovered() -> None:
    assert recovery_seconds(_after_the_fault(*[31] * 50), 10.0, USUAL) is None
    assert recovery_seconds(_after_the_fault(*[31] * 50), 10.0, {}) == 0.0


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"rate": -1}, "rate: Input should be greater than 0"),
        ({"mix": {"read_feed": 0}}, "nothing to send"),
        ({"mix": {"delete_post": 1}}, "mix.delete_post"),
        ({"colour": "red"}, "colour: Extra inputs"),
        ({"phases": []}, "phases"),
    ],
)
def test_a_bad_plan_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, Any], says: str
) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(a_plan(tmp_path, **changed)))

    with pytest.raises(SystemExit, match="2"):
        main([str(path)])

    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("url", ["https://127.0.0.1:1", "127.0.0.1:1", "http://example.org:1", ""])
def test_a_url_that_is_no_plain_address_is_refused(tmp_path: Path, url: str) -> None:
    plan = a_plan(tmp_path)
    plan["variants"][0]["urls"]["posts"] = url
    (tmp_path / "plan.json").write_text(json.dumps(plan))

    with pytest.raises(BadPlan, match=r"is not of the form http://127\.0\.0\.1:PORT"):
        read_plan(tmp_path / "plan.json")


def test_a_plan_whose_results_have_no_place_is_refused_before_anything_is_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = a_plan(tmp_path, samples=str(tmp_path / "nowhere" / "samples.csv"))
    (tmp_path / "plan.json").write_text(json.dumps(plan))

    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path / "plan.json")])

    assert "make that folder first" in capsys.readouterr().err
