"""The wide tables of a run as HTML."""

from collections.abc import Callable, Sequence
from itertools import groupby

from lab.report import formatting
from lab.report.charts.data import said
from lab.report.charts.svg import element, words
from lab.report.html.markup import Cell, row, table
from lab.report.terminal.run import figure_told
from lab.report.terminal.sections import processors
from lab.report.terminal.wide_tables import (
    endpoint_of,
    endpoints_of,
    phase_names,
    tail_of,
    writes_of,
)
from lab.results.claims import CLAIMS
from lab.results.paths import written
from lab.results.result import Endpoint, Expectation, Latency, Result, Variant, Visible

_SIDE_BY_SIDE = 3
_SIGNS = {"holds": "✓", "fails": "✗", "not measured": "?"}


def timeline(result: Result) -> str:
    """Each phase with its start, end and fault windows; "" for a result without a timeline."""
    stages = result.timeline.stages
    if not stages:
        return ""
    zero_s = stages[0].from_s
    body = []
    for stage in stages:
        done = [
            f"{said(one)} from {one.from_s - zero_s:.1f} s to {one.until_s - zero_s:.1f} s"
            for one in result.timeline.windows
            if stage.from_s <= one.from_s < stage.until_s
        ]
        span = (stage.from_s - zero_s, stage.until_s - zero_s)
        figures = [Cell(f"{at:.1f}", "n") for at in span]
        body.append(row([Cell(stage.name, head="row"), *figures, Cell("; ".join(done))]))
    heads = [("phase", ""), ("from, s", "n"), ("until, s", "n"), ("what was done", "")]
    return table("What was done, and when", [row(_heads(heads))], body)


def answers(result: Result) -> str:
    """For each endpoint, phase and variant: requests, success, latencies of good answers (ms)."""
    tail = tail_of(result)

    def figures(of: Endpoint | None) -> list[Cell]:
        latency = of.latency_ms if of else Latency()
        share = of.success if of else None
        bad = " bad" if share is not None and share < formatting.WELL else ""
        times = (latency.p50, latency.p99 if tail == "p99" else latency.p95, latency.max)
        return [
            Cell(formatting.count(of.sent if of else None), "n first"),
            Cell(formatting.success(share), f"n{bad}"),
            *(Cell(formatting.ms(time), "n") for time in times),
        ]

    title = "Answers: how many were asked for, how many of them were good, and ms of the good ones"
    heads = ("n", "good", "p50", tail, "max")
    return _by_phase(title, result, endpoints_of(result), heads, figures)


def writes(result: Result) -> str:
    """The two latencies of each write in ms: until its answer, and until the feed shows it."""

    def figures(of: Endpoint | None) -> list[Cell]:
        answered = of.latency_ms if of else Latency()
        seen = (of.visible_ms if of else None) or Visible()
        times = (answered.p50, answered.max, seen.p50, seen.max)
        told = [Cell(formatting.ms(time), "n") for time in times]
        return [Cell(told[0].text, "n first"), *told[1:]]

    heads = ("answered p50", "max", "visible p50", "max")
    title = "Writes: answered and visible, ms"
    return _by_phase(title, result, writes_of(result), heads, figures)


def _by_phase(
    title: str,
    result: Result,
    endpoints: Sequence[str],
    heads: Sequence[str],
    figures: Callable[[Endpoint | None], list[Cell]],
) -> str:
    """Tables of up to three variants each: three fit on a printed page."""
    if not endpoints or not phase_names(result):
        return ""
    return "".join(
        _of_some(title, result, result.variants[at : at + _SIDE_BY_SIDE], endpoints, heads, figures)
        for at in range(0, len(result.variants), _SIDE_BY_SIDE)
    )


