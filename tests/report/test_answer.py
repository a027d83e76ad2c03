"""The answer of a run: its rows, the better variant, and one screen in the terminal."""

import io
import re
from typing import Any

import pytest
from rich.console import Console

from lab.domain.services import SERVICES
from lab.faults.kinds import KINDS
from lab.report.answer import Answer, build_answer, fill_figures
from lab.report.answer_rows import AnswerRow
from lab.report.terminal.answer import render_answer
from lab.results.result import (
    ENDPOINTS,
    AnswerFigure,
    AnswerLine,
    AnswerTexts,
    CheckerCounts,
    ConsumerLag,
    Difference,
    EndpointResult,
    Expectation,
    FaultEvidence,
    Footprint,
    Guess,
    LatencySummary,
    LoadSummary,
    PhaseResult,
    RunResult,
    RunTimeline,
    TimelinePhase,
    TimelineWindow,
    VariantResult,
    VisibilityLatency,
)
from tests.support import kept_runs

CHAIN, BUS = "sync-chain", "async-bus"


def endpoint(ok: int, sent: int, p50: float | None = 3.0, **more: Any) -> EndpointResult:
    return EndpointResult(
        sent=sent,
        ok=ok,
        failed=sent - ok,
        success=ok / sent if sent else None,
        latency_ms=LatencySummary(p50=p50),
        **more,
    )


def variant(name: str, during: dict[str, EndpointResult], **more: Any) -> VariantResult:
    phases = {"before": {}, "during": during, "after": {}}
    return VariantResult(
        name=name,
        arrangement=name,
        phases={of: PhaseResult(seconds=2, endpoints=each) for of, each in phases.items()},
        **more,
    )


def counts(**more: int) -> CheckerCounts:
    whole = {
        "acknowledged": 10,
        "visible": 10,
        "lost": 0,
        "duplicated": 0,
        "unsettled": 0,
        "missing": 0,
    }
    return CheckerCounts.model_validate({**whole, **more})


def run_of(*variants: VariantResult, **more: Any) -> RunResult:
    whole: dict[str, Any] = {
        "scenario": "mine",
        "title": "Mine",
        "seed": 1,
        "started": "2026-01-01T00:00:00+00:00",
        "timeline": RunTimeline(
            stages=[TimelinePhase(name="during", from_s=0.5, until_s=2.5)],
            windows=[TimelineWindow(target="comments", kind="down", from_s=0.5, until_s=2.5)],
        ),
    }
    return RunResult(variants=list(variants), **whole | more)


def row_of(result: RunResult, label: str) -> AnswerRow:
    rows = [row for section in build_answer(result).sections for row in section.rows]
    return next(row for row in rows if row.label.strip() == label)


def screen(answer: Answer, width: int = 80, encoding: str = "utf-8") -> list[str]:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    render_answer(answer, Console(file=file, width=width, height=35))
    file.flush()
    return raw.getvalue().decode(encoding).splitlines()


# ── Who is better


@pytest.mark.parametrize(
    ("first", "second", "better"),
    [
        ((0, 51), (52, 52), "BUS"),
        ((52, 52), (0, 51), "CHAIN"),
        ((0, 30), (0, 30), "both fail"),
        ((1, 3), (3, 3), "unclear"),
        ((20_000, 20_200), (20_001, 20_200), "same"),
    ],
)
def test_success_is_compared_by_its_interval(
    first: tuple[int, int], second: tuple[int, int], better: str
) -> None:
    result = run_of(
        variant(CHAIN, {"read_feed": endpoint(*first, errors={"http_503": 1})}),
        variant(BUS, {"read_feed": endpoint(*second)}),
    )
    assert row_of(result, "read the feed").better == better


def difference(ratio: float, low: float, high: float, verdict: str, **more: Any) -> Difference:
    whole = {"variant": BUS, "against": CHAIN, "phase": "during", "endpoint": "read_feed"}
    figures = {"ratio": ratio, "low": low, "high": high, "verdict": verdict}
    return Difference.model_validate({**whole, **figures, **more})


