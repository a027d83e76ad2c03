"""Predictions: the questions, accepted answers, what is saved, what is asked again."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from lab.commands.run import prompt_guesses
from lab.experiment import guesses
from lab.experiment.guesses import GuessError, build_questions
from lab.report.answer import build_answer
from lab.report.terminal import run
from lab.results.result import (
    CheckerCounts,
    EndpointResult,
    Guess,
    LatencySummary,
    PhaseResult,
    RunResult,
    VariantResult,
)
from lab.scenarios import catalogue
from lab.scenarios.scenario import Scenario
from tests.support.command_line import invoke_lab
from tests.support.recorded import replay_recorded_runs
from tests.support.small import scenario_file

SLOW = """
title = "Slow"
[[method]]
fault = "latency"
target = "comments"
ms = 300
[variants.sync-chain]
[variants.async-bus]
"""
THEORY = """
[[predict]]
says = "A feed takes 300 ms more."
predicted = "chain_ms(sync-chain.before.read_feed.p50, 300)"
measured = "sync-chain.during.read_feed.p50"
"""


def scenario(folder: Path, text: str = SLOW) -> Scenario:
    path = folder / "mine.toml"
    path.write_text(text)
    return Scenario.load_file(path)


def feed(ok: int, p99: float | None, sent: int = 100) -> EndpointResult:
    latency = LatencySummary(p50=p99, p99=p99)
    return EndpointResult(sent=sent, ok=ok, failed=sent - ok, success=ok / sent, latency_ms=latency)


def variant(name: str, during: EndpointResult, lost: int = 0, missing: int = 0) -> VariantResult:
    phases = {"during": PhaseResult(seconds=5, endpoints={"read_feed": during})}
    data = CheckerCounts(
        acknowledged=9, visible=9, lost=lost, duplicated=0, unsettled=missing, missing=missing
    )
    return VariantResult(name=name, arrangement=name, phases=phases, data=data)


def result(*variants: VariantResult) -> RunResult:
    return RunResult(scenario="mine", seed=7, started="2026-01-01", variants=list(variants))


MEASURED = (variant("sync-chain", feed(0, None)), variant("async-bus", feed(100, 4.0), lost=2))


def compared_guesses(folder: Path, **answers: object) -> dict[tuple[str, str], Guess]:
    one = scenario(folder)
    found = guesses.compare_guesses(guesses.parse_guesses(one, answers), one, result(*MEASURED))
    return {(guess.question, guess.variant): guess for guess in found}


def test_every_scenario_asks_two_to_four_questions() -> None:
    for scenario in catalogue.builtin_scenarios():
        asked = build_questions(scenario)
        assert len(asked) in (2, 3, 4), scenario.name
        assert len({one.key for one in asked}) == len(asked), scenario.name
        assert not any("p99" in one.text for one in asked), scenario.name
        assert all(one.short for one in asked), scenario.name
        assert asked[0].key == "fails", scenario.name
        assert all(one.text.endswith("?") and one.variants for one in asked), scenario.name


def test_what_is_asked_is_the_figure_of_which_theory_speaks(tmp_path: Path) -> None:
    keys = [one.key for one in build_questions(scenario(tmp_path))]
    assert keys == ["fails", "feed_p50_ms", "seen_p50_ms", "lost"]
    p95 = THEORY.replace(".p50", ".p95")
    assert build_questions(scenario(tmp_path, SLOW + p95))[1].key == "feed_p95_ms"
    p99 = THEORY.replace(".p50", ".p99")
    assert build_questions(scenario(tmp_path, SLOW + p99))[1].key == "feed_p50_ms"


@pytest.mark.parametrize(
    ("name", "price"),
    [
        ("slow-service", "async-bus.during.create_comment.visible_p50"),
        ("downed-service", "async-bus.during.create_post.visible_p50"),
        ("blast-radius", "async-bus.moderation_down.create_comment.visible_p50"),
        ("duplicates", "believer.data.duplicated"),
        ("half-done", "bus-with-keys.data.duplicated"),
        ("out-of-order", "believer.data.diverged"),
        ("lost-events", "uncaught.data.missing"),
        ("no-answer", "async-bus.data.unknown_kept"),
    ],
)
def test_the_price_is_the_one_of_which_the_scenario_speaks(name: str, price: str) -> None:
    asked = build_questions(catalogue.find(name))
    assert price in [path for one in asked for paths in one.paths.values() for path in paths]


@pytest.mark.parametrize(
    ("name", "endpoint"),
    [("slow-service", "read_feed"), ("read-your-writes", "comment_at_once")],
)
def test_who_fails_is_asked_of_the_scenario_s_request(name: str, endpoint: str) -> None:
    fails = build_questions(catalogue.find(name))[0]
    assert all(f".{endpoint}." in path for paths in fails.paths.values() for path in paths)


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        ("chain", "sync-chain"),
        ("async-bus and sync-chain", "sync-chain, async-bus"),
        ("Both", "sync-chain, async-bus"),
        ("none", "nobody"),
        ((), "nobody"),
        (None, "nobody"),
        (["async-bus"], "async-bus"),
    ],
)
def test_the_failing_side_has_many_names(tmp_path: Path, answer: object, kept: str) -> None:
    assert guesses.parse_guesses(scenario(tmp_path), {"fails": answer})[0].guessed == kept


@pytest.mark.parametrize(
    ("answer", "kept"),
    [("300", 300.0), ("0.3 s", 300.0), ("12.5ms", 12.5), (7, 7.0), ("Never", "never")],
)
def test_milliseconds_may_have_a_unit(tmp_path: Path, answer: object, kept: object) -> None:
    found = guesses.parse_guesses(scenario(tmp_path), {"feed_p50_ms": {"sync-chain": answer}})
    assert [(one.variant, one.guessed) for one in found] == [("sync-chain", kept)]


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ({"fails": "the other one"}, "fails: There is no side 'the'"),
        ({"fails": 3}, "fails: Saw 3; expected sync-chain, async-bus, all, or nobody"),
        ({"fails": "  "}, "fails: That was nothing"),
        ({"feed_p50_ms": "soon"}, "feed_p50_ms: Saw 'soon'; expected milliseconds, or never"),
        ({"feed_p50_ms": -1}, "feed_p50_ms: Saw -1"),
        ({"feed_p50_ms": True}, "feed_p50_ms: Saw True"),
        ({"feed_p50_ms": float("nan")}, "feed_p50_ms: Saw nan"),
        ({"feed_p50_ms": {"chain": 3}}, "feed_p50_ms: it is not asked of 'chain'"),
        ({"lost": 1.5}, "lost: Saw 1.5; expected a whole number"),
        ({"lost": "3 ms"}, "lost: Saw '3 ms'"),
        ({"lots": 1}, "mine has no question 'lots'. Did you mean 'lost'?"),
        (
            {"feed_p99_ms": 300},
            "mine has no question 'feed_p99_ms'. Did you mean 'feed_p50_ms'? "
            "(The p99 of thirty requests is the slowest one: chance decides it.)",
        ),
    ],
)
def test_a_senseless_answer_is_refused_in_a_sentence(
    tmp_path: Path, answers: dict[str, Any], says: str
) -> None:
    with pytest.raises(GuessError) as caught:
        guesses.parse_guesses(scenario(tmp_path), answers)
    assert str(caught.value).startswith(says)


def test_a_guess_is_compared_with_what_was_measured(tmp_path: Path) -> None:
    found = compared_guesses(
        tmp_path, fails="all", feed_p50_ms={"sync-chain": "never", "async-bus": 7}, lost=0
    )
    assert (found["fails", ""].measured, found["fails", ""].hit) == ("sync-chain", False)
    never = found["feed_p50_ms", "sync-chain"]
    assert (never.measured, never.hit) == ("never", True)
    near = found["feed_p50_ms", "async-bus"]
    assert (near.measured, near.hit) == (4.0, True)
    assert [found["lost", name].hit for name in ("sync-chain", "async-bus")] == [True, False]
    missing = result(variant("sync-chain", feed(9, 4.0), lost=1, missing=6))
    guessed = guesses.parse_guesses(scenario(tmp_path), {"lost": {"sync-chain": 7}})
    (counted,) = guesses.compare_guesses(guessed, scenario(tmp_path), missing)
    assert (counted.measured, counted.hit) == (7.0, True)  # its owner has it, and readers do not
    assert (
        compared_guesses(tmp_path, feed_p50_ms=9)["feed_p50_ms", "async-bus"].hit is False
    )  # over twice


@pytest.mark.parametrize(
    ("guessed", "missing", "hit"),
    [(0, 0, True), (0, 1, False), (8, 9, False), (50, 61, True), (20, 61, False)],
)
def test_a_count_of_ten_or_more_is_near_within_a_factor(
    tmp_path: Path, guessed: int, missing: int, hit: bool
) -> None:
    one = scenario(tmp_path)
    measured = result(variant("sync-chain", feed(9, 4.0)), variant("async-bus", feed(9, 4.0)))
    for each in measured.variants:
        assert each.data is not None
        each.data = each.data.model_copy(update={"missing": missing, "unsettled": missing})
    answers = guesses.parse_guesses(one, {"lost": guessed})
    assert {of.hit for of in guesses.compare_guesses(answers, one, measured)} == {hit}


def test_guesses_about_an_invalid_run_are_shown_and_not_judged(tmp_path: Path) -> None:
    one = scenario(tmp_path)
    measured = result(*MEASURED)
    answers = guesses.parse_guesses(one, {"fails": "nobody", "feed_p50_ms": 40})
    measured.guesses = guesses.compare_guesses(answers, one, measured)
    assert build_answer(measured).guesses[0] == "who fails: nobody (was sync-chain) ✗"
    measured.valid = False
    assert build_answer(measured).guesses == (
        "who fails: nobody",
        "a feed, p50: sync-chain 40 ms; async-bus 40 ms",
    )
    row = next(line for line in render(measured).splitlines() if "40 ms" in line)
    assert row.split() == ["sync-chain", "40", "ms", "-", "-", "-"]


@pytest.mark.parametrize(
    ("bounds", "hits"),
    [
        ({}, (True, True)),
        ({"during.read_feed.p50": (3.5, 5.0)}, (True, True)),
        ({"during.read_feed.p50": (0.5, 90.0)}, (True, None)),
        ({"during.read_feed.success": (0.98, 1.0)}, (None, True)),
    ],
)
def test_a_guess_is_judged_only_if_both_ends_agree(
    tmp_path: Path, bounds: dict[str, Any], hits: tuple[bool | None, bool | None]
) -> None:
    one = scenario(tmp_path)
    measured = [of.model_copy(deep=True) for of in MEASURED]
    measured[1].bounds = bounds
    answers = {"fails": "sync-chain", "feed_p50_ms": {"async-bus": 4}}
    guessed = guesses.parse_guesses(one, answers)
    found = guesses.compare_guesses(guessed, one, result(*measured))
    assert tuple(of.hit for of in found) == hits


def test_what_was_not_measured_proves_no_guess_wrong(tmp_path: Path) -> None:
    one = scenario(tmp_path)
    nothing = result(VariantResult(name="sync-chain", arrangement="sync-chain"))
    answers = guesses.parse_guesses(one, {"fails": "all", "feed_p50_ms": 3, "lost": 0})
    assert {(of.measured, of.hit) for of in guesses.compare_guesses(answers, one, nothing)} == {
        (None, None)
    }


def test_the_table_shows_guess_measurement_and_theory(tmp_path: Path) -> None:
    one = scenario(tmp_path)
    measured = result(*MEASURED)
    assert "What you had predicted" not in render(measured)
    measured.guesses = guesses.compare_guesses(
        guesses.parse_guesses(one, {"feed_p50_ms": 40}), one, measured
    )
    measured.guesses[1] = measured.guesses[1].model_copy(update={"theory": 4.2})
    text = render(measured)
    assert "What you had predicted" in text
    row = next(line for line in text.splitlines() if "4.2 ms" in line)
    assert " ".join(row.split()) == "async-bus 40 ms 4.0 ms 4.2 ms 10.0 x too high"


def render(run_result: RunResult) -> str:
    out = io.StringIO()
    run.render(run_result, Console(file=out, width=80))
    return out.getvalue()


# ── The command line


def test_answers_are_asked_for_again_kept_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay_recorded_runs(monkeypatch)
    name = scenario_file(tmp_path, "asked", variants=("sync-chain",))
    answers = "no one knows\nnobody\nquick\n20\n30\n0\n"
    said = invoke_lab("run", name, "--predict", "--json", cwd=tmp_path, stdin=answers)
    assert said.returncode == 0, said.stderr
    assert "There is no side 'no'" in said.stderr
    assert "Saw 'quick'; expected milliseconds" in said.stderr
    document = json.loads(said.stdout)
    assert [(one["question"], one["guessed"]) for one in document["guesses"]] == [
        ("fails", "nobody"),
        ("feed_p50_ms", 20.0),
        ("seen_p50_ms", 30.0),
        ("lost", 0.0),
    ]
    assert [one["measured"] is not None for one in document["guesses"]] == [True] * 4
    (kept,) = (tmp_path / "runs").glob("*-asked")
    assert len(json.loads((kept / guesses.GUESSES_FILE).read_text())) == 4
    assert json.loads((kept / "result.json").read_text())["guesses"] == document["guesses"]
    assert (
        "What you had predicted" in invoke_lab("report", str(kept), "--full", cwd=tmp_path).stdout
    )


def keep_run(folder: Path, one: Scenario, valid: bool) -> None:
    folder.mkdir(parents=True)
    answers = guesses.parse_guesses(one, {"fails": "chain", "feed_p50_ms": 300, "lost": 0})
    guesses.save_guesses(answers, folder)
    run_result = result(*MEASURED)
    run_result.valid = valid
    run_result.save(folder / "result.json")


def test_answers_before_an_invalid_run_are_offered_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = scenario(tmp_path)
    keep_run(tmp_path / "runs" / "20260101-100000-mine", one, valid=False)
    monkeypatch.setattr("sys.stdin", io.StringIO("\n250\n\n\n\n\n\n"))
    answers = prompt_guesses(one, tmp_path / "runs")
    assert [(guess.question, guess.variant, guess.guessed) for guess in answers] == [
        ("fails", "", "sync-chain"),
        ("feed_p50_ms", "sync-chain", 250.0),
        ("feed_p50_ms", "async-bus", 300.0),
        ("lost", "sync-chain", 0.0),
        ("lost", "async-bus", 0.0),
    ]
    asked = capsys.readouterr().err
    assert "sync-chain [300 ms]> " in asked
    assert "The last run was no result." in asked


def test_answers_that_a_run_has_judged_are_not_offered_again(tmp_path: Path) -> None:
    one = scenario(tmp_path)
    keep_run(tmp_path / "runs" / "20260101-100000-mine", one, valid=False)
    assert guesses.unjudged_guesses("mine", tmp_path / "runs")
    assert not guesses.unjudged_guesses("other", tmp_path / "runs")
    keep_run(tmp_path / "runs" / "20260101-100100-mine", one, valid=True)
    assert not guesses.unjudged_guesses("mine", tmp_path / "runs")
    (tmp_path / "runs" / "20260101-100100-mine" / "result.json").unlink()
    (tmp_path / "runs" / "20260101-100100-mine" / "guesses.json").write_text("[{")
    assert not guesses.unjudged_guesses("mine", tmp_path / "runs")


def test_an_input_that_ends_ends_the_command_before_any_start(tmp_path: Path) -> None:
    name = scenario_file(tmp_path, "asked", title="\x1b]0;owned\x07T", question="\x1b[2JQ?")
    said = invoke_lab("run", name, "--predict", cwd=tmp_path, stdin="nobody\n")
    assert said.returncode == 2
    assert "nobody is there to answer" in said.stderr
    assert "Traceback" not in said.stderr
    assert "\x1b" not in said.stderr + said.stdout  # from a hostile scenario
    assert not (tmp_path / "runs").exists()
