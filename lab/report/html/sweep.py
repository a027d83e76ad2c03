"""The page of a sweep: one slider, and for each of its stops what a reader notices at that size.

The sizes were simulated before, so the page is one file that loads nothing, like that of a run. Its
content security policy allows one script, by its digest. Without it, in print for example, the page
shows all sizes below one another.
"""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from lab.report import sections
from lab.report.answer import build_answer
from lab.report.charts import Chart, ChartData
from lab.report.charts.colours import STYLE
from lab.report.cost import cost_blocks, cost_chart, sizes_of
from lab.report.html import page, template
from lab.results.result import RunResult

NAME = "sweep.html"
_SCRIPT = """
const slider = document.getElementById("size");
const sizes = [...document.querySelectorAll("[data-size]")];
function show() {
  sizes.forEach((size, number) => { size.hidden = number !== Number(slider.value); });
  slider.nextElementSibling.value = sizes[slider.value].dataset.size;
}
slider.addEventListener("input", show);
slider.parentElement.hidden = false;
show();
"""


def save(results: Sequence[RunResult], folders: Sequence[Path], folder: Path) -> Path:
    """Write the page of simulated results, each saved in its own folder inside of `folder`; returns
    its path. Raises OSError."""
    from markupsafe import Markup

    swept, values = sizes_of(results)
    stops = [
        {
            "size": f"{value:,g} {swept}",
            "answer": build_answer(result, ChartData.read(result, own).samples),
            "chart": Markup(_chart(results, value, number).svg(styled=False)),
            "page": f"{own.name}/{page.NAME}",
        }
        for number, (value, result, own) in enumerate(zip(values, results, folders, strict=True), 1)
    ]
    text = template.render(
        "sweep.html",
        result=results[0],
        stops=stops,
        swept=swept,
        blocks_of_all=list(cost_blocks(results)),
        sections=sections,
        chart_style=Markup(STYLE),
        script=Markup(_SCRIPT),
        digest=b64encode(sha256(_SCRIPT.encode()).digest()).decode(),
    )
    return page.write(folder / NAME, text)


def _chart(results: Sequence[RunResult], value: float, number: int) -> Chart:
    """The chart with a line at one size, under a name of its own."""
    return replace(cost_chart(results, at=value), name=f"cost-{number}")
