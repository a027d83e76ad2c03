"""The wide tables of a run as HTML."""

from collections.abc import Callable, Sequence
from itertools import groupby

from lab.report import formatting
from lab.report.charts.data import describe_window
from lab.report.charts.svg import element, escape_text
from lab.report.html.markup import Cell, row, table
from lab.report.terminal.run import format_figure
from lab.report.terminal.sections import processor_usage
from lab.report.terminal.wide_tables import (
    endpoint_names,
    find_endpoint,
    phase_names,
    tail_percentile,
    write_endpoints,
)
from lab.results.claims import CLAIMS
from lab.results.paths import format_value
from lab.results.result import (
    EndpointResult,
    Expectation,
    LatencySummary,
    RunResult,
    VariantResult,
    VisibilityLatency,
)

_MAX_VARIANTS = 3
_SIGNS = {"holds": "✓", "fails": "✗", "not measured": "?"}


def timeline(result: RunResult) -> str:
    """Each phase with its start, end and fault windows; "" for a result without a timeline."""
    stages = result.timeline.stages
    if not stages:
        return ""
    origin_s = stages[0].from_s
    body = []
    for stage in stages:
        windows = [
            f"{describe_window(one)} from {one.from_s - origin_s:.1f} s to {one.until_s - origin_s:.1f} s"
            for one in result.timeline.windows
            if stage.from_s <= one.from_s < stage.until_s
        ]
        span = (stage.from_s - origin_s, stage.until_s - origin_s)
        cells = [Cell(f"{at:.1f}", "n") for at in span]
        body.append(row([Cell(stage.name, scope="row"), *cells, Cell("; ".join(windows))]))
    heads = [("phase", ""), ("from, s", "n"), ("until, s", "n"), ("what was done", "")]
    return table("What was done, and when", [row(_heading_cells(heads))], body)


def answers(result: RunResult) -> str:
    """For each endpoint, phase and variant: requests, success, latencies of good answers (ms)."""
    tail = tail_percentile(result)

    def endpoint_cells(endpoint: EndpointResult | None) -> list[Cell]:
        latency = endpoint.latency_ms if endpoint else LatencySummary()
        share = endpoint.success if endpoint else None
        bad = " bad" if share is not None and share < formatting.SUCCESS_THRESHOLD else ""
        times = (latency.p50, latency.p99 if tail == "p99" else latency.p95, latency.max)
        return [
            Cell(formatting.count(endpoint.sent if endpoint else None), "n first"),
            Cell(formatting.success(share), f"n{bad}"),
            *(Cell(formatting.ms(time), "n") for time in times),
        ]

    title = "Answers: how many were asked for, how many of them were good, and ms of the good ones"
    heads = ("n", "good", "p50", tail, "max")
    return _by_phase(title, result, endpoint_names(result), heads, endpoint_cells)


def writes(result: RunResult) -> str:
    """The two latencies of each write in ms: until its answer, and until the feed shows it."""

    def endpoint_cells(endpoint: EndpointResult | None) -> list[Cell]:
        answered = endpoint.latency_ms if endpoint else LatencySummary()
        visible = (endpoint.visible_ms if endpoint else None) or VisibilityLatency()
        times = (answered.p50, answered.max, visible.p50, visible.max)
        cells = [Cell(formatting.ms(time), "n") for time in times]
        return [Cell(cells[0].text, "n first"), *cells[1:]]

    heads = ("answered p50", "max", "visible p50", "max")
    title = "Writes: answered and visible, ms"
    return _by_phase(title, result, write_endpoints(result), heads, endpoint_cells)


def _by_phase(
    title: str,
    result: RunResult,
    endpoints: Sequence[str],
    headings: Sequence[str],
    endpoint_cells: Callable[[EndpointResult | None], list[Cell]],
) -> str:
    """Tables of up to three variants each: three fit on a printed page."""
    if not endpoints or not phase_names(result):
        return ""
    return "".join(
        _variant_columns(
            title,
            result,
            result.variants[at : at + _MAX_VARIANTS],
            endpoints,
            headings,
            endpoint_cells,
        )
        for at in range(0, len(result.variants), _MAX_VARIANTS)
    )


