"""The language of expressions (`that`, `steady_state`, `[[predict]]`): parser and evaluator.

    sync-chain.during.read_feed.p50 >= sync-chain.before.read_feed.p50 + 250
    async-bus.data.lost == 0 and async-bus.recovery_seconds <= 2

The language has paths, numbers, `+ - * /`, comparisons, `and or not`, `min max abs` and the oracles
(`oracles.py`). Python's own parser reads an expression; `Evaluator` then refuses every kind of node
that is not listed. An expression can only calculate, so a scenario file from anyone is safe to run.

Names contain hyphens, so a minus needs spaces around it. A path without a value (nothing was sent
or shown) makes its comparison neither true nor false: what was not measured is not refuted.
"""

import ast
import inspect
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import inf

from lab.results.oracles import ORACLES
from lab.results.paths import (
    ExpressionError,
    check_figure_path,
    format_value,
    lookup,
    lookup_bounds,
    unproved_reason,
)
from lab.results.result import RunResult

PLACEHOLDER = re.compile(r"\{([^{}]+)\}")
"""A figure in a sentence, as in `The feed took {sync-chain.during.read_feed.p50}.`"""

# ── Parser and evaluator

_MAX_LENGTH = 500
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d{1,12}(?:\.\d{1,9})?)"
    r"|(?P<name>[a-z_]\w*(?:-\w+)*(?:\.[a-z_]\w*(?:-\w+)*)*)"
    r"|(?P<sign><=|>=|==|!=|[-+*/()<>,]))",
    re.ASCII | re.IGNORECASE,
)
_ARITHMETIC: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_COMPARISONS: dict[type[ast.cmpop], tuple[str, Callable[[float, float], bool]]] = {
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
    ast.Eq: ("==", operator.eq),
    ast.NotEq: ("!=", operator.ne),
}
_FUNCTIONS: dict[str, Callable[..., float]] = {"min": min, "max": max, "abs": abs, **ORACLES}
_KEYWORDS = {"and", "or", "not", *_FUNCTIONS}


def parse(text: str) -> tuple[ast.expr, dict[str, str]]:
    """The syntax tree, in which `_0`, `_1`, ... replace the paths; and the path of each such name.

    Raises ExpressionError.
    """
    if len(text) > _MAX_LENGTH:
        raise ExpressionError(f"has {len(text)} characters; {_MAX_LENGTH} is the most. Split it.")
    names: dict[str, str] = {}
    source: list[str] = []
    position = 0
    while position < len(text.rstrip()):
        token = _TOKEN.match(text, position)
        if token is None:
            raise ExpressionError(
                f"{text[position:].strip()[:20]!r} cannot be read here. Expected: paths, numbers, "
                "+ - * / ( ), comparisons, and, or, not, min, max, abs."
            )
        word = token["name"]
        if word is None or word in _KEYWORDS:
            source.append(word or token["number"] or token["sign"])
        else:
            source.append(names.setdefault(word, f"_{len(names)}"))
        position = token.end()
    try:
        tree = ast.parse(" ".join(source), mode="eval").body
    except (SyntaxError, MemoryError, RecursionError):
        raise ExpressionError(
            f"{text.strip()!r} is not a complete comparison. "
            "Example: sync-chain.during.read_feed.success <= 0.2"
        ) from None
    return tree, {name: path for path, name in names.items()}


Interval = tuple[float, float]
"""The two ends of a figure; equal where it is certain."""


