"""Chart of measured figures, each as a multiple of the figure that theory predicts.

As multiples, seconds, shares and counts fit on one axis.
"""

from textwrap import wrap

from lab.report import formatting
from lab.report.charts.frame import RIGHT
from lab.report.charts.svg import Chart, Scale, coordinate, element, label, line, rect
from lab.results.paths import format_value
from lab.results.result import Prediction, RunResult
from lab.support.text import plain

_LEFT, _RIGHT = 24.0, RIGHT - 24
_LINE_HEIGHT = 16.0
_CHARS_PER_LINE = 108
_MAX_RATIO = 4.0
_TICKS = (0.25, 0.5, 0.8, 1.0, 1.25, 2.0, 4.0)


def predicted_measured(result: RunResult) -> Chart | None:
    """A row for each prediction with both figures, and the interval in which they agree.

    None for an invalid run, or without such predictions.
    """
    rows = (
        [prediction for prediction in result.predictions if _ratio(prediction) is not None]
        if result.valid
        else []
    )
    if not rows:
        return None
    farthest = max(max(ratio, 1 / ratio) for row in rows if (ratio := _ratio(row)))
    max_ratio = min(_MAX_RATIO, max(1.3, farthest * 1.08))
    x = Scale(1 / max_ratio, max_ratio, _LEFT, _RIGHT, log=True)
    top = 34.0
    floor = top + sum(map(_row_height, rows))
    parts = [
        label(
            _LEFT,
            18,
            "◆ measured, as a multiple of what theory predicts; in the bar they agree",
            "soft small",
            limit=120,
        )
    ]
    for tick in _TICKS:
        if x.low <= tick <= x.high:
            kind = "edge" if tick == 1 else "grid"
            parts.append(line([(x(tick), top), (x(tick), floor)], kind))
            parts.append(label(x(tick), floor + 16, f"×{tick:g}", "soft small", "middle"))
    y = top
    for prediction in rows:
        parts.append(_row(prediction, x, y))
        y += _row_height(prediction)
    return Chart(
        "predicted-measured", "Predicted and measured", _describe(rows), floor + 28, "".join(parts)
    )


def _wrapped_text(prediction: Prediction) -> list[str]:
    return wrap(plain(prediction.says, 300), _CHARS_PER_LINE)


def _row_height(prediction: Prediction) -> float:
    return _LINE_HEIGHT * (len(_wrapped_text(prediction)) + 1) + 26


def _row(prediction: Prediction, x: Scale, y: float) -> str:
    ratio = _ratio(prediction) or 1.0
    lines = _wrapped_text(prediction)
    predicted, measured = format_value(prediction.predicted), format_value(prediction.measured)
    figures = f"predicted {predicted}, measured {measured}"
    if not x.low <= ratio <= x.high:
        figures += ": further off than is drawn"
    low, high = (x(min(max(end, x.low), x.high)) for end in _interval(prediction))
    bottom = y + _LINE_HEIGHT * (len(lines) + 1)
    texts = [
        label(_LEFT, y + _LINE_HEIGHT * at + 15, text, limit=None) for at, text in enumerate(lines)
    ]
    return "".join(
        [
            rect(_LEFT, y + 3, _RIGHT - _LEFT, bottom - y, "ground"),
            *texts,
            label(_LEFT, bottom - 1, figures, "soft small"),
            rect(low, bottom + 6, high - low, 10, "window"),
            rect(low, bottom + 6, high - low, 10, "edge"),
            element(
                "path",
                {
                    "class": "fill i-plain" if prediction.agrees else "ring i-plain",
                    "d": f"M{coordinate(x(ratio))} {coordinate(bottom + 11)}m0-5l5 5l-5 5l-5-5z",
                },
            ),
        ]
    )


def _interval(prediction: Prediction) -> tuple[float, float]:
    """The ends of the interval, as multiples of the prediction."""
    if not prediction.predicted or prediction.low is None or prediction.high is None:
        return 1 - prediction.within, 1 + prediction.within
    return prediction.low / prediction.predicted, prediction.high / prediction.predicted


def _ratio(prediction: Prediction) -> float | None:
    """measured / predicted; None unless the ratio is positive and finite."""
    if not prediction.predicted or prediction.measured is None or prediction.deviation is None:
        return None
    ratio = prediction.measured / prediction.predicted
    return ratio if 0 < ratio < float("inf") else None


def _describe(rows: list[Prediction]) -> str:
    return " ".join(
        f"{row.says}: predicted {format_value(row.predicted, formatting.NONE)}, "
        f"measured {format_value(row.measured, formatting.NONE)}."
        for row in rows
    )
