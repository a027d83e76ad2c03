"""The report page of a run: one self-contained HTML file, for a browser and for print.

The file contains its style and its charts and loads nothing, so it can be mailed, handed in, and
read offline. Its content security policy forbids requests and scripts. The answer comes first. Then
the order is that of a lab report: question, prediction, timeline, figures, claims, explanation,
machine and seed.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lab.report import sections, tables
from lab.report.answer import build_answer
from lab.report.charts import Chart, ChartData, charts
from lab.report.charts.colours import STYLE
from lab.report.html import template
from lab.results.result import RunResult

if TYPE_CHECKING:
    from markupsafe import Markup

NAME = "report.html"


def save(result: RunResult, folder: Path) -> Path:
    """Write the page into the run folder and return its path. Raises OSError."""
    return write(folder / NAME, render(result, ChartData.read(result, folder)))


def write(path: Path, text: str) -> Path:
    """Write a page as a whole, readable only by its owner, and return its path. Raises OSError."""
    partial = path.with_name(path.name + ".part")
    partial.unlink(missing_ok=True)
    file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "w", encoding="utf-8") as out:
        out.write(text)
    partial.replace(path)
    return path


def render(result: RunResult, data: ChartData) -> str:
    """The whole document. All text that came from a file is escaped."""
    from markupsafe import Markup

    def svg(chart: Chart) -> "Markup":
        return Markup(chart.svg(styled=False))

    return template.render(
        "page.html",
        result=result,
        answer=build_answer(result, data.samples),
        data=data,
        sections=sections,
        tables=tables,
        charts={chart.name: chart for chart in charts(result, data)},
        svg=svg,
        chart_style=Markup(STYLE),
    )