class Evaluator:
    """Evaluates a syntax tree; raises ExpressionError for every kind of node not listed here.

    Every figure has two ends. A comparison that is not the same for all values between them is
    neither true nor false. `values`: each figure, or its ends.
    """

    def __init__(self, values: Mapping[str, float | Interval | None]) -> None:
        self._values: dict[str, Interval | None] = {
            name: (value, value) if isinstance(value, int | float) else value
            for name, value in values.items()
        }
        self.oracle_error = ""
        """Why an oracle had no answer; "" if each had one."""

    def truth(self, node: ast.expr) -> bool | None:
        match node:
            case ast.BoolOp(op, clauses):
                each = [self.truth(clause) for clause in clauses]
                decides = isinstance(op, ast.Or)  # one true decides an `or`, one false an `and`
                return decides if decides in each else (None if None in each else not decides)
            case ast.UnaryOp(ast.Not(), operand):
                inner = self.truth(operand)
                return None if inner is None else not inner
            case ast.Compare(first, signs, others):
                sides = [self.number(side) for side in (first, *others)]
                pairs = [
                    None if left is None or right is None else _compare(sign, left, right)
                    for left, sign, right in zip(
                        sides, map(_check_operator, signs), sides[1:], strict=False
                    )
                ]
                return False if False in pairs else (None if None in pairs else True)
        raise ExpressionError(
            f"{ast.unparse(node)!r} is a figure, so it is neither true nor false. "
            "Compare it with <=, >=, ==, != < or >."
        )

    def number(self, node: ast.expr) -> Interval | None:
        match node:
            case ast.Constant(int() | float() as value) if not isinstance(value, bool):
                return float(value), float(value)
            case ast.Name(name) if name in self._values:
                return self._values[name]
            case ast.UnaryOp(ast.USub(), operand):
                inner = self.number(operand)
                return None if inner is None else (-inner[1], -inner[0])
            case ast.BinOp(left, sign, right) if type(sign) in _ARITHMETIC:
                left_ends, right_ends = self.number(left), self.number(right)
                if left_ends is None or right_ends is None:
                    return None
                if isinstance(sign, ast.Div) and right_ends[0] <= 0 <= right_ends[1]:
                    return None if right_ends[0] == right_ends[1] else (-inf, inf)
                return _ends(_ARITHMETIC[type(sign)], left_ends, right_ends)
            case ast.Call(ast.Name(function), arguments, []) if function in _FUNCTIONS:
                if arity := _wrong_arity(function, len(arguments)):
                    raise ExpressionError(f"{function}() takes {arity}.")
                each = [self.number(argument) for argument in arguments]
                measured = [ends for ends in each if ends is not None]
                if len(measured) < len(each):
                    return None
                try:
                    low, high = _ends(_FUNCTIONS[function], *measured)
                    # All other functions rise or fall with each of their arguments.
                    through_0 = function == "abs" and measured[0][0] < 0 < measured[0][1]
                    return 0.0 if through_0 else low, high
                except (ValueError, OverflowError) as error:
                    self.oracle_error = str(error)
                    return None
        raise ExpressionError(
            f"{ast.unparse(node)!r} is not a figure, so nothing can be calculated from it."
        )

    def describe(self, node: ast.expr) -> tuple[float | None, str]:
        """The left value of the deciding comparison, and the rest of the expression with the
        figures filled in. Only for figures that are certain."""
        match node:
            case ast.BoolOp(op, clauses):
                whole = self.truth(node)
                decides = next(clause for clause in clauses if self.truth(clause) is whole)
                left, rest = self.describe(decides)
                word = " and " if isinstance(op, ast.And) else " or "
                others = [self._with_values(clause) for clause in clauses if clause is not decides]
                return left, word.join([rest, *others])
            case ast.UnaryOp(ast.Not(), operand):
                left, rest = self.describe(operand)
                return left, f"not {rest}"
            case ast.Compare(first, signs, others):
                sides = [first, *others]
                blank = next((i for i, side in enumerate(sides) if _has_path(side)), 0)
                texts = [
                    "…" if i == blank else self._with_values(side) for i, side in enumerate(sides)
                ]
                for i, sign in reversed(list(enumerate(signs))):
                    texts.insert(i + 1, _COMPARISONS[type(sign)][0])
                if len(sides) == 2 and blank == 0 and isinstance(others[0], ast.BinOp | ast.Call):
                    texts.append(f"(= {format_value(_first(self.number(others[0])))})")
                return _first(self.number(sides[blank])), " ".join(texts).removeprefix("… ")
        raise ExpressionError(f"{ast.unparse(node)!r} is neither true nor false.")

    def _with_values(self, node: ast.expr) -> str:
        figures = {name: format_value(_first(ends)) for name, ends in self._values.items()}
        return re.sub(r"\b_\d+\b", lambda name: figures[name[0]], ast.unparse(node))


