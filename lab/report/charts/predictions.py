"""Chart of measured figures, each as a multiple of the figure that theory predicts.

As multiples, seconds, shares and counts fit on one axis.
"""

from textwrap import wrap

from lab.report import formatting
from lab.report.charts.frame import RIGHT
from lab.report.charts.svg import Chart, Scale, box, element, label, line, number
from lab.results.paths import written
from lab.results.result import Prediction, Result
from lab.support.text import plain

_LEFT, _END = 24.0, RIGHT - 24
_LINE = 16.0
_LETTERS = 108
_WIDEST = 4.0
_TICKS = (0.25, 0.5, 0.8, 1.0, 1.25, 2.0, 4.0)


def predicted_measured(result: Result) -> Chart | None:
    """A row for each prediction with both figures, and the band in which they agree.

    None for an invalid run, or without such predictions.
    """
    rows = [one for one in result.predictions if _ratio(one) is not None] if result.valid else []
    if not rows:
        return None
    farthest = max(max(ratio, 1 / ratio) for one in rows if (ratio := _ratio(one)))
    reach = min(_WIDEST, max(1.3, farthest * 1.08))
    x = Scale(1 / reach, reach, _LEFT, _END, log=True)
    top = 34.0
    floor = top + sum(map(_tall, rows))
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
    for one in rows:
        parts.append(_row(one, x, y))
        y += _tall(one)
    return Chart(
        "predicted-measured", "Predicted and measured", _says(rows), floor + 28, "".join(parts)
    )


def _lines(one: Prediction) -> list[str]:
    return wrap(plain(one.says, 300), _LETTERS)


def _tall(one: Prediction) -> float:
    return _LINE * (len(_lines(one)) + 1) + 26


def _row(one: Prediction, x: Scale, y: float) -> str:
    ratio = _ratio(one) or 1.0
    lines = _lines(one)
    figures = f"predicted {written(one.predicted)}, measured {written(one.measured)}"
    if not x.low <= ratio <= x.high:
        figures += ": further off than is drawn"
    low, high = x(max(x.low, 1 - one.within)), x(1 + one.within)
    bottom = y + _LINE * (len(lines) + 1)
    texts = [label(_LEFT, y + _LINE * at + 15, text, limit=None) for at, text in enumerate(lines)]
    return "".join(
        [
            box(_LEFT, y + 3, _END - _LEFT, bottom - y, "ground"),
            *texts,
            label(_LEFT, bottom - 1, figures, "soft small"),
            box(low, bottom + 6, high - low, 10, "window"),
            box(low, bottom + 6, high - low, 10, "edge"),
            element(
                "path",
                {
                    "class": "fill i-plain" if one.agrees else "ring i-plain",
                    "d": f"M{number(x(ratio))} {number(bottom + 11)}m0-5l5 5l-5 5l-5-5z",
                },
            ),
        ]
    )


def _ratio(one: Prediction) -> float | None:
    """measured / predicted; None unless the ratio is positive and finite."""
    if not one.predicted or one.measured is None or one.deviation is None:
        return None
    ratio = one.measured / one.predicted
    return ratio if 0 < ratio < float("inf") else None


def _says(rows: list[Prediction]) -> str:
    return " ".join(
        f"{one.says}: predicted {written(one.predicted, formatting.NONE)}, "
        f"measured {written(one.measured, formatting.NONE)}."
        for one in rows
    )
