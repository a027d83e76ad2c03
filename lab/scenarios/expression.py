"""What must be seen, in a language small enough to be safe: `that` and `steady_state`.

    sync-chain.during.read_feed.p50 >= sync-chain.before.read_feed.p50 + 250
    async-bus.data.lost == 0 and async-bus.recovery_seconds <= 2

Paths, numbers, `+ - * /`, comparisons, `and or not`, `min max abs` and the oracles (`oracles.py`):
nothing else, so anyone's scenario file may be run. Names hold hyphens; a minus therefore needs
spaces around it. A path without a value (nothing was sent, nothing was shown) makes its comparison
neither true nor false: what was not measured is not refuted.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lab.scenarios.figures import ExpressionError, known_path, measured
from lab.scenarios.result import Result
from lab.scenarios.syntax import Walk, parse


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether it holds (None: not measured), the left side's value, and the rest in figures."""

    holds: bool | None
    measured: float | None
    expected: str
    values: dict[str, float | None]


def check(text: str, variants: Sequence[str], phases: Sequence[str], steady: bool = False) -> None:
    """Raise ExpressionError unless `text` can be evaluated for these variants and phases.

    `steady`: the paths begin with the endpoint, as in `steady_state`.
    """
    tree, paths = parse(text)
    for path in paths.values():
        known_path(path, variants, phases, steady)
    try:
        Walk(dict.fromkeys(paths, 1.0)).truth(tree)
    except ExpressionError as error:
        spelled = re.sub(r"\b_\d+\b", lambda name: paths.get(name[0], name[0]), str(error))
        raise ExpressionError(spelled) from None


def check_figure(text: str, variants: Sequence[str], phases: Sequence[str]) -> None:
    """Raise ExpressionError unless `text` is a figure for these variants and phases."""
    tree, paths = parse(text)
    for path in paths.values():
        known_path(path, variants, phases, False)
    Walk(dict.fromkeys(paths)).number(tree)


def is_figure_of(texts: Iterable[str], variants: Sequence[str], phases: Sequence[str]) -> bool:
    """Whether all `texts` are figures that need no other variants and phases than these."""
    try:
        for text in texts:
            check_figure(text, variants, phases)
    except ExpressionError:
        return False
    return True


def figure(text: str, result: Result) -> float | None:
    """The value of an expression that `check_figure` accepts; None when it was not measured.

    Raises ValueError when an oracle has no answer for what was measured.
    """
    tree, paths = parse(text)
    walk = Walk({name: measured(path, result) for name, path in paths.items()})
    value = walk.number(tree)
    if walk.refused:
        raise ValueError(walk.refused)
    return value


def is_about(text: str, variants: Sequence[str], phases: Sequence[str]) -> bool:
    """Whether `text` needs no other variants and phases than these."""
    try:
        check(text, variants, phases)
    except ExpressionError:
        return False
    return True


def evaluate(text: str, result: Result, steady_in: str | None = None) -> Outcome:
    """What the result says to `text`.

    `steady_in` names the variant whose `before` phase a steady-state expression is asked about.
    """
    tree, paths = parse(text)
    prefix = "" if steady_in is None else f"{steady_in}.before."
    values = {name: measured(prefix + path, result) for name, path in paths.items()}
    walk = Walk(values)
    holds = walk.truth(tree)
    left, rest = walk.describe(tree)
    by_path = {prefix + path: values[name] for name, path in paths.items()}
    return Outcome(holds=holds, measured=left, expected=rest, values=by_path)
