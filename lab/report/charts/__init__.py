"""Charts of a run, as SVG: made once, used by notebooks, by the report page and by documents.

`charts(result, raw)` draws all that have something to show, in the order in which they are read;
`Raw.of(result, folder)` reads what they are drawn from. Each is a `Chart` with `.svg()`.
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
    """All charts that have something to show. Without raw material those that need none."""
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