@pytest.mark.parametrize(
    ("found", "better"),
    [
        (difference(0.01, 0.005, 0.02, "faster"), "BUS 100×"),
        (difference(100, 50, 200, "slower"), "CHAIN 100×"),
        (difference(1.01, 0.95, 1.05, "no difference shown"), "same"),
        (difference(1.01, 0.5, 2.0, "no difference shown"), "unclear"),
        (difference(0.01, 0.005, 0.02, "faster", phase="before"), "unclear"),
        (difference(0.01, 0.005, 0.02, "faster", figure="visible"), "unclear"),
    ],
)
def test_latency_is_compared_by_the_interval_of_the_ratio(found: Difference, better: str) -> None:
    result = run_of(
        variant(CHAIN, {"read_feed": endpoint(9, 9, 10.0)}),
        variant(BUS, {"read_feed": endpoint(9, 9, 10.0 * found.ratio)}),
        differences=[found],
    )
    assert row_of(result, "read the feed").better == better


def test_the_best_of_three_is_named() -> None:
    result = run_of(
        variant("one", {"read_feed": endpoint(0, 50, None, errors={"timeout": 50})}),
        variant("two", {"read_feed": endpoint(49, 50)}),
        variant("three", {"read_feed": endpoint(50, 50)}),
    )
    row = row_of(result, "read the feed")
    assert (row.best, row.worst) == ({1, 2}, {0})
    assert row.better == "two, three"


@pytest.mark.parametrize(("ok", "words"), [(2, "both fail"), (6, "unclear")])
def test_both_fail_only_if_most_requests_fail(ok: int, words: str) -> None:
    failing = endpoint(ok, 9, errors={"http_503": 9 - ok})
    result = run_of(*(variant(name, {"read_feed": failing}) for name in (CHAIN, BUS)))
    assert row_of(result, "read the feed").better == words


def test_the_better_of_two_figures_is_marked_as_well_if_nothing_beats_it() -> None:
    names = {"one": 1.9, "two": 4.2, "three": 1.5, "four": 3.0}
    proved = difference(1.9 / 4.2, 0.4, 0.5, "faster", variant="one", against="two")
    result = run_of(
        *(variant(name, {"read_feed": endpoint(9, 9, p50)}) for name, p50 in names.items()),
        differences=[proved],
    )
    assert row_of(result, "read the feed").best == {0, 2}


def test_a_share_that_the_model_refused_is_not_zero() -> None:
    known = endpoint(1, 9, errors={"http_503": 8})
    refused = known.model_copy(update={"success": None})
    result = run_of(variant(CHAIN, {"read_feed": known}), variant(BUS, {"read_feed": refused}))
    row = row_of(result, "read the feed")
    assert [cell.text for cell in row.cells] == ["11.1 %  3.0 ms", "–"]
    assert not row.best


# ── Rows


def test_a_write_that_most_readers_never_see_is_red() -> None:
    never = endpoint(10, 10, never_visible=9, visible_ms=VisibilityLatency(p50=5.0))
    seen = endpoint(10, 10, visible_ms=VisibilityLatency(p50=5.0, max=4_000.0))
    result = run_of(variant(CHAIN, {"create_post": seen}), variant(BUS, {"create_post": never}))
    row = row_of(result, "… until readers see it")
    assert [cell.text for cell in row.cells] == ["5.0 ms, max 4.0 s", "never: 9 of 10"]
    assert (row.better, row.cells[1].bad) == ("CHAIN", True)


def test_what_readers_miss_is_no_zero() -> None:
    result = run_of(
        variant(CHAIN, {}, data=counts()),
        variant(BUS, {}, data=counts(unsettled=6, missing=6, visible=4)),
    )
    row = row_of(result, "missing for readers")
    assert [cell.text for cell in row.cells] == ["0 of 10", "6 of 10"]
    assert row.better == "CHAIN"
    assert row_of(result, "lost / duplicated").better == "same"


