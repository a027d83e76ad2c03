"""Chart of the blast radius: a row for each phase, a column for each variant and endpoint.

The hatched part of a cell is the share of failed requests; the figure is the share of good ones.
"""

from collections.abc import Sequence

from lab.report import formatting
from lab.report.charts.colours import series_styles
from lab.report.charts.data import endpoints
from lab.report.charts.svg import Chart, coordinate, element, label, markers, rect
from lab.results.result import SUCCESS_THRESHOLD, EndpointResult, RunResult, VariantResult

_LEFT = 150.0
_CELL_HEIGHT = 26.0
_COLUMN_NAMES = {"read_feed": "feed", "create_post": "post", "create_comment": "comment"}


def blast_radius(result: RunResult) -> Chart | None:
    """A row for each phase, a block for each variant; None unless several faults came in turn."""
    phases = list(result.variants[0].phases) if result.variants else []
    columns = [name for name in endpoints(result) if name in _COLUMN_NAMES]
    if "during" in phases or len(phases) < 3 or not columns:
        return None
    cell_width = min(
        74.0, (744.0 - _LEFT - 14 * len(result.variants)) / (len(columns) * len(result.variants))
    )
    fault_phases = {phase for variant in result.variants for phase in _fault_phases(variant)}
    parts, y = [], 64.0
    for number, (variant, style) in enumerate(
        zip(result.variants, series_styles(result.variants), strict=True)
    ):
        x = _LEFT + number * (cell_width * len(columns) + 14)
        parts.append(markers([(x + 5, 22)], style.shape, style.css_class("dot")))
        parts.append(label(x + 14, 26, variant.name, "strong", limit=24))
        for at, name in enumerate(columns):
            parts.append(
                label(x + cell_width * (at + 0.5), 50, _COLUMN_NAMES[name], "soft small", "middle")
            )
        for row, phase in enumerate(phases):
            applies = phase not in fault_phases or phase in _fault_phases(variant)
            figures = variant.phases.get(phase)
            for at, name in enumerate(columns):
                endpoint = figures.endpoints.get(name) if figures and applies else None
                parts.append(
                    _cell(x + cell_width * at, y + _CELL_HEIGHT * row, cell_width, endpoint)
                )
    parts += [
        label(_LEFT - 10, y + _CELL_HEIGHT * row + 17, phase, "", "end", limit=22)
        for row, phase in enumerate(phases)
    ]
    y += _CELL_HEIGHT * len(phases) + 20
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
        "blast-radius", "Blast radius", _describe(result, phases, columns), y + 12, "".join(parts)
    )


def _cell(x: float, y: float, width: float, endpoint: EndpointResult | None) -> str:
    inner, height = width - 3, _CELL_HEIGHT - 3
    share = endpoint.success if endpoint else None
    parts = [rect(x, y, inner, height, "edge")]
    if share is not None and share < 1:
        parts.append(rect(x, y, inner * (1 - share), height, "lost"))
    text = formatting.success(share)
    text_width = 6.8 * len(text) + 8
    parts.append(rect(x + (inner - text_width) / 2, y + 4, text_width, height - 8, "ground"))
    kind = "small strong" if share is not None and share < SUCCESS_THRESHOLD else "small"
    parts.append(label(x + inner / 2, y + 16, text, kind, "middle"))
    return element("g", {"opacity": coordinate(1 if share is not None else 0.7)}, *parts)


def _fault_phases(variant: VariantResult) -> set[str]:
    return {f"{fault.target} {fault.kind}" for fault in variant.faults}


def _describe(result: RunResult, phases: Sequence[str], columns: Sequence[str]) -> str:
    sentences = []
    for variant in result.variants:
        for phase in phases:
            figures = variant.phases.get(phase)
            failing = [
                f"{_COLUMN_NAMES[name]} {formatting.success(endpoint.success)}"
                for name in columns
                if figures and (endpoint := figures.endpoints.get(name)) and endpoint.failed
            ]
            if failing:
                sentences.append(f"{variant.name}, {phase}: {', '.join(failing)}.")
    return " ".join(["Share of good answers, where some were bad.", *sentences])
