"""What differs at all: each variant's answers as multiples of the first one's, and how surely."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from lab.report import cells, groups
from lab.report.cells import Look
from lab.scenarios.certainty import Difference, NoiseFloor
from lab.scenarios.differences import AT_LEAST
from lab.scenarios.result import AT_ONCE, ENDPOINTS, Result

_HEADING = f"{'ratio':>5}{'from':>6}{'to':>6}  {'':6}"
_STYLE = {"slower": "bold red", "faster": "green"}


def differences(result: Result, look: Look) -> Iterator[RenderableType]:
    """A row for each kind of request and phase that can be compared, and the noise floor below."""
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
    """A sentence: below what nothing is called a difference on this machine."""
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
    """How many runs it was, and which of them don't count."""
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
        name
        for name in groups.phase_names(result)
        if any(one.phase == name for one in result.differences)
    ]
    labels = max(map(len, endpoints)) + 3 + max(5, *(len(look.plain(one, 20)) for one in phases))
    compared = [one for one in result.variants if one.name != against]
    for variants in groups.fitting(compared, look, labels, _HEADING):
        title = f"Answers, p50: times as long as {look.plain(against, 24)}'s"
        table = groups.new_table(title, ["request", "phase"])
        for variant in variants:
            table.add_column(groups.group_heading(variant, _HEADING, look), overflow="fold")
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
        return Text(f"{cells.NONE:>5}")
    word = of.verdict if of.verdict in _STYLE else cells.NONE
    figures = f"{_times(of.ratio):>5}{_times(of.low):>6}{_times(of.high):>6}  "
    return Text(figures).append(word, _STYLE.get(word, ""))


def _times(ratio: float) -> str:
    """In five columns, with two digits that count or more, where there are so many: 0.004, 0.11,
    1.03, 24.5, 310."""
    if not 0.0005 <= ratio < 9_999.5:
        return "<.001" if ratio < 1 else ">9999"
    digits = 3 if ratio < 0.0995 else 2 if ratio < 9.995 else 1 if ratio < 99.95 else 0
    return f"{ratio:.{digits}f}"
