"""Charts of a run, as SVG, for notebooks, the report page and documents.

`charts(result, data)` returns the charts that have data, in reading order.
`ChartData.read(result, folder)` reads their data from a run folder. `Chart.svg()` is the drawing.
"""

from lab.report.charts.answered_visible import answered_visible
from lab.report.charts.blast_radius import blast_radius
from lab.report.charts.data import ChartData
from lab.report.charts.lag import lag
from lab.report.charts.over_time import latency, success
from lab.report.charts.predictions import predicted_measured
from lab.report.charts.quantiles import quantiles
from lab.report.charts.svg import Chart
from lab.results.result import RunResult

__all__ = ["Chart", "ChartData", "charts"]

NO_DATA = ChartData()


def charts(result: RunResult, data: ChartData = NO_DATA) -> list[Chart]:
    """All charts that have data. Without `data`, only the charts that need the result alone."""
    candidates = (
        blast_radius(result),
        latency(result, data),
        success(result, data),
        quantiles(result, data),
        answered_visible(result),
        lag(result, data),
        predicted_measured(result),
    )
    return [candidate for candidate in candidates if candidate]