def _of_some(
    title: str,
    result: Result,
    variants: Sequence[Variant],
    endpoints: Sequence[str],
    heads: Sequence[str],
    figures: Callable[[Endpoint | None], list[Cell]],
) -> str:
    phases = phase_names(result)
    names = [Cell(one.name, "first", across=len(heads), head="colgroup") for one in variants]
    under = [
        Cell(text, "n" if number else "n first", head="col")
        for _ in variants
        for number, text in enumerate(heads)
    ]
    labels = [Cell("request", down=2, head="col"), Cell("phase", down=2, head="col")]
    body = []
    for endpoint in endpoints:
        for number, phase in enumerate(phases):
            found = [endpoint_of(one, phase, endpoint) for one in variants]
            line = [Cell(endpoint, down=len(phases), head="rowgroup")] if number == 0 else []
            line += [Cell(phase, head="row"), *(cell for of in found for cell in figures(of))]
            body.append(row(line, "end" if number == len(phases) - 1 else ""))
    return table(title, [row([*labels, *names]), row(under)], body)


def differences(result: Result) -> str:
    """The p50 of each variant as a multiple of the first variant's; "" without differences."""
    if not result.differences:
        return ""
    body = []
    for one in result.differences:
        shown = one.verdict if one.verdict in ("slower", "faster") else formatting.NONE
        figures = [Cell(f"{of:.3g}", "n") for of in (one.ratio, one.low, one.high)]
        labels = [Cell(one.variant, head="row"), Cell(one.endpoint), Cell(one.phase)]
        body.append(row([*labels, *figures, Cell(shown, "bad" if shown == "slower" else "")]))
    heads = [("variant", ""), ("request", ""), ("phase", "")]
    heads += [("ratio", "n"), ("from", "n"), ("to", "n"), ("", "")]
    against = result.differences[0].against
    return table(f"Answers, p50: times as long as {against}'s", [row(_heads(heads))], body)


def verdicts(result: Result) -> str:
    """The claims with their expectations and figures, in the order of the file."""
    blocks: list[str] = []
    told: set[str] = set()
    for claim, group in groupby(result.expectations, lambda one: one.claim):
        if claim is None:
            head = words("Besides")
        else:
            says = CLAIMS[claim].says if claim in CLAIMS and claim not in told else ""
            head = f"{element('strong', {}, words(claim, 30))} {words(says)}"
            told.add(claim)
        blocks += [element("dt", {}, head), *(element("dd", {}, _verdict(one)) for one in group)]
    return element("dl", {"class": "claims"}, *blocks) if blocks else ""


def _verdict(one: Expectation) -> str:
    kind = {"class": "bad" if one.verdict == "fails" else "strong"}
    figures = ", ".join(f"{path} {figure_told(path, value)}" for path, value in one.values.items())
    seen = figures or written(one.measured, formatting.NONE)
    wanted = one.that or one.expected or ""
    return "".join(
        [
            element("span", kind, words(f"{_SIGNS[one.verdict]} {one.verdict}:")),
            f" {words(one.says, 400)}",
            element("div", {"class": "figures"}, words(f"wanted {wanted}; measured {seen}", 1_000)),
        ]
    )


def machine(result: Result) -> str:
    """The conditions of the measurement: machine, seed, load and variants."""
    load = result.load
    rows = [
        ("scenario", result.scenario),
        ("seed", str(result.seed)),
        ("started", result.started),
        ("length", "quick: half the time, half the samples" if result.quick else "whole"),
        *(
            (name.replace("_", " "), formatting.evidence(of))
            for name, of in result.environment.items()
        ),
        ("load sent late, dropped", f"{load.late}, {load.dropped}"),
        ("load left within", f"{formatting.ms(load.lag_ms.p99)} ms of its moment, for 99 % of it"),
    ]
    if load.machine_share is not None:
        rows.append(("processors", processors(load.machine_share)))
    for variant in result.variants:
        options = formatting.evidence(variant.options) or "no switches"
        rows.append((f"variant {variant.name}", f"{variant.arrangement}; {options}"))
    body = [row([Cell(name, head="row"), Cell(value)]) for name, value in rows]
    return table("Machine, seed and variants", [], body)


def _heads(heads: Sequence[tuple[str, str]]) -> list[Cell]:
    return [Cell(text, kind, head="col") for text, kind in heads]
