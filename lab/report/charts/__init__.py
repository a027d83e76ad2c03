"""Charts of a run, as SVG, for notebooks, the report page and documents.

`charts(result, raw)` returns the charts that have data, in reading order. `Raw.of(result, folder)`
reads their data from a run folder. `Chart.svg()` is the drawing.
"""

from lab.report.charts.answered_visible import answered_visible
from lab.report.charts.blast_radius import blast_radius
from lab.report.charts.data import Raw
from lab.report.charts.lag import lag
from lab.report.charts.over_time import latency, success
from lab.report.charts.predictions import predicted_measured
from lab.report.charts.quantiles import quantiles
from lab.report.charts.svg import Chart
from lab.results.result import Result

__all__ = ["Chart", "Raw", "charts"]

NOTHING = Raw()


def charts(result: Result, raw: Raw = NOTHING) -> list[Chart]:
    """All charts that have data. Without `raw`, only the charts that `result` is enough for."""
    drawn = (
        blast_radius(result),
        latency(result, raw),
        success(result, raw),
        quantiles(result, raw),
        answered_visible(result),
        lag(result, raw),
        predicted_measured(result),
    )
    return [one for one in drawn if one]
