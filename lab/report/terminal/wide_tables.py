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

from lab.experiment.differences import AT_LEAST
from lab.report import formatting
from lab.report.formatting import Look
from lab.results.result import (
    AT_ONCE,
    ENDPOINTS,
    Difference,
    Endpoint,
    Latency,
    NoiseFloor,
    Result,
    Variant,
    Visible,
)

# ── Answers, writes and blast radius

_ANSWERS = "Answers (n asked for; p50, {tail} and max in ms, of those that succeeded)"
_ENOUGH_FOR_P99 = 2_000
"""Good answers. Twenty of them are then slower than the p99; with fewer, the p99 is chance."""
_GAP = 3  # between two columns: a space, the divider, a space


def answers(result: Result, look: Look) -> Iterator[RenderableType]:
    """For each endpoint, phase and variant: requests, success, p50, p95 and max of good answers.

    Latencies are in ms. If every cell has enough answers for a p99, the p99 replaces the p95.
    """
    shown = _shown(result)
    tail = tail_of(result)
    most = max(3, *(len(str(one.sent)) for one in shown)) if shown else 3

    def group(of: Endpoint | None) -> Text:
        latency = of.latency_ms if of else Latency()
        share = of.success if of else None
        sent = formatting.count(of.sent if of else None)
        cell = Text(f"{sent:>{most}}").append(
            f"{formatting.success(share):>7}", formatting.share_style(share)
        )
        times = (latency.p50, latency.p99 if tail == "p99" else latency.p95, latency.max)
        return cell.append(Text("".join(f" {formatting.short_ms(time):>4}" for time in times), ""))

    heading = f"{'n':>{most}}{'good':>7}{'p50':>5}{tail:>5}{'max':>5}"
    yield from _by_phase(
        _ANSWERS.format(tail=tail), result, look, endpoints_of(result), heading, group
    )


def tail_of(result: Result) -> Literal["p95", "p99"]:
    """The percentile that represents the tail: p99 if every cell has enough answers for it."""
    return "p99" if all(one.ok >= _ENOUGH_FOR_P99 for one in _shown(result)) else "p95"


def _shown(result: Result) -> list[Endpoint]:
    return [
        found
        for one in result.variants
        for phase in phase_names(result)
        for name in endpoints_of(result)
        if (found := endpoint_of(one, phase, name))
    ]


def writes(result: Result, look: Look) -> Iterator[RenderableType]:
    """The two latencies of each write in ms: until its answer, and until the feed shows it."""
    in_brief = "during" not in phase_names(result)

    def group(of: Endpoint | None) -> Text:
        answered = of.latency_ms if of else Latency()
        seen = (of.visible_ms if of else None) or Visible()
        if in_brief:
            return Text(f"{formatting.ms(answered.p50):>8} {formatting.ms(seen.p50):>8}")
        first = f"{formatting.ms(answered.p50):>5} {formatting.ms(answered.max):>5}"
        return Text(f"{first}   {formatting.ms(seen.p50):>5} {formatting.ms(seen.max):>5}")

    heading = f"{'answered':>11}   {'visible':>11}\n{'p50':>5} {'max':>5}   {'p50':>5} {'max':>5}"
    title = "Writes: answered and visible, ms"
    if in_brief:
        title, heading = "Answered and visible, ms (p50)", f"{'answered':>8} {'visible':>8}"
    shown = endpoints_of(result) if in_brief else writes_of(result)
    yield from _by_phase(title, result, look, shown, heading, group)


def matrix(result: Result, look: Look) -> Iterator[RenderableType]:
    """The blast radius: a row for each phase, success by endpoint, a group for each variant."""
    heading = f"{'feed':>7}{'post':>8}{'comment':>9}"
    absent: dict[str, str] = {}
    for variants in fitting(result.variants, look, 20, heading):
        table = new_table("Success while this was done", ["phase"])
        for variant in variants:
            table.add_column(group_heading(variant, heading, look), overflow="fold")
        for phase in phase_names(result):
            done_somewhere = any(_was_done(variant, phase) for variant in result.variants)
            row: list[Text] = [look.text(phase, limit=20)]
            for variant in variants:
                applies = _was_done(variant, phase) or not done_somewhere
                if not applies:
                    absent[variant.name] = phase
                row.append(_shares(variant, phase, applies))
            table.add_row(*row)
        yield Padding(table, (1, 0, 0, 0), expand=False)
    for name, phase in absent.items():
        said = (
            f"- {look.plain(name, 24)}: {look.plain(phase, 20)} doesn't apply; it has no such part."
        )
        yield Text(said, "dim")


def _by_phase(
    title: str,
    result: Result,
    look: Look,
    endpoints: Sequence[str],
    heading: str,
    group: Callable[[Endpoint | None], Text],
) -> Iterator[RenderableType]:
    if not endpoints:
        return
    in_order = phase_names(result)
    longest = max((len(look.plain(phase, 20)) for phase in in_order), default=0)
    labels = max(map(len, endpoints)) + _GAP + max(longest, len("phase"))
    for variants in fitting(result.variants, look, labels, heading):
        table = new_table(title, ["request", "phase"])
        for variant in variants:
            table.add_column(group_heading(variant, heading, look), overflow="fold")
        for endpoint in endpoints:
            for number, phase in enumerate(in_order):
                figures = (group(endpoint_of(variant, phase, endpoint)) for variant in variants)
                name = endpoint if number == 0 else ""
                table.add_row(name, look.text(phase, limit=20), *figures)
            table.add_section()
        yield Padding(table, (1, 0, 0, 0), expand=False)


