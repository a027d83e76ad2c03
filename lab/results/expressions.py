"""The language of expressions (`that`, `steady_state`, `[[predict]]`): parser and evaluator.

    sync-chain.during.read_feed.p50 >= sync-chain.before.read_feed.p50 + 250
    async-bus.data.lost == 0 and async-bus.recovery_seconds <= 2

The language has paths, numbers, `+ - * /`, comparisons, `and or not`, `min max abs` and the oracles
(`oracles.py`). Python's own parser reads an expression; `Walk` then refuses every kind of node that
is not listed. An expression can only calculate, so a scenario file from anyone is safe to run.

Names contain hyphens, so a minus needs spaces around it. A path without a value (nothing was sent
or shown) makes its comparison neither true nor false: what was not measured is not refuted.
"""

import ast
import inspect
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from lab.results.oracles import ORACLES
from lab.results.paths import ExpressionError, known_path, measured, written
from lab.results.result import Result

# ── Parser and evaluator

_LONGEST = 500
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
_WORDS = {"and", "or", "not", *_FUNCTIONS}


def parse(text: str) -> tuple[ast.expr, dict[str, str]]:
    """The syntax tree, in which `_0`, `_1`, ... replace the paths; and the path of each such name.

    Raises ExpressionError.
    """
    if len(text) > _LONGEST:
        raise ExpressionError(f"has {len(text)} characters; {_LONGEST} is the most. Split it.")
    names: dict[str, str] = {}
    source: list[str] = []
    at = 0
    while at < len(text.rstrip()):
        token = _TOKEN.match(text, at)
        if token is None:
            raise ExpressionError(
                f"{text[at:].strip()[:20]!r} can't be read here. Known are paths, numbers, "
                "+ - * / ( ), comparisons, and, or, not, min, max, abs."
            )
        word = token["name"]
        if word is None or word in _WORDS:
            source.append(word or token["number"] or token["sign"])
        else:
            source.append(names.setdefault(word, f"_{len(names)}"))
        at = token.end()
    try:
        tree = ast.parse(" ".join(source), mode="eval").body
    except (SyntaxError, MemoryError, RecursionError):
        raise ExpressionError(
            f"{text.strip()!r} is no whole comparison. "
            "One looks like: sync-chain.during.read_feed.success <= 0.2"
        ) from None
    return tree, {name: path for path, name in names.items()}


