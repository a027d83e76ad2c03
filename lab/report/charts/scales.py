"""From a figure to a place: linear and logarithmic scales, with ticks that people would choose."""

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps `low`..`high` onto the places `start`..`end`; what lies outside is put on the edge.

    A logarithmic one (`log`) has a low end above 0.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        inside = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(inside / self.low) / math.log(self.high / self.low)
        else:
            share = (inside - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, about: int = 6) -> list[float]:
        """Round figures inside the scale: decades of a logarithmic one, with 2 and 5 between them
        where there are few of them."""
        if not self.log:
            return _steps(self.low, self.high, about)
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        parts = (1,) if len(decades) > 3 else (1, 3) if len(decades) > 2 else (1, 2, 5)
        found = (part * 10.0**decade for decade in decades for part in parts)
        return [one for one in found if self.low * 0.999 <= one <= self.high * 1.001]


def linear(values: Iterable[float], start: float, end: float) -> Scale:
    """From 0 to a round figure at or above the greatest of them."""
    most = max(values, default=0.0) or 1.0
    step = _step(most, 5)
    return Scale(0.0, math.ceil(most / step - 1e-9) * step, start, end)


def logarithmic(values: Iterable[float], start: float, end: float) -> Scale:
    """Around all of them that are above 0, a decade wide at least."""
    seen = [value for value in values if value > 0]
    low, high = (min(seen), max(seen)) if seen else (1.0, 10.0)
    low, high = low * 0.85, high * 1.15
    if high / low < 10:
        middle = math.sqrt(low * high)
        low, high = middle / math.sqrt(10), middle * math.sqrt(10)
    return Scale(low, high, start, end, log=True)


def _step(size: float, about: int) -> float:
    rough = size / about
    decade = 10.0 ** math.floor(math.log10(rough))
    return next(part * decade for part in (1, 2, 5, 10) if part * decade >= rough * 0.999)


def _steps(low: float, high: float, about: int) -> list[float]:
    step = _step(high - low, about)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def told(value: float) -> str:
    """A tick's figure: 0.5, 20, 1,000."""
    return f"{value:,.0f}" if abs(value) >= 10 or value == round(value) else f"{value:.3g}"