def test_a_refused_comment_on_an_unknown_post_is_a_price() -> None:
    refused = endpoint(40, 60, errors={"http_404": 20})
    result = run_of(
        variant(CHAIN, {"create_comment": endpoint(60, 60)}),
        variant(BUS, {"create_comment": refused}),
    )
    assert row_of(result, "404: post not known yet").better == "CHAIN"


def test_without_a_fault_there_is_nothing_to_recover_from() -> None:
    down = [FaultEvidence(kind="down", target="comments", acted=True)]
    result = run_of(variant(CHAIN, {}, faults=down), variant(BUS, {}))
    assert [cell.text for cell in row_of(result, "working again after").cells] == ["never", "–"]


def test_a_scenario_adds_rows_of_its_own() -> None:
    figure = AnswerFigure(label="events waiting for query", figure="lag.query.max")
    result = run_of(
        variant(CHAIN, {}, lag={"query": ConsumerLag(max=400)}),
        variant(BUS, {}, lag={"query": ConsumerLag(max=3)}),
        answer=AnswerTexts(rows=[figure]),
    )
    row = row_of(result, "events waiting for query")
    assert row.better == "BUS"
    assert [cell.text for cell in row.cells] == ["400", "3"]


@pytest.mark.parametrize(
    ("figure", "one", "other", "better"),
    [
        ("processes", 1, 4, "CHAIN"),
        ("memory_mib", 14.0, 57.0, "CHAIN"),
        ("memory_mib", 57.0, 58.0, "same"),
    ],
)
def test_parts_of_the_design_are_compared_as_facts(
    figure: str, one: float, other: float, better: str
) -> None:
    def of(name: str, value: float) -> VariantResult:
        footprint = {"processes": 1, "memory_mib": 1.0, figure: value}
        return variant(name, {}, footprint=Footprint.model_validate(footprint))

    texts = AnswerTexts(rows=[AnswerFigure(label="mine", figure=figure)])
    assert row_of(run_of(of(CHAIN, one), of(BUS, other), answer=texts), "mine").better == better


def test_one_reading_of_a_duration_is_not_compared() -> None:
    texts = AnswerTexts(
        rows=[AnswerFigure(label="seconds until level", figure="lag.query.drained_seconds")]
    )
    result = run_of(
        variant(CHAIN, {}, lag={"query": ConsumerLag(max=9, drained_seconds=1.1)}),
        variant(BUS, {}, lag={"query": ConsumerLag(max=9, drained_seconds=3.6)}),
        answer=texts,
    )
    assert row_of(result, "seconds until level").better == "unclear"


def test_every_kind_of_fault_has_words() -> None:
    assert all(fault.state and fault.description for fault in KINDS.values())


# ── Sentences


def test_figures_of_the_run_stand_in_its_sentences() -> None:
    result = run_of(variant(CHAIN, {"read_feed": endpoint(9, 9, 312.0)}))
    sentence = "The feed took {sync-chain.during.read_feed.p50}."
    assert fill_figures(sentence, result) == "The feed took 312 ms."
    assert fill_figures("It took {sync-chain.during.create_post.p50}.", result) == ""


def test_a_failed_expectation_says_what_was_measured() -> None:
    failed = Expectation(
        says="The feed is quick.",
        claim="slowest-hop",
        verdict="fails",
        values={"sync-chain.during.read_feed.p50": 312.0},
    )
    answer = build_answer(run_of(variant(CHAIN, {}), expectations=[failed]))
    assert answer.verdict == "0 of 1 expectations hold: slowest-hop ✗"
    assert answer.failed[0].measured == "sync-chain.during.read_feed.p50 312 ms"


# ── One screen


LONG = "In the chain a service fails together with every service that calls it. " * 3
LINES, FIRST_ROWS, HEIGHT = 80, 24, 35


def failing(count: int) -> list[Expectation]:
    values = dict.fromkeys((f"{CHAIN}.during.{n}.p50" for n in ENDPOINTS), 312.0)
    return [Expectation(says=LONG[:150], verdict="fails", values=values)] * count


