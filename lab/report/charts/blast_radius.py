"""Chart of the blast radius: a row for each phase, a column for each variant and endpoint.

The hatched part of a cell is the share of failed requests; the figure is the share of good ones.
"""

from collections.abc import Sequence

from lab.report import formatting
from lab.report.charts.colours import hands
from lab.report.charts.data import endpoints
from lab.report.charts.svg import Chart, box, element, label, number, signs
from lab.results.result import Endpoint, Result, Variant

_LEFT = 150.0
_CELL_TALL = 26.0
_WORDS = {"read_feed": "feed", "create_post": "post", "create_comment": "comment"}


def blast_radius(result: Result) -> Chart | None:
    """A row for each phase, a block for each variant; None unless several faults came in turn."""
    phases = list(result.variants[0].phases) if result.variants else []
    columns = [name for name in endpoints(result) if name in _WORDS]
    if "during" in phases or len(phases) < 3 or not columns:
        return None
    cell = min(
        74.0, (744.0 - _LEFT - 14 * len(result.variants)) / (len(columns) * len(result.variants))
    )
    done = {of for variant in result.variants for of in _broken(variant)}
    parts, y = [], 64.0
    for number_, (variant, hand) in enumerate(
        zip(result.variants, hands(result.variants), strict=True)
    ):
        x = _LEFT + number_ * (cell * len(columns) + 14)
        parts.append(signs([(x + 5, 22)], hand.shape, hand.kind("dot")))
        parts.append(label(x + 14, 26, variant.name, "strong", limit=24))
        for at, name in enumerate(columns):
            parts.append(label(x + cell * (at + 0.5), 50, _WORDS[name], "soft small", "middle"))
        for row, phase in enumerate(phases):
            applies = phase not in done or phase in _broken(variant)
            figures = variant.phases.get(phase)
            for at, name in enumerate(columns):
                of = figures.endpoints.get(name) if figures and applies else None
                parts.append(_cell(x + cell * at, y + _CELL_TALL * row, cell, of))
    parts += [
        label(_LEFT - 10, y + _CELL_TALL * row + 17, phase, "", "end", limit=22)
        for row, phase in enumerate(phases)
    ]
    y += _CELL_TALL * len(phases) + 20
    parts.append(
        label(
            _LEFT,
            y,
            "Share of good answers; the hatched part failed. A dash: it has no such part.",
            "soft small",
            limit=120,
        )
    )
    return Chart(
        "blast-radius", "Blast radius", _says(result, phases, columns), y + 12, "".join(parts)
    )


def _cell(x: float, y: float, width: float, of: Endpoint | None) -> str:
    inner, tall = width - 3, _CELL_TALL - 3
    share = of.success if of else None
    parts = [box(x, y, inner, tall, "edge")]
    if share is not None and share < 1:
        parts.append(box(x, y, inner * (1 - share), tall, "lost"))
    text = formatting.success(share)
    wide = 6.8 * len(text) + 8
    parts.append(box(x + (inner - wide) / 2, y + 4, wide, tall - 8, "ground"))
    kind = "small strong" if share is not None and share < formatting.WELL else "small"
    parts.append(label(x + inner / 2, y + 16, text, kind, "middle"))
    return element("g", {"opacity": number(1 if share is not None else 0.7)}, *parts)


def _broken(variant: Variant) -> set[str]:
    return {f"{fault.target} {fault.kind}" for fault in variant.faults}


def _says(result: Result, phases: Sequence[str], columns: Sequence[str]) -> str:
    told = []
    for variant in result.variants:
        for phase in phases:
            figures = variant.phases.get(phase)
            hurt = [
                f"{_WORDS[name]} {formatting.success(of.success)}"
                for name in columns
                if figures and (of := figures.endpoints.get(name)) and of.failed
            ]
            if hurt:
                told.append(f"{variant.name}, {phase}: {', '.join(hurt)}.")
    return " ".join(["Share of good answers, where some were bad.", *told])
