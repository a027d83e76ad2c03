"""A report says exactly what the result says, on any terminal."""

import io
import math
from pathlib import Path

import pytest
from rich.console import Console

from lab.report import formatting
from lab.report.terminal.run import render, summary
from lab.results.result import (
    CheckerCounts,
    EndpointResult,
    Expectation,
    ExpectationVerdict,
    FailureLatency,
    FaultEvidence,
    LatencySummary,
    LoadSummary,
    PhaseResult,
    ResultError,
    RunResult,
    SendLag,
    VariantResult,
    VisibilityLatency,
)
from lab.support.text import plain, styled

HOSTILE = (
    "[/red][bold]\x1b]0;owned\x07\x1b[2J\x1b[31m\u202egnp.exe\u2066\u200b"
    "\x9b5m\x07\x7f\ntitle [link=http://x]"
)


def endpoint(share: float = 1.0, p50: float = 4.0, visible: float | None = None) -> EndpointResult:
    ok = round(100 * share)
    return EndpointResult(
        sent=100,
        ok=ok,
        failed=100 - ok,
        success=share,
        errors={"http_502": 100 - ok, "timeout": 0},
        failed_after_ms=FailureLatency(p50=2.5 if ok < 100 else None),
        latency_ms=LatencySummary(p50=p50, p90=p50, p95=p50, p99=3 * p50, max=4 * p50, mean=p50),
        visible_ms=None
        if visible is None
        else VisibilityLatency(p50=visible, p99=2 * visible, max=900),
    )


def figures(share: float = 1.0, p50: float = 4.0) -> PhaseResult:
    return PhaseResult(
        seconds=3,
        endpoints={
            "read_feed": endpoint(share, p50),
            "create_post": endpoint(1.0, p50, 20),
            "create_comment": endpoint(share, p50, 1_234),
        },
    )


def variant(name: str, during: float, *phases: str) -> VariantResult:
    return VariantResult(
        name=name,
        arrangement=name,
        phases={
            "before": figures(),
            **{phase: figures(during, 312.4) for phase in phases or ("during",)},
            "after": figures(),
        },
        data=CheckerCounts(
            acknowledged=160, visible=160, lost=0, duplicated=0, unsettled=0, unknown=3
        ),
        recovery_seconds=0.4,
        faults=[
            FaultEvidence(
                kind="down",
                target="comments",
                acted=True,
                evidence={"requests_refused": 88, "gone_for_seconds": 5.0123},
            )
        ],
    )


def make_result(
    *variants: VariantResult, verdict: ExpectationVerdict = "holds", **more: object
) -> RunResult:
    return RunResult.model_validate(
        {
            "scenario": "downed-service",
            "title": "A downed service",
            "question": "Who can still read?",
            "explain": "One paragraph.\n\nAnother paragraph.",
            "seed": 7,
            "started": "2025-01-01T00:00:00Z",
            "variants": variants or (variant("sync-chain", 0.02), variant("async-bus", 1.0)),
            "load": LoadSummary(
                lag_ms=SendLag(p50=0.1, p99=0.34, max=2), probes={"sync-chain": 81}
            ),
            "expectations": [
                Expectation(
                    says="The feed is gone with comments.",
                    claim="one-down",
                    verdict=verdict,
                    measured=0.02,
                    expected="<= 0.2",
                )
            ],
            **more,
        }
    )


def rendered_text(result: RunResult, width: int = 80, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding=encoding, errors="strict")
    render(result, Console(file=out, width=width, force_terminal=False))
    out.flush()
    return raw.getvalue().decode(encoding)


def flat(text: str) -> str:
    """The words of a text, with line breaks turned into spaces."""
    return " ".join(text.split())


def test_a_run_is_printed_with_its_figures_and_its_price() -> None:
    text = flat(rendered_text(make_result()))
    for piece in (
        "A downed service",
        "Predict first: Who can still read?",
        "Another paragraph.",
        "sync-chain",
        "async-bus",
        "2.0 %",
        "312",
        "answered",
        "visible",
        "1234",
        "0.4 s",
        "refused but kept",
        "requests refused 88, gone for seconds 5.0123",
        "read_feed 98 × http_502 (2.5 ms)",
        "✓ holds",
        "one-down",
        "wanted <= 0.2",
        "measured 0.02",
    ):
        assert piece in text
    assert "INVALID" not in text