def endpoints_of(result: Result) -> tuple[str, ...]:
    """The endpoints of the result, in order; the usual three if it has none."""
    sent = {name for one in result.variants for of in one.phases.values() for name in of.endpoints}
    return tuple(name for name in (*ENDPOINTS, *AT_ONCE) if name in sent) or ENDPOINTS


def writes_of(result: Result) -> tuple[str, ...]:
    return tuple(name for name in endpoints_of(result) if name not in ("read_feed", "look_at_once"))


def _shares(variant: Variant, phase: str, applies: bool) -> Text:
    cell = Text()
    for endpoint, width in zip(ENDPOINTS, (7, 8, 9), strict=True):
        of = endpoint_of(variant, phase, endpoint) if applies else None
        share = of.success if of else None
        cell.append(f"{formatting.success(share):>{width}}", formatting.share_style(share))
    return cell


def _was_done(variant: Variant, phase: str) -> bool:
    return any(f"{fault.target} {fault.kind}" == phase for fault in variant.faults)


def phase_names(result: Result) -> list[str]:
    """The phases of the first variant, in order."""
    return list(result.variants[0].phases) if result.variants else []


def endpoint_of(variant: Variant, phase: str, name: str) -> Endpoint | None:
    figures = variant.phases.get(phase)
    return figures.endpoints.get(name) if figures else None


def fitting(
    variants: Sequence[Variant], look: Look, labels: int, heading: str
) -> Iterator[Sequence[Variant]]:
    """The variants, split into tables that fit the width.

    `labels`: width of the label columns; `heading`: of one group.
    """
    group = max(map(len, heading.split("\n"))) + _GAP
    most = max(1, (look.width - labels) // group)
    for at in range(0, len(variants), most):
        yield variants[at : at + most]


def group_heading(variant: Variant, heading: str, look: Look) -> Text:
    name = look.plain(variant.name, max(map(len, heading.split("\n"))))
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

_HEADING = f"{'ratio':>5}{'from':>6}{'to':>6}  {'':6}"
_STYLE = {"slower": "bold red", "faster": "green"}


def differences(result: Result, look: Look) -> Iterator[RenderableType]:
    """A row for each endpoint and phase with enough answers, and below it the noise floor."""
    if result.noise_floor is None or len(result.variants) < 2:
        return
    first = result.variants[0].name
    if result.differences:
        yield from _tables(result, look)
        said = "The ratio lies between the two, for all lines together at 95 %. -: none shown."
    else:
        said = (
            f"Nothing can be compared with {look.plain(first, 24)}: that takes {AT_LEAST} good "
            "answers of both in a phase."
        )
    yield Padding(look.text(f"{said} {noise(result.noise_floor)}", "dim"), (0, 0, 0, 2))


def noise(floor: NoiseFloor) -> str:
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


def runs(result: Result, look: Look) -> Iterator[RenderableType]:
    """The number of runs, and the invalid ones, which are left out."""
    if result.isolated:
        yield Text("The variants ran one after another, each with the machine to itself.", "dim")
    if result.repeats == 1:
        return
    out = [one for one in result.runs if not one.valid]
    seeds = f"seeds {result.runs[0].seed} to {result.runs[-1].seed}"
    counted = result.repeats - len(out)
    yield Text(f"{result.repeats} runs, {seeds}; figures of {counted} valid ones together", "dim")
    for one in out:
        why = one.problems[0] if one.problems else ""
        yield look.text(f"- {one.folder} is left out: {why}", "red", limit=300)


def _tables(result: Result, look: Look) -> Iterator[RenderableType]:
    found = {(one.variant, one.phase, one.endpoint): one for one in result.differences}
    against = result.differences[0].against
    compared_in = {one.endpoint for one in result.differences}
    endpoints = [name for name in (*ENDPOINTS, *AT_ONCE) if name in compared_in]
    phases = [
        name for name in phase_names(result) if any(one.phase == name for one in result.differences)
    ]
    labels = max(map(len, endpoints)) + 3 + max(5, *(len(look.plain(one, 20)) for one in phases))
    compared = [one for one in result.variants if one.name != against]
    for variants in fitting(compared, look, labels, _HEADING):
        title = f"Answers, p50: times as long as {look.plain(against, 24)}'s"
        table = new_table(title, ["request", "phase"])
        for variant in variants:
            table.add_column(group_heading(variant, _HEADING, look), overflow="fold")
        for endpoint in endpoints:
            shown = [
                phase
                for phase in phases
                if any((one.name, phase, endpoint) in found for one in variants)
            ]
            for number, phase in enumerate(shown):
                name = endpoint if number == 0 else ""
                lines = (_cell(found.get((one.name, phase, endpoint))) for one in variants)
                table.add_row(name, look.text(phase, limit=20), *lines)
            table.add_section()
        yield Padding(table, (1, 0, 0, 0), expand=False)


def _cell(of: Difference | None) -> Text:
    if of is None:
        return Text(f"{formatting.NONE:>5}")
    word = of.verdict if of.verdict in _STYLE else formatting.NONE
    figures = f"{_times(of.ratio):>5}{_times(of.low):>6}{_times(of.high):>6}  "
    return Text(figures).append(word, _STYLE.get(word, ""))


def _times(ratio: float) -> str:
    """A ratio in at most five columns: 0.004, 0.11, 1.03, 24.5, 310, `<.001`, `>9999`."""
    if not 0.0005 <= ratio < 9_999.5:
        return "<.001" if ratio < 1 else ">9999"
    digits = 3 if ratio < 0.0995 else 2 if ratio < 9.995 else 1 if ratio < 99.95 else 0
    return f"{ratio:.{digits}f}"