class Walk:
    """Evaluates a syntax tree; raises ExpressionError for every kind of node not listed here."""

    def __init__(self, values: dict[str, float | None]) -> None:
        self._values = values
        self.refused = ""
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
                    None
                    if left is None or right is None
                    else _COMPARISONS[type(sign)][1](left, right)
                    for left, sign, right in zip(
                        sides, map(_known_sign, signs), sides[1:], strict=False
                    )
                ]
                return False if False in pairs else (None if None in pairs else True)
        raise ExpressionError(
            f"{ast.unparse(node)!r} is a figure, and nothing that can be true or false. "
            "Compare it: with <=, >=, ==, != < or >."
        )

    def number(self, node: ast.expr) -> float | None:
        match node:
            case ast.Constant(int() | float() as value) if not isinstance(value, bool):
                return float(value)
            case ast.Name(name) if name in self._values:
                return self._values[name]
            case ast.UnaryOp(ast.USub(), operand):
                inner = self.number(operand)
                return None if inner is None else -inner
            case ast.BinOp(left, sign, right) if type(sign) in _ARITHMETIC:
                one, other = self.number(left), self.number(right)
                if one is None or other is None or (isinstance(sign, ast.Div) and other == 0):
                    return None
                return _ARITHMETIC[type(sign)](one, other)
            case ast.Call(ast.Name(function), arguments, []) if function in _FUNCTIONS:
                if takes := _takes_otherwise(function, len(arguments)):
                    raise ExpressionError(f"{function}() takes {takes}.")
                each = [self.number(argument) for argument in arguments]
                of = [value for value in each if value is not None]
                try:
                    return _FUNCTIONS[function](*of) if len(of) == len(each) else None
                except (ValueError, OverflowError) as error:
                    self.refused = str(error)
                    return None
        raise ExpressionError(
            f"{ast.unparse(node)!r} is not a figure, so it can't be reckoned with."
        )

    def describe(self, node: ast.expr) -> tuple[float | None, str]:
        """The left value of the deciding comparison, and the rest of the expression with the
        figures filled in."""
        match node:
            case ast.BoolOp(op, clauses):
                whole = self.truth(node)
                decides = next(one for one in clauses if self.truth(one) is whole)
                left, rest = self.describe(decides)
                word = " and " if isinstance(op, ast.And) else " or "
                others = [self._filled(one) for one in clauses if one is not decides]
                return left, word.join([rest, *others])
            case ast.UnaryOp(ast.Not(), operand):
                left, rest = self.describe(operand)
                return left, f"not {rest}"
            case ast.Compare(first, signs, others):
                sides = [first, *others]
                at = next((i for i, side in enumerate(sides) if _has_path(side)), 0)
                texts = ["…" if i == at else self._filled(side) for i, side in enumerate(sides)]
                for i, sign in reversed(list(enumerate(signs))):
                    texts.insert(i + 1, _COMPARISONS[type(sign)][0])
                if len(sides) == 2 and at == 0 and isinstance(others[0], ast.BinOp | ast.Call):
                    texts.append(f"(= {written(self.number(others[0]))})")
                return self.number(sides[at]), " ".join(texts).removeprefix("… ")
        raise ExpressionError(f"{ast.unparse(node)!r} is nothing that can be true or false.")

    def _filled(self, node: ast.expr) -> str:
        figures = {name: written(value) for name, value in self._values.items()}
        return re.sub(r"\b_\d+\b", lambda name: figures[name[0]], ast.unparse(node))


def _takes_otherwise(function: str, given: int) -> str | None:
    """The arguments that a function takes, in words; None if `given` is a right number of them."""
    if function in ("min", "max", "abs"):
        few, takes = (given != 1, "one figure") if function == "abs" else (given < 2, _TWO_OR_MORE)
        return takes if few else None
    parameters = inspect.signature(ORACLES[function]).parameters.values()
    if any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in parameters):
        return None if given > 1 else _TWO_OR_MORE
    names = ", ".join(one.name for one in parameters)
    return None if given == len(parameters) else f"{len(parameters)} figures: {names}"


_TWO_OR_MORE = "two figures or more"


def _known_sign(sign: ast.cmpop) -> ast.cmpop:
    if type(sign) not in _COMPARISONS:
        raise ExpressionError("compares with a word; known are <= >= == != < >.")
    return sign


def _has_path(node: ast.expr) -> bool:
    return any(isinstance(part, ast.Name) and part.id not in _FUNCTIONS for part in ast.walk(node))


# ── Checks, and values for a result


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether an expression holds (None: not measured), the value of its left side, the rest with
    the figures filled in, and the value of each path."""

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
    """Whether all `texts` are figures that use only these variants and phases."""
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
    """Whether `text` is an expression that uses only these variants and phases."""
    try:
        check(text, variants, phases)
    except ExpressionError:
        return False
    return True


def evaluate(text: str, result: Result, steady_in: str | None = None) -> Outcome:
    """Evaluate `text` for a result.

    `steady_in`: for a steady-state expression, the variant whose `before` phase is used.
    """
    tree, paths = parse(text)
    prefix = "" if steady_in is None else f"{steady_in}.before."
    values = {name: measured(prefix + path, result) for name, path in paths.items()}
    walk = Walk(values)
    holds = walk.truth(tree)
    left, rest = walk.describe(tree)
    by_path = {prefix + path: values[name] for name, path in paths.items()}
    return Outcome(holds=holds, measured=left, expected=rest, values=by_path)