def test_the_arrangements_stand_side_by_side_in_eighty_columns() -> None:
    lines = rendered_text(make_result()).splitlines()
    assert max(map(len, lines)) <= 80
    together = [line for line in lines if "sync-chain" in line and "async-bus" in line]
    assert len(together) >= 3
    many = make_result(*(variant(f"variant-number-{n}", 0.5) for n in range(4)))
    for width in (40, 60, 80, 100, 160):
        assert max(map(len, rendered_text(many, width).splitlines())) <= width


def test_an_arrangement_that_does_not_fit_gets_a_second_table() -> None:
    names = ("sync-chain", "sync-chain-again", "async-bus")
    text = rendered_text(make_result(*(variant(name, 1.0) for name in names)))
    answers = text[text.index("Answers") : text.index("How requests")] if "How" in text else text
    assert answers.count(" good p50 p95 ") == 3
    assert all(name in answers for name in names)


def test_a_sequence_is_printed_as_a_matrix() -> None:
    chain = variant("sync-chain", 0.0, "posts down", "event-bus down")
    bus = variant("async-bus", 1.0, "posts down", "event-bus down")
    chain.faults = [FaultEvidence(kind="down", target="posts", acted=True)]
    bus.faults = [
        FaultEvidence(kind="down", target="posts", acted=True),
        FaultEvidence(kind="down", target="event-bus", acted=True),
    ]
    text = rendered_text(make_result(chain, bus))
    rows = {line.split("  ")[0].strip(): line for line in text.splitlines() if " down " in line}
    assert rows["posts down"].count("100 %") == 4
    assert rows["posts down"].count(" 0 %") == 2
    assert rows["event-bus down"].split()[2:5] == ["-", "-", "-"]
    assert "event-bus down doesn't apply" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_verdict_has_a_sign_and_a_word() -> None:
    verdicts: dict[ExpectationVerdict, str] = {"holds": "✓", "fails": "✗", "not measured": "?"}
    for verdict, sign in verdicts.items():
        assert f"{sign} {verdict}" in rendered_text(make_result(verdict=verdict))


def test_an_invalid_run_says_so_and_why() -> None:
    load = LoadSummary(late=40, dropped=2)
    result = make_result(valid=False, load=load, problems=["the load fell behind: 40 were late"])
    text = flat(rendered_text(result))
    assert "INVALID" in text
    assert "the load fell behind" in text
    assert "40 late, 2 dropped. The run is INVALID." in text
    assert result.exit_code == 3
    assert "40 late, 2 dropped." in flat(rendered_text(make_result(load=load)))


def test_a_busy_machine_is_named_beside_the_figures() -> None:
    free, crowded = (
        flat(rendered_text(make_result(load=LoadSummary(machine_share=share))))
        for share in (0.42, 0.97)
    )
    assert "the processors were busy 42 % of the time." in free
    assert "busy 97 % of the time, so all times here include waiting for a processor" in crowded


def test_a_fault_that_did_not_act_says_so() -> None:
    hurt = variant("sync-chain", 1.0)
    hurt.faults[0].acted = False
    assert "comments down DID NOT ACT" in rendered_text(make_result(hurt))


def test_no_recovery_is_never_and_no_harm_is_nothing() -> None:
    hurt, unhurt = variant("sync-chain", 0.5), variant("async-bus", 1.0)
    hurt.recovery_seconds = unhurt.recovery_seconds = None
    unhurt.faults = []
    row = next(
        line
        for line in rendered_text(make_result(hurt, unhurt)).splitlines()
        if "recovered" in line
    )
    assert row.split()[-2:] == ["never", "-"]


def test_hostile_text_neither_breaks_a_table_nor_drives_the_terminal() -> None:
    long = HOSTILE * 40 + "x" * 2_000
    hurt = variant("sync-chain", 0.5)
    hurt.name = long
    hurt.notes = [long]
    hurt.faults = [
        FaultEvidence(kind=long, target=long, acted=True, evidence={long: {long: [long]}})
    ]
    hurt.phases[long] = figures(0.5)
    hurt.phases["during"].endpoints["read_feed"].errors = {long: 3}
    result = make_result(
        hurt,
        title=long,
        scenario=long,
        question=long,
        explain=long,
        problems=[long],
        valid=False,
        load=LoadSummary(probes={long: 1}),
        expectations=[Expectation(says=long, claim=long, verdict="fails", expected=long)],
    )
    raw = io.StringIO()
    render(result, Console(file=raw, width=80, force_terminal=True, color_system=None))
    summary([result], Console(file=raw, width=80, force_terminal=True, color_system=None))
    text = raw.getvalue()
    assert not set(text) & set("\x1b\x07\x7f\x9b\u202e\u2066\u200b\r")
    assert "[/red][bold]" in text
    assert max(map(len, text.splitlines())) <= 80