def _variant_columns(
    title: str,
    result: RunResult,
    variants: Sequence[VariantResult],
    endpoints: Sequence[str],
    headings: Sequence[str],
    endpoint_cells: Callable[[EndpointResult | None], list[Cell]],
) -> str:
    phases = phase_names(result)
    names = [Cell(one.name, "first", colspan=len(headings), scope="colgroup") for one in variants]
    subheadings = [
        Cell(text, "n" if number else "n first", scope="col")
        for _ in variants
        for number, text in enumerate(headings)
    ]
    labels = [Cell("request", rowspan=2, scope="col"), Cell("phase", rowspan=2, scope="col")]
    body = []
    for endpoint in endpoints:
        for number, phase in enumerate(phases):
            endpoint_results = [find_endpoint(one, phase, endpoint) for one in variants]
            line = [Cell(endpoint, rowspan=len(phases), scope="rowgroup")] if number == 0 else []
            line += [
                Cell(phase, scope="row"),
                *(cell for of in endpoint_results for cell in endpoint_cells(of)),
            ]
            body.append(row(line, "end" if number == len(phases) - 1 else ""))
    return table(title, [row([*labels, *names]), row(subheadings)], body)


def differences(result: RunResult) -> str:
    """The p50 of each variant as a multiple of the first variant's; "" without differences."""
    if not result.differences:
        return ""
    body = []
    for one in result.differences:
        shown = one.verdict if one.verdict in ("slower", "faster") else formatting.NONE
        figures = [Cell(f"{of:.3g}", "n") for of in (one.ratio, one.low, one.high)]
        labels = [Cell(one.variant, scope="row"), Cell(one.endpoint), Cell(one.phase)]
        body.append(row([*labels, *figures, Cell(shown, "bad" if shown == "slower" else "")]))
    heads = [("variant", ""), ("request", ""), ("phase", "")]
    heads += [("ratio", "n"), ("from", "n"), ("to", "n"), ("", "")]
    against = result.differences[0].against
    return table(f"Answers, p50: times as long as {against}'s", [row(_heading_cells(heads))], body)


def verdicts(result: RunResult) -> str:
    """The claims with their expectations and figures, in the order of the file."""
    blocks: list[str] = []
    shown_claims: set[str] = set()
    for claim, group in groupby(result.expectations, lambda one: one.claim):
        if claim is None:
            head = escape_text("Besides")
        else:
            claim_text = CLAIMS[claim].says if claim in CLAIMS and claim not in shown_claims else ""
            head = f"{element('strong', {}, escape_text(claim, 30))} {escape_text(claim_text)}"
            shown_claims.add(claim)
        blocks += [element("dt", {}, head), *(element("dd", {}, _verdict(one)) for one in group)]
    return element("dl", {"class": "claims"}, *blocks) if blocks else ""


def _verdict(expectation: Expectation) -> str:
    kind = {"class": "bad" if expectation.verdict == "fails" else "strong"}
    figures = ", ".join(
        f"{path} {format_figure(path, value)}" for path, value in expectation.values.items()
    )
    measured = figures or format_value(expectation.measured, formatting.NONE)
    expected = expectation.that or expectation.expected or ""
    return "".join(
        [
            element(
                "span", kind, escape_text(f"{_SIGNS[expectation.verdict]} {expectation.verdict}:")
            ),
            f" {escape_text(expectation.says, 400)}",
            element(
                "div",
                {"class": "figures"},
                escape_text(f"wanted {expected}; measured {measured}", 1_000),
            ),
        ]
    )


def conditions(result: RunResult) -> str:
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
        rows.append(("processors", processor_usage(load.machine_share)))
    for variant in result.variants:
        options = formatting.evidence(variant.options) or "no switches"
        rows.append((f"variant {variant.name}", f"{variant.arrangement}; {options}"))
    body = [row([Cell(name, scope="row"), Cell(value)]) for name, value in rows]
    return table("Machine, seed and variants", [], body)


def _heading_cells(headings: Sequence[tuple[str, str]]) -> list[Cell]:
    return [Cell(text, kind, scope="col") for text, kind in headings]
