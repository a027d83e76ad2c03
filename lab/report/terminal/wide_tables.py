"""The wide tables: a row for each endpoint and phase, a group of columns for each variant.

A group is one column of the table with several figures in each cell, so the variants fit side by
side in 80 columns; further tables follow for the variants that do not fit. The last table compares
each variant with the first one: ratios of the p50, with confidence intervals.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from rich import box
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lab.experiment.differences import MIN_ANSWERS
from lab.report import formatting
from lab.report.formatting import TextFormat
from lab.results.result import (
    ENDPOINTS,
    FOLLOW_UPS,
    Difference,
    EndpointResult,
    LatencySummary,
    NoiseFloor,
    RunResult,
    VariantResult,
    VisibilityLatency,
)

# ── Answers, writes and blast radius

_ANSWERS = "Answers (n asked for; p50, {tail} and max in ms, of those that succeeded)"
_MIN_ANSWERS_FOR_P99 = 2_000
"""Good answers. Twenty of them are then slower than the p99; with fewer, the p99 is chance."""
_COLUMN_GAP = 3  # between two columns: a space, the divider, a space


def answers(result: RunResult, fmt: TextFormat) -> Iterator[RenderableType]:
    """For each endpoint, phase and variant: requests, success, p50, p95 and max of good answers.

    Latencies are in ms. If every cell has enough answers for a p99, the p99 replaces the p95.
    """
    endpoint_results = _endpoint_results(result)
    tail = tail_percentile(result)
    count_width = (
        max(3, *(len(str(one.sent)) for one in endpoint_results)) if endpoint_results else 3
    )

    def format_cell(endpoint: EndpointResult | None) -> Text:
        latency = endpoint.latency_ms if endpoint else LatencySummary()
        share = endpoint.success if endpoint else None
        sent = formatting.count(endpoint.sent if endpoint else None)
        cell = Text(f"{sent:>{count_width}}").append(
            f"{formatting.success(share):>7}", formatting.share_style(share)
        )
        times = (latency.p50, latency.p99 if tail == "p99" else latency.p95, latency.max)
        return cell.append(Text("".join(f" {formatting.short_ms(time):>4}" for time in times), ""))

    heading = f"{'n':>{count_width}}{'good':>7}{'p50':>5}{tail:>5}{'max':>5}"
    yield from _by_phase(
        _ANSWERS.format(tail=tail), result, fmt, endpoint_names(result), heading, format_cell
    )


def tail_percentile(result: RunResult) -> Literal["p95", "p99"]:
    """The percentile that represents the tail: p99 if every cell has enough answers for it."""
    return (
        "p99" if all(one.ok >= _MIN_ANSWERS_FOR_P99 for one in _endpoint_results(result)) else "p95"
    )


def _endpoint_results(result: RunResult) -> list[EndpointResult]:
    return [
        found
        for one in result.variants
        for phase in phase_names(result)
        for name in endpoint_names(result)
        if (found := find_endpoint(one, phase, name))
    ]


def writes(result: RunResult, fmt: TextFormat) -> Iterator[RenderableType]:
    """The two latencies of each write in ms: until its answer, and until the feed shows it."""
    medians_only = "during" not in phase_names(result)

    def format_cell(endpoint: EndpointResult | None) -> Text:
        answered = endpoint.latency_ms if endpoint else LatencySummary()
        visible = (endpoint.visible_ms if endpoint else None) or VisibilityLatency()
        if medians_only:
            return Text(f"{formatting.ms(answered.p50):>8} {formatting.ms(visible.p50):>8}")
        answered_part = f"{formatting.ms(answered.p50):>5} {formatting.ms(answered.max):>5}"
        return Text(
            f"{answered_part}   {formatting.ms(visible.p50):>5} {formatting.ms(visible.max):>5}"
        )

    heading = f"{'answered':>11}   {'visible':>11}\n{'p50':>5} {'max':>5}   {'p50':>5} {'max':>5}"
    title = "Writes: answered and visible, ms"
    if medians_only:
        title, heading = "Answered and visible, ms (p50)", f"{'answered':>8} {'visible':>8}"
    endpoints = endpoint_names(result) if medians_only else write_endpoints(result)
    yield from _by_phase(title, result, fmt, endpoints, heading, format_cell)


def blast_radius(result: RunResult, fmt: TextFormat) -> Iterator[RenderableType]:
    """The blast radius: a row for each phase, success by endpoint, a group for each variant."""
    heading = f"{'feed':>7}{'post':>8}{'comment':>9}"
    not_applicable: dict[str, str] = {}
    for variants in split_by_width(result.variants, fmt, 20, heading):
        table = new_table("Success while this was done", ["phase"])
        for variant in variants:
            table.add_column(group_heading(variant, heading, fmt), overflow="fold")
        for phase in phase_names(result):
            fault_phase = any(_has_fault_phase(variant, phase) for variant in result.variants)
            row: list[Text] = [fmt.text(phase, limit=20)]
            for variant in variants:
                applies = _has_fault_phase(variant, phase) or not fault_phase
                if not applies:
                    not_applicable[variant.name] = phase
                row.append(_share_cell(variant, phase, applies))
            table.add_row(*row)
        yield Padding(table, (1, 0, 0, 0), expand=False)
    for name, phase in not_applicable.items():
        note = (
            f"- {fmt.plain(name, 24)}: {fmt.plain(phase, 20)} doesn't apply; it has no such part."
        )
        yield Text(note, "dim")


def _by_phase(
    title: str,
    result: RunResult,
    fmt: TextFormat,
    endpoints: Sequence[str],
    heading: str,
    format_cell: Callable[[EndpointResult | None], Text],
) -> Iterator[RenderableType]:
    if not endpoints:
        return
    phases = phase_names(result)
    phase_width = max((len(fmt.plain(phase, 20)) for phase in phases), default=0)
    label_width = max(map(len, endpoints)) + _COLUMN_GAP + max(phase_width, len("phase"))
    for variants in split_by_width(result.variants, fmt, label_width, heading):
        table = new_table(title, ["request", "phase"])
        for variant in variants:
            table.add_column(group_heading(variant, heading, fmt), overflow="fold")
        for endpoint in endpoints:
            for number, phase in enumerate(phases):
                figures = (
                    format_cell(find_endpoint(variant, phase, endpoint)) for variant in variants
                )
                name = endpoint if number == 0 else ""
                table.add_row(name, fmt.text(phase, limit=20), *figures)
            table.add_section()
        yield Padding(table, (1, 0, 0, 0), expand=False)


def endpoint_names(result: RunResult) -> tuple[str, ...]:
    """The endpoints of the result, in order; the usual three if it has none."""
    sent = {name for one in result.variants for of in one.phases.values() for name in of.endpoints}
    return tuple(name for name in (*ENDPOINTS, *FOLLOW_UPS) if name in sent) or ENDPOINTS


def write_endpoints(result: RunResult) -> tuple[str, ...]:
    return tuple(
        name for name in endpoint_names(result) if name not in ("read_feed", "look_at_once")
    )


def _share_cell(variant: VariantResult, phase: str, applies: bool) -> Text:
    cell = Text()
    for endpoint, width in zip(ENDPOINTS, (7, 8, 9), strict=True):
        endpoint_result = find_endpoint(variant, phase, endpoint) if applies else None
        share = endpoint_result.success if endpoint_result else None
        cell.append(f"{formatting.success(share):>{width}}", formatting.share_style(share))
    return cell


def _has_fault_phase(variant: VariantResult, phase: str) -> bool:
    return any(f"{fault.target} {fault.kind}" == phase for fault in variant.faults)


def phase_names(result: RunResult) -> list[str]:
    """The phases of the first variant, in order."""
    return list(result.variants[0].phases) if result.variants else []


def find_endpoint(variant: VariantResult, phase: str, name: str) -> EndpointResult | None:
    figures = variant.phases.get(phase)
    return figures.endpoints.get(name) if figures else None


def split_by_width(
    variants: Sequence[VariantResult], fmt: TextFormat, label_width: int, heading: str
) -> Iterator[Sequence[VariantResult]]:
    """The variants, split into tables that fit the width.

    `labels`: width of the label columns; `heading`: of one group.
    """
    group_width = max(map(len, heading.split("\n"))) + _COLUMN_GAP
    max_groups = max(1, (fmt.width - label_width) // group_width)
    for at in range(0, len(variants), max_groups):
        yield variants[at : at + max_groups]


def group_heading(variant: VariantResult, heading: str, fmt: TextFormat) -> Text:
    name = fmt.plain(variant.name, max(map(len, heading.split("\n"))))
    return Text(f"{name}\n{heading}")


def new_table(title: str, labels: Sequence[str]) -> Table:
    table = Table(
        title=Text(title, "bold"),
        title_justify="left",
        title_style="",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        header_style="bold",
    )
    for label in labels:
        table.add_column(label, overflow="fold")
    return table


# ── Differences between variants

_RATIO_HEADING = f"{'ratio':>5}{'from':>6}{'to':>6}  {'':6}"
_VERDICT_STYLES = {"slower": "bold red", "faster": "green"}


def differences(result: RunResult, fmt: TextFormat) -> Iterator[RenderableType]:
    """A row for each endpoint and phase with enough answers, and below it the noise floor."""
    if result.noise_floor is None or len(result.variants) < 2:
        return
    first = result.variants[0].name
    if result.differences:
        yield from _difference_tables(result, fmt)
        note = "The ratio lies between the two, for all lines together at 95 %. -: none shown."
    else:
        note = (
            f"Nothing can be compared with {fmt.plain(first, 24)}: that takes {MIN_ANSWERS} good "
            "answers of both in a phase."
        )
    yield Padding(fmt.text(f"{note} {noise_sentence(result.noise_floor)}", "dim"), (0, 0, 0, 2))


def noise_sentence(floor: NoiseFloor) -> str:
    """A sentence: the noise floor of this machine, below which no difference is reported."""
    if not floor.runs or floor.newest is None:
        return (
            f"The noise floor was not measured here yet (±{_percent(floor)} is assumed): "
            "lab run calm"
        )
    runs = "1 run" if floor.runs == 1 else f"{floor.runs} runs"
    return (
        f"Noise floor of this machine: ±{_percent(floor)} "
        f"({runs} of calm, newest {floor.newest[:10]})."
    )


def _percent(floor: NoiseFloor) -> str:
    return f"{max(1, round(100 * floor.share))} %"


def run_count(result: RunResult, fmt: TextFormat) -> Iterator[RenderableType]:
    """The number of runs, and the invalid ones, which are left out."""
    if result.isolated:
        yield Text("The variants ran one after another, each with the machine to itself.", "dim")
    if result.repeats == 1:
        return
    invalid = [one for one in result.runs if not one.valid]
    seeds = f"seeds {result.runs[0].seed} to {result.runs[-1].seed}"
    counted = result.repeats - len(invalid)
    yield Text(f"{result.repeats} runs, {seeds}; figures of {counted} valid ones together", "dim")
    for one in invalid:
        reason = one.problems[0] if one.problems else ""
        yield fmt.text(f"- {one.folder} is left out: {reason}", "red", limit=300)


def _difference_tables(result: RunResult, fmt: TextFormat) -> Iterator[RenderableType]:
    differences_by_cell = {
        (one.variant, one.phase, one.endpoint): one for one in result.differences
    }
    against = result.differences[0].against
    compared_endpoints = {one.endpoint for one in result.differences}
    endpoints = [name for name in (*ENDPOINTS, *FOLLOW_UPS) if name in compared_endpoints]
    phases = [
        name for name in phase_names(result) if any(one.phase == name for one in result.differences)
    ]
    label_width = (
        max(map(len, endpoints)) + 3 + max(5, *(len(fmt.plain(one, 20)) for one in phases))
    )
    compared = [one for one in result.variants if one.name != against]
    for variants in split_by_width(compared, fmt, label_width, _RATIO_HEADING):
        title = f"Answers, p50: times as long as {fmt.plain(against, 24)}'s"
        table = new_table(title, ["request", "phase"])
        for variant in variants:
            table.add_column(group_heading(variant, _RATIO_HEADING, fmt), overflow="fold")
        for endpoint in endpoints:
            shown_phases = [
                phase
                for phase in phases
                if any((one.name, phase, endpoint) in differences_by_cell for one in variants)
            ]
            for number, phase in enumerate(shown_phases):
                name = endpoint if number == 0 else ""
                lines = (
                    _cell(differences_by_cell.get((one.name, phase, endpoint))) for one in variants
                )
                table.add_row(name, fmt.text(phase, limit=20), *lines)
            table.add_section()
        yield Padding(table, (1, 0, 0, 0), expand=False)


def _cell(difference: Difference | None) -> Text:
    if difference is None:
        return Text(f"{formatting.NONE:>5}")
    word = difference.verdict if difference.verdict in _VERDICT_STYLES else formatting.NONE
    figures = f"{_format_ratio(difference.ratio):>5}{_format_ratio(difference.low):>6}{_format_ratio(difference.high):>6}  "
    return Text(figures).append(word, _VERDICT_STYLES.get(word, ""))


def _format_ratio(ratio: float) -> str:
    """A ratio in at most five columns: 0.004, 0.11, 1.03, 24.5, 310, `<.001`, `>9999`."""
    if not 0.0005 <= ratio < 9_999.5:
        return "<.001" if ratio < 1 else ">9999"
    digits = 3 if ratio < 0.0995 else 2 if ratio < 9.995 else 1 if ratio < 99.95 else 0
    return f"{ratio:.{digits}f}"