def test_colour_is_left_out_when_asked_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    raw = io.StringIO()
    render(make_result(verdict="fails"), Console(file=raw, width=80, force_terminal=True))
    assert "\x1b[31m" not in raw.getvalue()
    assert "✗ fails" in raw.getvalue()


def test_a_terminal_without_unicode_gets_words_and_plain_signs() -> None:
    text = rendered_text(make_result(verdict="fails", title="Größe … × 2"), encoding="ascii")
    assert "x fails" in text
    assert "Gr??e ... x 2" in text
    assert "98 x http_502" in text


def test_several_runs_are_summed_up_a_line_each() -> None:
    raw = io.StringIO()
    verdicts = [make_result(verdict=verdict) for verdict in ("fails", "not measured")]
    results = [make_result(), verdicts[0], make_result(valid=False), verdicts[1]]
    summary(results, Console(file=raw, width=80))
    rows = [line for line in raw.getvalue().splitlines() if "downed-service" in line]
    counts = [["1", "0", "0"], ["0", "1", "0"], ["-", "-", "-"], ["0", "0", "1"]]
    assert [row.split()[1:4] for row in rows] == counts
    outcomes = ("all expectations hold", "an expectation fails", "INVALID", "what was measured")
    for row, outcome in zip(rows, outcomes, strict=True):
        assert outcome in row


def test_figures_have_few_digits_and_shares_round_down() -> None:
    shares = {
        1.0: "100 %",
        0.9996: "99.9 %",
        0.983: "98.3 %",
        7 / 52: "13.5 %",
        0.29: "29.0 %",
        0.0001: "<0.1 %",
    }
    shares |= {0.0: "0 %"}
    assert {share: formatting.success(share) for share in shares} == shares
    times = {0.34: "0.3", 9.96: "10", 312.4: "312", 120_000.0: "120s"}
    assert {value: formatting.ms(value) for value in times} == times
    assert (formatting.success(None), formatting.ms(None)) == ("-", "-")


def test_plain_text_keeps_what_is_seen_and_nothing_else() -> None:
    assert plain(HOSTILE) == "[/red][bold]gnp.exe title [link=http://x]"
    assert plain("Größe: 漢字 ✓ 50 %") == "Größe: 漢字 ✓ 50 %"
    assert plain("a\x1b]8;;http://x\x1b\\b") == "ab"
    assert plain("x" * 2_000, limit=10) == "x" * 9 + "…"
    assert styled("[red]a[/red]").plain == "[red]a[/red]"


@pytest.mark.parametrize(
    ("valid", "verdicts", "code"),
    [
        (True, ["holds"], 0),
        (True, [], 0),
        (True, ["holds", "fails"], 1),
        (True, ["not measured"], 1),
        (False, ["fails"], 3),
        (False, ["holds"], 3),
    ],
)
def test_the_exit_code_follows_the_verdicts_and_invalid_wins(
    valid: bool, verdicts: list[ExpectationVerdict], code: int
) -> None:
    expectations = [Expectation(says="It is so.", verdict=verdict) for verdict in verdicts]
    assert make_result(valid=valid, expectations=expectations).exit_code == code


def test_a_result_is_kept_private_and_loads_again(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    result = make_result()
    result.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert RunResult.load_file(path) == result
    assert '"schema": "lab.result/1"' in path.read_text()
    result.save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]


def test_a_newer_document_keeps_its_unknown_keys(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(make_result().to_json().replace('"seed": 7', '"seed": 7, "weather": "rain"'))
    assert '"weather": "rain"' in RunResult.load_file(path).to_json()


def test_what_is_no_result_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    for content in ("", "{", "[]", '{"schema": "other/1"}', "{}"):
        path.write_text(content)
        with pytest.raises(ResultError, match=r"not a lab.result/1 document"):
            RunResult.load_file(path)
    with pytest.raises(ResultError, match="can't be read"):
        RunResult.load_file(tmp_path / "absent.json")


def test_an_unmeasured_figure_is_null_in_the_document() -> None:
    result = make_result()
    result.expectations[0].measured = math.inf
    assert '"measured": null' in result.to_json()