def _ends(function: Callable[..., float], *arguments: Interval) -> Interval:
    """The ends of a function that rises or falls with each argument, whatever the others are."""
    values = [function(*corner) for corner in product(*map(dict.fromkeys, arguments))]
    if len(values) > 1 and any(map(math.isnan, values)):
        return -inf, inf
    return min(values), max(values)


def _compare(sign: ast.cmpop, left: Interval, right: Interval) -> bool | None:
    """Whether all values of `left` compare so with all of `right`; None if only some do."""
    compare = _COMPARISONS[type(sign)][1]
    if left[0] == left[1] and right[0] == right[1]:
        return compare(left[0], right[0])
    if isinstance(sign, ast.Eq | ast.NotEq):
        apart = left[1] < right[0] or right[1] < left[0]
        return isinstance(sign, ast.NotEq) if apart else None
    verdicts = {compare(*corner) for corner in product(left, right)}
    return verdicts.pop() if len(verdicts) == 1 else None


def _first(ends: Interval | None) -> float | None:
    return None if ends is None else ends[0]


def _wrong_arity(function: str, count: int) -> str | None:
    """The arguments that a function takes, in words; None if `count` is a right number of them."""
    if function in ("min", "max", "abs"):
        wrong, arity = (
            (count != 1, "one figure") if function == "abs" else (count < 2, _TWO_OR_MORE)
        )
        return arity if wrong else None
    parameters = inspect.signature(ORACLES[function]).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters):
        return None if count > 1 else _TWO_OR_MORE
    names = ", ".join(parameter.name for parameter in parameters)
    return None if count == len(parameters) else f"{len(parameters)} figures: {names}"


_TWO_OR_MORE = "two figures or more"


def _check_operator(sign: ast.cmpop) -> ast.cmpop:
    if type(sign) not in _COMPARISONS:
        raise ExpressionError("compares with a word. Use one of <= >= == != < >.")
    return sign


def _has_path(node: ast.expr) -> bool:
    return any(isinstance(part, ast.Name) and part.id not in _FUNCTIONS for part in ast.walk(node))


