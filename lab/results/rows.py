"""The figures of a run as flat rows, for data frames and CSV."""

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any

from lab.results.result import EndpointResult, LatencyOfAll, RunResult, VisibilityLatency


def figure_rows(result: RunResult) -> Iterator[dict[str, Any]]:
    """A row for each variant, phase and kind of request; latencies in ms, `success` from 0 to 1."""
    for variant in result.variants:
        for phase, figures in variant.phases.items():
            for kind, endpoint in figures.endpoints.items():
                yield {
                    "variant": variant.name,
                    "phase": phase,
                    "request": kind,
                    "seconds": figures.seconds,
                    **_figures(endpoint),
                }


def _figures(endpoint: EndpointResult) -> dict[str, Any]:
    visible = endpoint.visible_ms or VisibilityLatency()
    of_all = endpoint.of_all_ms or LatencyOfAll()
    visible_of_all = endpoint.visible_of_all_ms or LatencyOfAll()
    return {
        **{name: getattr(endpoint, name) for name in ("sent", "ok", "failed", "late", "dropped")},
        "success": endpoint.success,
        **{f"{name}_ms": value for name, value in endpoint.latency_ms.model_dump().items()},
        "failed_after_p50_ms": endpoint.failed_after_ms.p50,
        "visible_p50_ms": visible.p50,
        "visible_p99_ms": visible.p99,
        "visible_max_ms": visible.max,
        "never_visible": endpoint.never_visible if endpoint.visible_ms else None,
        "all_p50_ms": of_all.p50,
        "visible_all_p50_ms": visible_of_all.p50,
    }


def to_csv(results: Iterable[RunResult]) -> str:
    """The rows of all runs as CSV; an empty cell was not measured, and `valid` is 0 or 1."""
    rows = [
        {
            "scenario": result.scenario,
            "seed": result.seed,
            "quick": int(result.quick),
            "valid": int(result.valid),
            **row,
        }
        for result in results
        for row in figure_rows(result)
    ]
    text = io.StringIO()
    names = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