def sequence(faults: int, *names: str) -> RunResult:
    """One fault after another, in each of which the first variant fails."""
    phases = [f"{service} down" for service in (*SERVICES, "event-bus")[:faults]]

    def of(name: str, ok: int) -> VariantResult:
        requests = {one: endpoint(ok, 20, errors={"http_503": 20 - ok}) for one in ENDPOINTS}
        return VariantResult(
            name=name,
            arrangement=name,
            phases={one: PhaseResult(seconds=1, endpoints=requests) for one in phases},
            data=counts(unsettled=3, diverged=2),
        )

    stages = [TimelinePhase(name=one, from_s=n, until_s=n + 1) for n, one in enumerate(phases)]
    windows = [
        TimelineWindow(target=one.split()[0], kind="down", from_s=n, until_s=n + 1)
        for n, one in enumerate(phases)
    ]
    return run_of(
        *(of(name, 20 * (n > 0)) for n, name in enumerate(names)),
        timeline=RunTimeline(stages=stages, windows=windows),
    )


def during(*names: str) -> RunResult:
    data = counts(unsettled=3, diverged=2, orphaned=1)
    requests = {one: endpoint(20, 20, visible_ms=VisibilityLatency(p50=5.0)) for one in ENDPOINTS}
    broken = {one: endpoint(0, 20, None, errors={"timeout": 20}) for one in ENDPOINTS}
    return run_of(
        *(variant(name, requests if n else broken, data=data) for n, name in enumerate(names))
    )


SHAPES = {
    "two": during(CHAIN, BUS),
    "three": during(CHAIN, "request-reply", "with-retries-and-budget"),
    "four": during(CHAIN, "fire-and-forget", "one-by-one", "uncaught"),
    "five": during(*(f"variant-{n}" for n in range(5))),
    "two faults": sequence(2, CHAIN, "three-attempts", BUS),
    "three faults": sequence(3, CHAIN, BUS),
    "five faults": sequence(5, CHAIN, BUS),
}


@pytest.mark.parametrize("failed", [0, 4])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_answer_fits_on_one_screen(shape: str, failed: int) -> None:
    texts = AnswerTexts(why=LONG, catch=LONG, next="slow-service   and this?")
    result = SHAPES[shape].model_copy(update={"answer": texts, "expectations": failing(failed)})
    answer = build_answer(result)
    for encoding in ("utf-8", "ascii"):
        lines = screen(answer, LINES, encoding)
        assert len(lines) <= HEIGHT
        assert max(map(len, lines)) <= LINES
        assert any("read the feed" in line for line in lines[:FIRST_ROWS])
        assert "lab open" in lines[-1]
        assert "lab report --full" in lines[-1]


@pytest.mark.parametrize("shape", SHAPES)
def test_with_predictions_it_takes_a_few_lines_more(shape: str) -> None:
    guesses = [
        Guess(
            question=str(n),
            asks=f"{n}",
            short=f"until readers see a comment, {n}",
            variant=name,
            unit="ms",
            guessed=300.0,
            measured=1175.0,
        )
        for n in range(3)
        for name in (CHAIN, BUS)
    ]
    texts = AnswerTexts(why=LONG, catch=LONG, next="slow-service   and this?")
    more = {"answer": texts, "expectations": failing(4), "guesses": guesses}
    assert len(screen(build_answer(SHAPES[shape].model_copy(update=more)))) <= HEIGHT + 5


def test_a_prediction_is_shown_with_its_interval() -> None:
    """The one that the measurement refutes comes first."""
    run = kept_runs.result(kept_runs.samples())
    shown = " ".join(" ".join(screen(build_answer(run))).split())
    assert "Theory predicted 300 (270 to 330), measured 303: The sum of the hops, ms" in shown
    refuted = run.predictions[0].model_copy(
        update={"says": "Twice.", "predicted": 6.0, "low": 5.5, "high": 6.5, "agrees": False}
    )
    run.predictions.append(refuted)
    shown = " ".join(" ".join(screen(build_answer(run))).split())
    assert "predicted 6 (5.5 to 6.5), measured 303: Twice. 1 of 2 as predicted." in shown


