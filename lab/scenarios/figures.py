"""The figures of a result by their paths: `sync-chain.during.read_feed.p50`.

    VARIANT.PHASE.ENDPOINT.FIGURE         sync-chain.during.read_feed.success
    VARIANT.PHASE.ENDPOINT.errors.KIND    sync-chain.during.read_feed.errors.timeout
    VARIANT.data.FIGURE                   async-bus.data.lost
    VARIANT.recovery_seconds
    VARIANT.ended                         how many of its programs ended by themselves

A phase whose name has blanks ("posts down") is written with underscores. Latencies are ms, success
is a share from 0 to 1.
"""

import difflib
import math
import re
from collections.abc import Callable, Iterable, Sequence

from lab.scenarios.result import AT_ONCE, ENDPOINTS, Data, Endpoint, Result, Variant, Visible


class ExpressionError(ValueError):
    """An expression that can't be evaluated; the message is a sentence about the expression."""


_ERROR_KIND = re.compile(r"timeout|refused|reset|http_\d{3}")

_OF_ENDPOINT: dict[str, Callable[[Endpoint], float | None]] = {
    "success": lambda of: of.success if of.sent else None,
    "sent": lambda of: of.sent,
    "ok": lambda of: of.ok,
    "failed": lambda of: of.failed,
    "late": lambda of: of.late,
    "dropped": lambda of: of.dropped,
    "p50": lambda of: of.latency_ms.p50,
    "p90": lambda of: of.latency_ms.p90,
    "p95": lambda of: of.latency_ms.p95,
    "p99": lambda of: of.latency_ms.p99,
    "max": lambda of: of.latency_ms.max,
    "mean": lambda of: of.latency_ms.mean,
    "failed_after_p50": lambda of: of.failed_after_ms.p50,
}
_OF_WRITE: dict[str, Callable[[Endpoint], float | None]] = {
    "visible_p50": lambda of: (of.visible_ms or Visible()).p50,
    "visible_p99": lambda of: (of.visible_ms or Visible()).p99,
    "visible_max": lambda of: (of.visible_ms or Visible()).max,
    "never_visible": lambda of: of.never_visible if of.visible_ms else None,
}
_OF_DATA: dict[str, Callable[[Data], float | None]] = {
    "acknowledged": lambda of: of.acknowledged,
    "visible": lambda of: of.visible,
    "lost": lambda of: of.lost,
    "duplicated": lambda of: of.duplicated,
    "unsettled": lambda of: of.unsettled,
    "undecided": lambda of: of.undecided,
    "diverged": lambda of: of.diverged,
    "refused_kept": lambda of: of.refused_kept,
    "unknown": lambda of: of.unknown,
    "unknown_kept": lambda of: of.unknown_kept,
    "visible_p50": lambda of: of.visible_ms.p50,
    "visible_p99": lambda of: of.visible_ms.p99,
    "visible_max": lambda of: of.visible_ms.max,
}


def did_you_mean(seen: str, known: Iterable[str]) -> str:
    """A sentence: the nearest known name, or all of them."""
    names = list(known)
    near = [name for name in names if len(seen) > 2 and name.startswith(seen)]
    near = near or difflib.get_close_matches(seen, names, n=1, cutoff=0.6)
    return f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(names)}."


def written(value: float | None, none: str = "?") -> str:
    """A figure with four digits that count; a share keeps six, for 0.9996 is not 1."""
    if value is None:
        return none
    if math.isinf(value):
        return "never"
    size = abs(value)
    return f"{value:.6g}" if size <= 1 else f"{value:.4g}" if size < 10_000 else f"{value:.0f}"


def phase_key(name: str) -> str:
    """A phase's name as paths have it: "posts down" is `posts_down`."""
    return name.replace(" ", "_")


def known_path(path: str, variants: Sequence[str], phases: Sequence[str], steady: bool) -> None:
    """Raise ExpressionError, with what was probably meant, unless the path leads to a figure."""
    parts = path.split(".")
    if steady:
        if parts[0] in variants:
            raise ExpressionError(
                f"{path!r} begins with a variant, but the steady state must hold for every "
                "variant before the fault. Begin with the endpoint: read_feed.success >= 0.99"
            )
        _known_figure(path, parts)
        return
    _one_of(parts[0], variants, path, "variant")
    if len(parts) == 2 and parts[1] in _OF_VARIANT:
        return
    seconds = [*_OF_VARIANT, "data", *map(phase_key, phases)]
    _one_of(parts[1] if len(parts) > 1 else "", seconds, path, "phase")
    if parts[1] == "data":
        _one_of(".".join(parts[2:]), _OF_DATA, path, "figure of the data")
    elif parts[1] in _OF_VARIANT:
        raise ExpressionError(f"{path!r} goes on after {parts[1]}, which is a figure itself.")
    else:
        _known_figure(path, parts[2:])


def measured(path: str, result: Result) -> float | None:
    """The figure at a path that `known_path` accepts; None when it was not measured.

    A variant that was hurt and did not recover in the time it was watched has infinite
    `recovery_seconds`: not to recover is a measurement.
    """
    name, where, *rest = path.split(".")
    variant = result.variant(name)
    if variant is None:
        return None
    if where in _OF_VARIANT:
        return _OF_VARIANT[where](variant)
    if where == "data":
        return None if variant.data is None else _OF_DATA[rest[0]](variant.data)
    phase = next((of for key, of in variant.phases.items() if phase_key(key) == where), None)
    endpoint = phase.endpoints.get(rest[0]) if phase else None
    if endpoint is None:
        return None
    if rest[1] == "errors":
        return endpoint.errors.get(rest[2], 0) if endpoint.sent else None
    return (_OF_ENDPOINT | _OF_WRITE)[rest[1]](endpoint)


def _recovery(variant: Variant) -> float | None:
    if variant.recovery_seconds is None and any(fault.acted for fault in variant.faults):
        return math.inf
    return variant.recovery_seconds


_OF_VARIANT: dict[str, Callable[[Variant], float | None]] = {
    "recovery_seconds": _recovery,
    "ended": lambda of: len(of.ended),
}


def _known_figure(path: str, parts: Sequence[str]) -> None:
    endpoint, figure, kind = (*parts, "", "", "")[:3]
    _one_of(endpoint, (*ENDPOINTS, *AT_ONCE), path, "endpoint")
    if figure == "errors" and len(parts) == 3:
        if not _ERROR_KIND.fullmatch(kind):
            raise ExpressionError(
                f"{path!r} has no error {kind!r}. "
                f"{did_you_mean(kind, ('timeout', 'refused', 'reset', 'http_503'))}"
            )
        return
    if endpoint == "read_feed" and figure in _OF_WRITE:
        raise ExpressionError(
            f"{path!r}: reading the feed changes nothing that could become visible. "
            f"{', '.join(_OF_WRITE)} belong to create_post and create_comment."
        )
    _one_of(".".join(parts[1:]), (*_OF_ENDPOINT, *_OF_WRITE, "errors.timeout"), path, "figure")


def _one_of(seen: str, known: Iterable[str], path: str, what: str) -> None:
    names = list(known)
    if seen in names:
        return
    if not seen:
        raise ExpressionError(f"{path!r} ends where it should name its {what}: {', '.join(names)}.")
    minus = " (A minus needs spaces around it.)" if re.search(r"-[\d.]", seen) else ""
    raise ExpressionError(f"{path!r} has no {what} {seen!r}. {did_you_mean(seen, names)}{minus}")