# ── Checks, and values for a result


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Whether an expression holds (None: not measured), the value of its left side, the rest with
    the figures filled in, and the value of each path. `reason`: why it is neither true nor false;
    `uncertain`: whether that is because the load was late, or because a fault did not act as
    declared."""

    holds: bool | None
    measured: float | None
    expected: str
    values: dict[str, float | None]
    reason: str = ""
    uncertain: bool = False


def check(text: str, variants: Sequence[str], phases: Sequence[str], steady: bool = False) -> None:
    """Raise ExpressionError unless `text` can be evaluated for these variants and phases.

    `steady`: the paths begin with the endpoint, as in `steady_state`.
    """
    tree, paths = parse(text)
    for path in paths.values():
        check_figure_path(path, variants, phases, steady)
    try:
        Evaluator(dict.fromkeys(paths, 1.0)).truth(tree)
    except ExpressionError as error:
        message = re.sub(r"\b_\d+\b", lambda name: paths.get(name[0], name[0]), str(error))
        raise ExpressionError(message) from None


def check_figure(text: str, variants: Sequence[str], phases: Sequence[str]) -> None:
    """Raise ExpressionError unless `text` is a figure for these variants and phases."""
    tree, paths = parse(text)
    for path in paths.values():
        check_figure_path(path, variants, phases, False)
    Evaluator(dict.fromkeys(paths)).number(tree)


def figures_refer_only_to(
    texts: Iterable[str], variants: Sequence[str], phases: Sequence[str]
) -> bool:
    """Whether all `texts` are figures that use only these variants and phases."""
    try:
        for text in texts:
            check_figure(text, variants, phases)
    except ExpressionError:
        return False
    return True


class Figure:
    """An expression that `check_figure` accepts, to be evaluated for more than one set of values.

    `paths`: the paths of the figures in it.
    """

    def __init__(self, text: str) -> None:
        self._tree, self._by_name = parse(text)
        self.paths = list(self._by_name.values())

    def value(self, values: Mapping[str, float | None]) -> float | None:
        """Its value for these figures, by their paths; None if one of them was not measured.

        Raises ValueError when an oracle has no answer for them.
        """
        return _first(
            _number(self._tree, {name: values[path] for name, path in self._by_name.items()})
        )


def evaluate_figure(text: str, result: RunResult) -> float | None:
    """The value of an expression that `check_figure` accepts; None when it was not measured.

    Raises ValueError when an oracle has no answer for what was measured.
    """
    figure = Figure(text)
    return figure.value({path: lookup(path, result) for path in figure.paths})


def figure_bounds(text: str, result: RunResult) -> Interval | None:
    """The two ends of an expression that `check_figure` accepts; otherwise as `evaluate_figure`."""
    tree, paths = parse(text)
    return _number(tree, {name: lookup_bounds(path, result) for name, path in paths.items()})


def _number(tree: ast.expr, values: Mapping[str, float | Interval | None]) -> Interval | None:
    evaluator = Evaluator(values)
    ends = evaluator.number(tree)
    if evaluator.oracle_error:
        raise ValueError(evaluator.oracle_error)
    return ends


def refers_only_to(text: str, variants: Sequence[str], phases: Sequence[str]) -> bool:
    """Whether `text` is an expression that uses only these variants and phases."""
    try:
        check(text, variants, phases)
    except ExpressionError:
        return False
    return True


def evaluate(text: str, result: RunResult, steady_in: str | None = None) -> Evaluation:
    """Evaluate `text` for a result.

    `steady_in`: for a steady-state expression, the variant whose `before` phase is used.
    """
    tree, paths = parse(text)
    prefix = "" if steady_in is None else f"{steady_in}.before."
    values = {name: lookup(prefix + path, result) for name, path in paths.items()}
    left, rest = Evaluator(values).describe(tree)
    bounds = {name: lookup_bounds(prefix + path, result) for name, path in paths.items()}
    holds = Evaluator(bounds).truth(tree)
    wide = [prefix + paths[name] for name, ends in bounds.items() if ends and ends[0] < ends[1]]
    nothing = [prefix + paths[name] for name, ends in bounds.items() if ends is None]
    uncertain = holds is None and bool(wide) and not nothing
    reason = ""
    unproved = [why for path in wide if (why := unproved_reason(path, result))]
    if holds is None and unproved:
        reason = " ".join(dict.fromkeys(unproved))
    elif uncertain:
        reason = _uncertain_reason(wide, result)
    elif holds is None:
        reason = f"Nothing was measured for {_listed(nothing)}." if nothing else _NO_VALUE
    by_path = {prefix + path: values[name] for name, path in paths.items()}
    return Evaluation(holds, left, rest, by_path, reason, uncertain)


_NO_VALUE = "The expression has no value: it divides by 0, or theory has no answer."
_MAX_NAMED = 3


def _uncertain_reason(paths: Sequence[str], result: RunResult) -> str:
    described = []
    for path in paths:
        low, high = lookup_bounds(path, result) or (0.0, inf)
        upper = "or more" if high == inf else f"to {format_value(high)}"
        described.append(f"{path} is {format_value(low)} {upper}")
    return f"Requests were sent late, so these figures are not certain: {_listed(described)}."


def _listed(items: Sequence[str]) -> str:
    more = len(items) - _MAX_NAMED
    return ", ".join(items[:_MAX_NAMED]) + (f", and {more} more" if more > 0 else "")