def test_no_word_of_a_heading_is_cut() -> None:
    names = (CHAIN, "request-reply", "three-attempts", "fire-and-forget")
    heading = " ".join(screen(build_answer(during(*names)))[:6])
    assert set(" ".join(names).replace("-", " ").split()) <= set(re.findall(r"\w+", heading))
    assert "(asks, wa " not in heading


@pytest.mark.parametrize("shape", SHAPES)
def test_a_screen_too_narrow_for_columns_has_a_line_for_each_figure(shape: str) -> None:
    for width in (20, 40):
        assert len(screen(build_answer(SHAPES[shape]), width)) > 5


def test_a_run_with_samples_fits_on_one_screen() -> None:
    run_samples = kept_runs.samples()
    answer = build_answer(kept_runs.result(run_samples), run_samples)
    for width in (LINES, 120):
        lines = screen(answer, width)
        assert len(lines) <= HEIGHT
        assert max(map(len, lines)) <= width
    assert any("read the feed" in line for line in lines[:FIRST_ROWS])


def test_many_faults_are_a_matrix_of_fault_and_request() -> None:
    lines = screen(build_answer(sequence(5, CHAIN, BUS)))
    (line,) = [one for one in lines if one.startswith("`posts` is down")]
    assert line.split("down")[1].split("%")[:2] == ["        0 ", "      100 "]
    assert line.count("▲") == len(ENDPOINTS)


def test_an_invalid_run_explains_no_figure() -> None:
    texts = AnswerTexts(why=LONG, catch=LONG)
    answer = build_answer(during(CHAIN, BUS).model_copy(update={"valid": False, "answer": texts}))
    assert (answer.why, answer.catch) == ("", "")


def test_a_late_load_is_no_footnote_of_a_run_that_is_no_result() -> None:
    for valid in (True, False):
        update = {"valid": valid, "load": LoadSummary(late=3)}
        answer = build_answer(during(CHAIN, BUS).model_copy(update=update))
        assert any("3 of" in one for one in answer.footnotes) is valid


def test_eight_variants_have_a_line_each() -> None:
    variants = [variant(f"v{n}", {"read_feed": endpoint(50 - 5 * n, 50)}) for n in range(8)]
    lines = screen(build_answer(run_of(*variants)))
    assert max(map(len, lines)) <= LINES
    assert all(any(line.strip().startswith(f"v{n}") for line in lines) for n in range(8))


def test_signs_are_replaced_where_there_are_none() -> None:
    run_samples = kept_runs.samples()
    answer = build_answer(kept_runs.result(run_samples), run_samples)
    lines = screen(answer, encoding="ascii")
    assert all(line.isascii() for line in lines)
    assert any("slowest-hop +" in line for line in lines)


def test_texts_from_a_file_cannot_control_the_terminal() -> None:
    result = run_of(variant(CHAIN, {}), title="\x1b[31mred", explain="\x1b]0;title\x07 it.")
    assert not any("\x1b" in line or "\x07" in line for line in screen(build_answer(result)))


# ── The two lines at the top


def line(figure: str, good: str = "low") -> AnswerLine:
    return AnswerLine.model_validate({"says": "It", "figure": figure, "good": good})


def top_lines(result: RunResult, **texts: AnswerLine) -> tuple[str, str]:
    answer = build_answer(result.model_copy(update={"answer": AnswerTexts(**texts)}))
    return answer.better, answer.price


STALE_BUS = run_of(
    variant(CHAIN, {"read_feed": endpoint(0, 50, None, errors={"http_503": 50}, stale=0)}),
    variant(BUS, {"read_feed": endpoint(50, 50, stale=40)}, data=counts()),
    noise_floor=None,
)


