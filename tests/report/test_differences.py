"""Differences, real or not, as the report shows them in 80 columns."""

from lab.results.result import Difference, NoiseFloor, RunResult, RunSummary
from tests.report.test_tables import endpoint, flat, make_result, rendered_text, variant

MEASURED = NoiseFloor(share=0.071, runs=4, newest="2026-01-02T10:00:00+00:00")


def difference(request: str, phase: str, ratio: float, verdict: str, name: str) -> Difference:
    ends = {"low": ratio * 0.9, "high": ratio * 1.1}
    names = {"variant": name, "against": "sync-chain", "phase": phase, "endpoint": request}
    return Difference.model_validate({**names, **ends, "ratio": ratio, "verdict": verdict})


def result_with_differences(*names: str, floor: NoiseFloor = MEASURED) -> RunResult:
    names = names or ("async-bus",)
    return make_result(
        *(variant(name, 1.0) for name in ("sync-chain", *names)),
        noise_floor=floor,
        differences=[
            one
            for name in names
            for one in (
                difference("read_feed", "during", 0.11, "faster", name),
                difference("create_post", "during", 1.03, "no difference shown", name),
                difference("create_post", "after", 310.4, "slower", name),
            )
        ],
    )


def test_a_difference_is_shown_with_its_interval_and_its_word() -> None:
    lines = [
        " ".join(line.split()) for line in rendered_text(result_with_differences()).splitlines()
    ]
    assert "read_feed during 0.11 0.099 0.12 faster" in lines
    assert "create_post during 1.03 0.93 1.13 -" in lines
    assert "after 310 279 341 slower" in lines
    assert "Answers, p50: times as long as sync-chain's" in lines


def test_a_reason_for_no_verdict_is_shown_under_the_table() -> None:
    result = result_with_differences()
    result.differences[1].reason = "Only 35 of 100 requests succeeded."
    text = flat(rendered_text(result))
    assert "create_post, during: Only 35 of 100 requests succeeded." in text


def test_a_ratio_is_never_shown_as_nothing() -> None:
    result = result_with_differences()
    result.differences = [
        difference("read_feed", phase, ratio, "faster", "async-bus")
        for phase, ratio in (("before", 0.00001), ("during", 0.004), ("after", 0.05))
    ]
    text = rendered_text(result)
    assert all(shown in text for shown in (" <.001 ", " 0.004 ", " 0.050 "))
    assert " 0.00 " not in text


def test_two_comparisons_stand_side_by_side_in_eighty_columns() -> None:
    text = rendered_text(result_with_differences("sync-chain-again", "async-bus"))
    assert max(map(len, text.splitlines())) <= 80
    assert any(line.count("faster") == 2 for line in text.splitlines())


def test_the_noise_floor_is_printed_under_the_table() -> None:
    floor = "Noise floor of this machine: ±7 % (4 runs of calm, newest 2026-01-02; more runs may"
    assert floor in flat(rendered_text(result_with_differences()))
    many = result_with_differences(floor=MEASURED.model_copy(update={"runs": 10}))
    assert "(10 runs of calm, newest 2026-01-02)." in flat(rendered_text(many))
    text = flat(rendered_text(result_with_differences(floor=NoiseFloor())))
    assert "not measured here yet (±15 % is assumed): lab run calm" in text


def test_without_anything_to_compare_there_is_a_sentence_or_nothing() -> None:
    result = result_with_differences()
    result.differences = []
    assert "Nothing can be compared with sync-chain: that takes 6" in flat(rendered_text(result))
    older = flat(rendered_text(make_result()))  # saved before there were intervals
    assert "times as long" not in older
    assert "oise floor" not in older


def test_several_runs_are_counted_and_those_left_out_named() -> None:
    result = result_with_differences()
    result.repeats = 3
    result.runs = [
        RunSummary(seed=7, folder="run-01", valid=True),
        RunSummary(seed=8, folder="run-02", valid=False, problems=["The load was late."]),
        RunSummary(seed=9, folder="run-03", valid=True),
    ]
    text = flat(rendered_text(result))
    assert "3 runs, seeds 7 to 9; figures of 2 valid ones together" in text
    assert "run-02 is left out: The load was late." in text


def test_variants_that_ran_alone_are_said_to_have_been() -> None:
    assert "one after another" not in flat(rendered_text(result_with_differences()))
    alone = result_with_differences().model_copy(update={"isolated": True})
    assert "The variants ran one after another" in flat(rendered_text(alone))
    assert "shared the cores" in flat(rendered_text(result_with_differences()))


def test_a_p99_needs_enough_answers_in_every_cell() -> None:
    few, many = make_result(variant("sync-chain", 1.0)), make_result(variant("sync-chain", 1.0))
    for phase in many.variants[0].phases.values():
        for of in phase.endpoints.values():
            of.sent = of.ok = 2_000
    assert "p95" in rendered_text(few)
    assert "p99" not in rendered_text(few)
    assert "p99" in rendered_text(many)
    assert "p95" not in rendered_text(many)
    many.variants[0].phases["during"].endpoints["read_feed"] = endpoint()
    assert "p99" not in rendered_text(many)
