"""The large tables of a run: answers, writes, differences, the data, and the timeline.

Most have a row for each endpoint and phase, and a group of columns for each variant. Latencies are
in milliseconds, of the requests that succeeded.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Literal

from lab.experiment.differences import MIN_FEW_ANSWERS
from lab.report import formatting
from lab.report.blocks import Block, Cell, Column, Line, Style, Table
from lab.results.paths import lookup
from lab.results.result import (
    ENDPOINTS,
    EXTERNAL,
    FOLLOW_UPS,
    SUCCESS_THRESHOLD,
    CheckerCounts,
    Difference,
    EndpointResult,
    LatencySummary,
    NoiseFloor,
    RunResult,
    VariantResult,
    VisibilityLatency,
)

_LABELS = (Column("request"), Column("phase", limit=20))

# ── Answers, writes and blast radius

_MIN_ANSWERS_FOR_P99 = 2_000
"""Good answers. Twenty of them are then slower than the p99; with fewer, the p99 is chance."""


def answers(result: RunResult) -> Iterator[Table]:
    """For each endpoint, phase and variant: requests, success, p50, p95 and max of good answers.

    If every cell has enough answers for a p99, the p99 replaces the p95.
    """
    tail = _tail_percentile(result)

    def figures(endpoint: EndpointResult | None) -> Iterator[Cell]:
        latency = endpoint.latency_ms if endpoint else LatencySummary()
        yield Cell(formatting.count(endpoint.sent if endpoint else None))
        yield _share_cell(endpoint)
        yield Cell(formatting.short_ms(latency.p50))
        yield Cell(formatting.short_ms(latency.p99 if tail == "p99" else latency.p95))
        yield Cell(formatting.short_ms(latency.max))

    title = f"Answers (n requested; p50, {tail} and max in ms, of those that succeeded)"
    headings = [(name,) for name in ("n", "good", "p50", tail, "max")]
    yield from _by_phase(title, result, endpoint_names(result), headings, figures)


def _tail_percentile(result: RunResult) -> Literal["p95", "p99"]:
    """The percentile that represents the tail: p99 if every cell has enough answers for it."""
    cells = [
        endpoint
        for variant in result.variants
        for phase in phase_names(result)
        for name in endpoint_names(result)
        if (endpoint := find_endpoint(variant, phase, name))
    ]
    return "p99" if all(cell.ok >= _MIN_ANSWERS_FOR_P99 for cell in cells) else "p95"


def writes(result: RunResult) -> Iterator[Table]:
    """The two latencies of each write: until its answer, and until the feed shows it."""
    headings: list[tuple[str, ...]] = [("answered",), ("visible",)]
    if "during" in phase_names(result):
        title = "Writes: answered and visible, ms (visible p50: of all that were sent)"
        headings = [(moment, name) for moment in ("answered", "visible") for name in ("p50", "max")]
        endpoints = _write_endpoints(result)
    else:
        title = "Answered and visible, ms (p50)"
        endpoints = endpoint_names(result)

    def figures(endpoint: EndpointResult | None) -> Iterator[Cell]:
        answered = endpoint.latency_ms if endpoint else LatencySummary()
        visible = (endpoint.visible_ms if endpoint else None) or VisibilityLatency()
        for latency in (answered, visible):
            p50 = latency.p50
            if latency is visible and endpoint and endpoint.sent and endpoint.visible_of_all_ms:
                p50 = endpoint.visible_of_all_ms.p50
                p50 = math.inf if p50 is None else p50
            yield Cell(formatting.ms(p50))
            if len(headings) > 2:
                yield Cell(formatting.ms(latency.max))

    yield from _by_phase(title, result, endpoints, headings, figures)


def _by_phase(
    title: str,
    result: RunResult,
    endpoints: Sequence[str],
    headings: Sequence[tuple[str, ...]],
    figures: Callable[[EndpointResult | None], Iterator[Cell]],
) -> Iterator[Table]:
    """A row for each endpoint and phase. `figures`: the cells of one variant, one a heading."""
    phases = phase_names(result)
    sections = []
    for name in endpoints:
        rows = []
        for phase in phases:
            row = [Cell(name if phase == phases[0] else ""), Cell(phase)]
            for variant in result.variants:
                row += figures(find_endpoint(variant, phase, name))
            rows.append(row)
        sections.append(rows)
    if phases and endpoints:
        columns = [*_LABELS, *_variant_columns(result.variants, headings)]
        yield Table(title, columns, sections, labels=2)


def _variant_columns(
    variants: Sequence[VariantResult], headings: Sequence[tuple[str, ...]]
) -> Iterator[Column]:
    for variant in variants:
        for heading in headings:
            yield Column(heading[-1], right=True, over=(variant.name, *heading[:-1]))


def blast_radius(result: RunResult) -> Iterator[Block]:
    """The success rate of each endpoint while each fault acted, a row for each phase."""
    not_applicable: dict[str, str] = {}
    rows = []
    for phase in phase_names(result):
        in_any_variant = any(_has_fault_phase(variant, phase) for variant in result.variants)
        row = [Cell(phase)]
        for variant in result.variants:
            applies = _has_fault_phase(variant, phase) or not in_any_variant
            if not applies:
                not_applicable[variant.name] = phase
            for name in ENDPOINTS:
                row.append(_share_cell(find_endpoint(variant, phase, name) if applies else None))
        rows.append(row)
    headings = [("feed",), ("post",), ("comment",)]
    columns = [Column("phase", limit=20), *_variant_columns(result.variants, headings)]
    yield Table("Success while this was done", columns, [rows])
    for variant_name, phase in not_applicable.items():
        yield Line(f"- {variant_name}: {phase} doesn't apply; it has no such part.", "soft", 0)


def _has_fault_phase(variant: VariantResult, phase: str) -> bool:
    return any(f"{fault.target} {fault.kind}" == phase for fault in variant.faults)


def _share_cell(endpoint: EndpointResult | None) -> Cell:
    share = endpoint.success if endpoint else None
    if share is None:
        return Cell(formatting.NONE, "soft")
    return Cell(formatting.success(share), "" if share >= SUCCESS_THRESHOLD else "bad")


def endpoint_names(result: RunResult) -> tuple[str, ...]:
    """The endpoints of the result, in order; the usual three if it has none."""
    sent = {
        name
        for variant in result.variants
        for phase in variant.phases.values()
        for name in phase.endpoints
    }
    return tuple(name for name in (*ENDPOINTS, *FOLLOW_UPS) if name in sent) or ENDPOINTS


def _write_endpoints(result: RunResult) -> tuple[str, ...]:
    reads = ("read_feed", "look_at_once")
    return tuple(name for name in endpoint_names(result) if name not in reads)


def phase_names(result: RunResult) -> list[str]:
    """The phases of the first variant, in order."""
    return list(result.variants[0].phases) if result.variants else []


def find_endpoint(variant: VariantResult, phase: str, name: str) -> EndpointResult | None:
    """The figures of an endpoint in a phase; None if it was not used there."""
    figures = variant.phases.get(phase)
    return figures.endpoints.get(name) if figures else None


# ── Differences between variants

_VERDICT_STYLES: dict[str, Style] = {"slower": "bad", "faster": "good"}


def differences(result: RunResult) -> Iterator[Block]:
    """The ratios of each variant's p50 to the first one's with their intervals; the noise floor."""
    if result.noise_floor is None or len(result.variants) < 2:
        return
    found = [difference for difference in result.differences if difference.figure == "latency"]
    if found:
        yield _difference_table(result, found)
        note = (
            "The true ratio lies from … to …, at 95 % for all lines together. "
            "-: no difference shown."
        )
    else:
        note = (
            f"Nothing can be compared with {result.variants[0].name}: that takes {MIN_FEW_ANSWERS} "
            "good answers of both in a phase."
        )
    yield Line(f"{note} {_noise_sentence(result.noise_floor)}", "soft")
    for one in result.differences:
        if one.reason:
            what = f"{one.endpoint}, {one.phase}" + (", visible" if one.figure == "visible" else "")
            yield Line(f"- {one.variant} against {one.against}, {what}: {one.reason}", "soft")


def _difference_table(result: RunResult, found: Sequence[Difference]) -> Table:
    against = found[0].against
    by_cell = {
        (difference.endpoint, difference.phase, difference.variant): difference
        for difference in found
    }
    compared = [variant for variant in result.variants if variant.name != against]
    cells = [
        (name, phase)
        for name in (*ENDPOINTS, *FOLLOW_UPS)
        for phase in phase_names(result)
        if any((name, phase, variant.name) in by_cell for variant in compared)
    ]
    sections = []
    for name, group in groupby(cells, lambda cell: cell[0]):
        rows = []
        for number, (_, phase) in enumerate(group):
            row = [Cell(name if number == 0 else ""), Cell(phase)]
            for variant in compared:
                row += _difference_cells(by_cell.get((name, phase, variant.name)))
            rows.append(row)
        sections.append(rows)
    headings = [("ratio",), ("from",), ("to",), ("",)]
    columns = [*_LABELS, *_variant_columns(compared, headings)]
    return Table(f"Answers, p50: times as long as {against}'s", columns, sections, labels=2)


def _difference_cells(difference: Difference | None) -> list[Cell]:
    if difference is None:
        return [Cell(formatting.NONE), Cell(""), Cell(""), Cell("")]
    word = difference.verdict if difference.verdict in _VERDICT_STYLES else formatting.NONE
    ratios = (difference.ratio, difference.low, difference.high)
    return [
        *(Cell(_format_ratio(ratio)) for ratio in ratios),
        Cell(word, _VERDICT_STYLES.get(word, "")),
    ]


def _format_ratio(ratio: float) -> str:
    """A ratio in at most five columns: 0.004, 0.11, 1.03, 24.5, 310, `<.001`, `>9999`."""
    if not 0.0005 <= ratio < 9_999.5:
        return "<.001" if ratio < 1 else ">9999"
    digits = 3 if ratio < 0.0995 else 2 if ratio < 9.995 else 1 if ratio < 99.95 else 0
    return f"{ratio:.{digits}f}"


_MANY_RUNS = 10


def _noise_sentence(floor: NoiseFloor) -> str:
    """A sentence: the noise floor of this machine, below which no difference is reported."""
    percent = f"{max(1, round(100 * floor.share))} %"
    if not floor.runs or floor.newest is None:
        return f"The noise floor was not measured here yet (±{percent} is assumed): lab run calm"
    runs = "1 run" if floor.runs == 1 else f"{floor.runs} runs"
    few = "; more runs may lower it" if floor.runs < _MANY_RUNS else ""
    newest = f"newest {floor.newest[:10]}{few}"
    return f"Noise floor of this machine: ±{percent} ({runs} of calm, {newest})."


# ── The data in the end

_DATA_ROWS: tuple[tuple[str, Callable[[CheckerCounts], int | None], bool], ...] = (
    ("acknowledged", lambda counts: counts.acknowledged, False),
    ("visible in the end", lambda counts: counts.visible, False),
    ("lost", lambda counts: counts.lost, True),
    ("duplicated", lambda counts: counts.duplicated, True),
    ("never settled", lambda counts: None if counts.unfinished else counts.unsettled, True),
    ("  not even with its owner", lambda counts: counts.undecided, True),
    ("two services disagree", lambda counts: counts.diverged, True),
    ("out of order", lambda counts: counts.out_of_order, True),
    ("gone, and back again", lambda counts: counts.resurrected, True),
    ("refused but kept", lambda counts: counts.refused_kept, True),
    ("fate unknown to sender", lambda counts: counts.unknown, False),
    ("  of these kept", lambda counts: counts.unknown_kept, False),
    ("judged, and not there", lambda counts: counts.orphaned, True),
)
"""The rows about data: label, figure, and whether the figure should be 0."""

_CONTENT_ROWS: tuple[tuple[str, Callable[[CheckerCounts], int | None], bool], ...] = (
    ("not settled in time", lambda counts: counts.unfinished, True),
    ("with another text", lambda counts: counts.altered, True),
    ("under another post", lambda counts: counts.misplaced, True),
    ("with the wrong verdict", lambda counts: counts.misjudged, True),
    ("written by no one", lambda counts: counts.phantoms, True),
    ("shown wrongly meanwhile", lambda counts: counts.misshown, True),
    ("verdict came and went", lambda counts: counts.flickered, True),
    ("gone for one reader", lambda counts: counts.unmonotonic, True),
)
"""More such rows; a row that is 0 for every variant is left out."""


def data(result: RunResult) -> Table:
    """What the checker found of the acknowledged writes, a column for each variant."""
    rows = []
    found = [variant.data for variant in result.variants if variant.data is not None]
    content_rows = [row for row in _CONTENT_ROWS if any(row[1](counts) for counts in found)]
    for label, figure, should_be_zero in (*_DATA_ROWS, *content_rows):
        row = [Cell(label.strip(), indent=len(label) - len(label.lstrip()))]
        for variant in result.variants:
            number = None if variant.data is None else figure(variant.data)
            style: Style = "bad" if should_be_zero and number else ""
            row.append(Cell(formatting.count(number), style))
        rows.append(row)
    if any(variant.arrangement == EXTERNAL for variant in result.variants):
        stale = (Cell(formatting.count(_stale_feeds(variant))) for variant in result.variants)
        rows.append([Cell("feeds that were stale"), *stale])
    kinds = [name for name in endpoint_names(result) if _was_recovery_measured(result, name)]
    for label, path in (
        ("recovered after", "recovery_seconds"),
        *((f"  {name}", f"recovery.{name}") for name in kinds),
    ):
        recovered = (lookup(f"{variant.name}.{path}", result) for variant in result.variants)
        indent = len(label) - len(label.lstrip())
        cells = (Cell(formatting.seconds(seconds)) for seconds in recovered)
        rows.append([Cell(label.strip(), indent=indent), *cells])
    names = (Column(variant.name, right=True, limit=24) for variant in result.variants)
    return Table("What became of the writes", [Column(), *names], [rows])


def _was_recovery_measured(result: RunResult, endpoint: str) -> bool:
    return any(endpoint in (variant.recovery or {}) for variant in result.variants)


def _stale_feeds(variant: VariantResult) -> int | None:
    """The feeds that lacked an acknowledged write, over all phases; None if not measured."""
    feeds = [phase.endpoints.get("read_feed") for phase in variant.phases.values()]
    counts = [feed.stale for feed in feeds if feed is not None and feed.stale is not None]
    return sum(counts) if counts else None


# ── Timeline


def timeline(result: RunResult) -> Iterator[Table]:
    """Each phase with its start, end and fault windows, in seconds from the first phase on."""
    phases = result.timeline.stages
    if not phases:
        return
    origin_s = phases[0].from_s
    rows = []
    for phase in phases:
        windows = [
            f"{formatting.fault_window(window)} from {window.from_s - origin_s:.1f} s "
            f"to {window.until_s - origin_s:.1f} s"
            for window in result.timeline.windows
            if phase.from_s <= window.from_s < phase.until_s
        ]
        begin_s, end_s = phase.from_s - origin_s, phase.until_s - origin_s
        cells = (phase.name, f"{begin_s:.1f}", f"{end_s:.1f}", "; ".join(windows))
        rows.append([Cell(text) for text in cells])
    columns = [
        Column("phase"),
        Column("from, s", right=True),
        Column("until, s", right=True),
        Column("what was done"),
    ]
    yield Table("What was done, and when", columns, [rows])