@pytest.mark.parametrize(
    ("better", "price", "expected"),
    [
        (
            line("during.read_feed.success", "high"),
            line("*.read_feed.stale"),
            (
                "async-bus. It: 100 %; sync-chain 0 %",
                "none shown (It: sync-chain –; async-bus 80.0 %)",
            ),
        ),
        (
            line("*.read_feed.success", "high"),
            None,
            ("async-bus. It: 100 %; sync-chain 0 %", "none shown."),
        ),
        (
            line("memory_mib"),
            line("during.read_feed.success", "high"),
            (
                "sync-chain. It: 10; async-bus 90 (9.0×)",
                "sync-chain pays. It: 0 %; async-bus 100 %",
            ),
        ),
    ],
)
def test_the_scenario_s_figures_say_who_is_better_off_at_what_price(
    better: AnswerLine, price: AnswerLine | None, expected: tuple[str, str]
) -> None:
    for one, mib in zip(STALE_BUS.variants, (10.0, 90.0), strict=True):
        one.footprint = Footprint(processes=1, memory_mib=mib)
    texts = {"better": better, **({"price": price} if price else {})}
    assert top_lines(STALE_BUS, **texts) == expected


def test_without_a_named_figure_the_first_row_that_shows_it_is_taken() -> None:
    better, price = top_lines(STALE_BUS)
    assert (
        better == "async-bus. While `comments` is down, read the feed (ok): 100 %; sync-chain 0 %"
    )
    assert price == "none shown."


def test_no_difference_names_no_variant() -> None:
    same = run_of(*(variant(name, {"read_feed": endpoint(9, 9)}) for name in (CHAIN, BUS)))
    better, _ = top_lines(same, better=line("during.read_feed.p50"))
    assert better == "no difference shown (It: sync-chain, async-bus 3.0 ms)"


def test_a_single_reading_is_compared_where_an_expectation_compares_it() -> None:
    values = {f"{CHAIN}.during.read_feed.p95": 900.0, f"{BUS}.during.read_feed.p95": 9.0}
    slow, quick = (
        variant(name, {"read_feed": endpoint(9, 9).model_copy(update={"latency_ms": of})})
        for name, of in (
            (CHAIN, LatencySummary(p50=3.0, p95=900.0)),
            (BUS, LatencySummary(p50=3.0, p95=9.0)),
        )
    )
    for verdict, words in (("holds", "async-bus."), ("fails", "no difference shown")):
        judged = Expectation.model_validate({"says": "So.", "verdict": verdict, "values": values})
        better, _ = top_lines(
            run_of(slow, quick, expectations=[judged]), better=line("during.read_feed.p95")
        )
        assert better.startswith(words)


def test_a_price_that_may_be_large_is_shown_as_unclear() -> None:
    slow, quick = (
        variant(name, {"read_feed": endpoint(ok, 50, p50, errors={"http_503": 50 - ok})})
        for name, ok, p50 in ((CHAIN, 1, 3.0), (BUS, 50, 9.0))
    )
    result = run_of(slow, quick)
    for name, p50 in ((CHAIN, 4.0), (BUS, 9.0)):
        one = next(one for one in result.variants if one.name == name)
        one.phases["during"].endpoints["create_post"] = endpoint(50, 50, p50)
    better, price = top_lines(
        result,
        better=line("during.read_feed.success", "high"),
        price=line("during.create_post.p50"),
    )
    assert better.startswith("async-bus. ")
    assert price == "unclear (It: sync-chain 4.0 ms; async-bus 9.0 ms)"


def test_a_variant_alone_is_not_called_better() -> None:
    alone = variant(BUS, {"read_feed": endpoint(9, 9)})
    lines = screen(build_answer(run_of(alone, answer=AnswerTexts(better=line("memory_mib")))))
    assert "Better: only async-bus ran. It: –" in lines


def test_an_invalid_run_names_no_one() -> None:
    assert top_lines(STALE_BUS.model_copy(update={"valid": False})) == ("", "")
