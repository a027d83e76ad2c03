"""The figures of a result by their paths: `sync-chain.during.read_feed.p50`.

    VARIANT.PHASE.ENDPOINT.FIGURE         sync-chain.during.read_feed.success
    VARIANT.PHASE.ENDPOINT.errors.KIND    sync-chain.during.read_feed.errors.timeout
    VARIANT.data.FIGURE                   async-bus.data.lost
    VARIANT.asks.FIGURE                   sync-chain.asks.retried
    VARIANT.databases.FIGURE              monolith.databases.files
    VARIANT.lag.SERVICE.FIGURE            async-bus.lag.query.drained_seconds
    VARIANT.newcomer.FIGURE               async-bus.newcomer.events_per_second
    VARIANT.web.FIGURE                    sync-chain.web.edges
    VARIANT.recovery_seconds              until all kinds of requests are as usual again
    VARIANT.recovery.ENDPOINT             until this kind is, in seconds
    VARIANT.ended                         number of its programs that exited by themselves
    VARIANT.stuck, .dead_letters          number of stuck services at the end, of dead letters
    VARIANT.processes, .memory_mib        number of its processes, and their memory

A phase whose name has spaces ("posts down") is written with underscores. Latencies are in ms;
`success` is a share from 0 to 1.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter

from lab.domain.services import SERVICES
from lab.results.dependencies import CALL_FIGURES, OF_NEEDS, call_count
from lab.results.result import (
    ENDPOINTS,
    FOLLOW_UPS,
    LAG_FIGURES,
    NEWCOMER_FIGURES,
    CheckerCounts,
    EndpointResult,
    LatencyOfAll,
    LatencySummary,
    RunResult,
    VariantResult,
    VisibilityLatency,
)
from lab.support.text import did_you_mean


class ExpressionError(ValueError):
    """An expression that cannot be evaluated; the message is a sentence about the expression."""


_ERROR_KIND = re.compile(r"timeout|refused|reset|http_\d{3}")

_ENDPOINT_FIGURES: dict[str, Callable[[EndpointResult], float | None]] = {
    "success": lambda endpoint: endpoint.success if endpoint.sent else None,
    **{name: attrgetter(name) for name in ("sent", "ok", "failed", "late", "dropped")},
    **{name: attrgetter(f"latency_ms.{name}") for name in LatencySummary.model_fields},
    "failed_after_p50": attrgetter("failed_after_ms.p50"),
    "all_p50": lambda endpoint: _of_all(endpoint, endpoint.of_all_ms, "p50"),
    "all_p95": lambda endpoint: _of_all(endpoint, endpoint.of_all_ms, "p95"),
    "degraded": lambda endpoint: endpoint.degraded if endpoint.sent else None,
    "retried": lambda endpoint: endpoint.retried if endpoint.sent else None,
    "stale": lambda endpoint: _share(endpoint.stale, endpoint.ok),
    "decided": lambda endpoint: _share(endpoint.decided, endpoint.ok),
}
_WRITE_FIGURES: dict[str, Callable[[EndpointResult], float | None]] = {
    "visible_p50": lambda endpoint: (endpoint.visible_ms or VisibilityLatency()).p50,
    "visible_p99": lambda endpoint: (endpoint.visible_ms or VisibilityLatency()).p99,
    "visible_max": lambda endpoint: (endpoint.visible_ms or VisibilityLatency()).max,
    "visible_all_p50": lambda endpoint: _of_all(endpoint, endpoint.visible_of_all_ms, "p50"),
    "visible_all_p95": lambda endpoint: _of_all(endpoint, endpoint.visible_of_all_ms, "p95"),
    "never_visible": lambda endpoint: endpoint.never_visible if endpoint.visible_ms else None,
}
VISIBILITY_FIGURES = tuple(_WRITE_FIGURES)
_DATA_FIGURES: dict[str, Callable[[CheckerCounts], float | None]] = {
    **{name: attrgetter(name) for name in CheckerCounts.model_fields if name != "visible_ms"},
    # Older results have no `missing`; where everything is settled, it is 0.
    "missing": lambda counts: counts.missing if counts.unsettled else 0,
    **{f"visible_{name}": attrgetter(f"visible_ms.{name}") for name in ("p50", "p99", "max")},
}
_DATABASE_FIGURES: dict[str, Callable[[VariantResult], float]] = {
    "files": lambda variant: len(_processes_by_file(variant)),
    "owned": lambda variant: sum(
        _processes_by_file(variant).get(f"{name}.db") == [name] for name in SERVICES
    ),
    "shared": lambda variant: sum(
        len(holders) > 1 for holders in _processes_by_file(variant).values()
    ),
    "foreign": lambda variant: sum(
        any(name != variant.database_owners.get(file) for name in holders)
        for file, holders in _processes_by_file(variant).items()
    ),
    "reached_in": lambda variant: len(variant.reached_in),
    "refused": lambda variant: sum(attempt.refused for attempt in variant.reached_in),
}
"""`files`: open database files. `owned`: services whose file only their own process has open.
`shared`: files open in several processes. `foreign`: files open in a process that is not their
owner. `reached_in`: attempts to open another service's file. `refused`: those that were refused."""


def _of_all(endpoint: EndpointResult, of_all: LatencyOfAll | None, name: str) -> float | None:
    """A latency of all requests: infinite where most failed, None where nothing was sent."""
    if of_all is None or not endpoint.sent:
        return None
    ms: float | None = getattr(of_all, name)
    return math.inf if ms is None else ms


def _share(part: int | None, whole: int) -> float | None:
    return None if part is None or not whole else part / whole


def _processes_by_file(variant: VariantResult) -> dict[str, list[str]]:
    """By file: the processes that have it open."""
    opened = variant.databases or {}
    files = dict.fromkeys(file for files in opened.values() for file in files)
    return {
        file: [process for process, open_files in opened.items() if file in open_files]
        for file in files
    }


def format_value(value: float | None, placeholder: str = "?") -> str:
    """A figure with four significant digits; up to 1 it has six, because 0.9996 is not 1."""
    if value is None:
        return placeholder
    if math.isinf(value):
        return "never"
    size = abs(value)
    return f"{value:.6g}" if size <= 1 else f"{value:.4g}" if size < 10_000 else f"{value:.0f}"


def phase_key(name: str) -> str:
    """A phase's name as it is written in paths: "posts down" is `posts_down`."""
    return name.replace(" ", "_")


def check_figure_path(
    path: str, variants: Sequence[str], phases: Sequence[str], steady: bool
) -> None:
    """Raise ExpressionError, with the nearest known name, unless the path leads to a figure."""
    parts = path.split(".")
    if steady:
        if parts[0] in variants:
            raise ExpressionError(
                f"{path!r} begins with a variant, but the steady state must hold for every "
                "variant before the fault. Begin with the endpoint: read_feed.success >= 0.99"
            )
        _check_endpoint_figure(path, parts)
        return
    _check_known(parts[0], variants, path, "variant")
    if len(parts) == 2 and parts[1] in _VARIANT_FIGURES:
        return
    others = ("data", "asks", "databases", "lag", "newcomer", "recovery", "web")
    second_parts = [*_VARIANT_FIGURES, *others, *map(phase_key, phases)]
    _check_known(parts[1] if len(parts) > 1 else "", second_parts, path, "phase")
    if parts[1] == "data":
        _check_known(".".join(parts[2:]), _DATA_FIGURES, path, "figure of the data")
    elif parts[1] == "asks":
        _check_known(".".join(parts[2:]), CALL_FIGURES, path, "figure of the questions")
    elif parts[1] == "databases":
        _check_known(".".join(parts[2:]), _DATABASE_FIGURES, path, "figure of the databases")
    elif parts[1] == "newcomer":
        _check_known(".".join(parts[2:]), NEWCOMER_FIGURES, path, "figure of the newcomer")
    elif parts[1] == "recovery":
        _check_known(".".join(parts[2:]), (*ENDPOINTS, *FOLLOW_UPS), path, "endpoint")
    elif parts[1] == "web":
        _check_known(".".join(parts[2:]), OF_NEEDS, path, "figure of the web")
    elif parts[1] == "lag":
        _check_known("".join(parts[2:3]), SERVICES, path, "service")
        _check_known(".".join(parts[3:]), LAG_FIGURES, path, "figure of the lag")
    elif parts[1] in _VARIANT_FIGURES:
        raise ExpressionError(f"{path!r} goes on after {parts[1]}, which is a figure itself.")
    else:
        _check_endpoint_figure(path, parts[2:])


def lookup(path: str, result: RunResult) -> float | None:
    """The figure at a path that `check_figure_path` accepts; None when it was not measured.

    If a fault acted and the variant did not recover while it was observed, `recovery_seconds` is
    infinite: that it did not recover is a measurement.
    """
    name, section, *rest = path.split(".")
    variant = result.variant(name)
    if variant is None:
        return None
    if section in _VARIANT_FIGURES:
        return _VARIANT_FIGURES[section](variant)
    if section == "data":
        return None if variant.data is None else _DATA_FIGURES[rest[0]](variant.data)
    if section == "asks":
        return call_count(variant, rest[0])
    if section == "databases":
        return None if variant.databases is None else _DATABASE_FIGURES[rest[0]](variant)
    if section == "newcomer":
        return NEWCOMER_FIGURES[rest[0]](variant.newcomers[0]) if variant.newcomers else None
    if section == "recovery":
        found = (variant.recovery or {}).get(rest[0], math.nan)
        return math.inf if found is None else None if math.isnan(found) else found
    if section == "web":
        return None if variant.attached else OF_NEEDS[rest[0]](variant)
    if section == "lag":
        return _lag_figure(variant, *rest)
    phase = next((each for key, each in variant.phases.items() if phase_key(key) == section), None)
    endpoint = phase.endpoints.get(rest[0]) if phase else None
    if phase is None or endpoint is None:
        return None
    if rest[1] == "rate":
        return endpoint.ok / phase.seconds
    if rest[1] == "errors":
        return endpoint.errors.get(rest[2], 0) if endpoint.sent else None
    return (_ENDPOINT_FIGURES | _WRITE_FIGURES)[rest[1]](endpoint)


def unproved_reason(path: str, result: RunResult) -> str:
    """Why the figure at a path is not measured: a fault on which it depends did not act as
    declared. "" if it did."""
    name, _, own_path = path.partition(".")
    variant = result.variant(name)
    unproved = variant.unproved if variant is not None else {}
    return next(
        (why for start, why in unproved.items() if f"{own_path}.".startswith(f"{start}.")), ""
    )


def lookup_bounds(path: str, result: RunResult) -> tuple[float, float] | None:
    """The two ends of the figure at a path: equal where it is certain, None where nothing was
    measured. They differ where the load was late (`lab/experiment/uncertainty.py`), and are
    infinite where a fault did not act as declared (`lab/experiment/fault_proof.py`)."""
    name, _, own_path = path.partition(".")
    variant = result.variant(name)
    bounds = variant.bounds if variant is not None else {}
    if unproved_reason(path, result):
        return -math.inf, math.inf
    if (ends := bounds.get(own_path)) is not None:
        return ends[0], math.inf if ends[1] is None else ends[1]
    endpoint, is_error, _ = own_path.partition(".errors.")
    if is_error and f"{endpoint}.errors" in bounds:
        # The error of a request whose outcome is not known may be of any kind.
        return 0.0, bounds[f"{endpoint}.errors"][1] or 0.0
    value = lookup(path, result)
    return None if value is None else (value, value)


def _lag_figure(variant: VariantResult, service: str, figure: str) -> float | None:
    """A figure of a consumer's lag. `drained_seconds` is infinite if there was a fault or an outage
    and the backlog never drained."""
    lag = variant.lag.get(service)
    if lag is None:
        return None
    disturbed = variant.faults or lag.outage_seconds is not None
    if figure == "drained_seconds" and lag.drained_seconds is None and disturbed:
        return math.inf
    return LAG_FIGURES[figure](lag)


def _recovery_seconds(variant: VariantResult) -> float | None:
    was_measured = variant.recovery is None or bool(variant.recovery)
    acted = any(fault.acted for fault in variant.faults)
    if variant.recovery_seconds is None and was_measured and acted:
        return math.inf
    return variant.recovery_seconds


_VARIANT_FIGURES: dict[str, Callable[[VariantResult], float | None]] = {
    "recovery_seconds": _recovery_seconds,
    "ended": lambda variant: len(variant.ended),
    "stuck": lambda variant: None if variant.stuck is None else len(variant.stuck),
    "dead_letters": lambda variant: (
        None if variant.dead_letters is None else sum(variant.dead_letters.values())
    ),
    "processes": lambda variant: variant.footprint.processes if variant.footprint else None,
    "memory_mib": lambda variant: variant.footprint.memory_mib if variant.footprint else None,
}


def _check_endpoint_figure(path: str, parts: Sequence[str]) -> None:
    endpoint, figure, kind = (*parts, "", "", "")[:3]
    _check_known(endpoint, (*ENDPOINTS, *FOLLOW_UPS), path, "endpoint")
    if figure == "errors" and len(parts) == 3:
        if not _ERROR_KIND.fullmatch(kind):
            raise ExpressionError(
                f"{path!r} has no error {kind!r}. "
                f"{did_you_mean(kind, ('timeout', 'refused', 'reset', 'http_503'))}"
            )
        return
    if endpoint == "read_feed" and figure in _WRITE_FIGURES:
        raise ExpressionError(
            f"{path!r}: reading the feed changes nothing that could become visible. "
            f"{', '.join(_WRITE_FIGURES)} belong to create_post and create_comment."
        )
    _check_known(
        ".".join(parts[1:]),
        (*_ENDPOINT_FIGURES, "rate", *_WRITE_FIGURES, "errors.timeout"),
        path,
        "figure",
    )


def _check_known(name: str, known: Iterable[str], path: str, what: str) -> None:
    names = list(known)
    if name in names:
        return
    if not name:
        raise ExpressionError(f"{path!r} ends where it should name its {what}: {', '.join(names)}.")
    minus = " (A minus needs spaces around it.)" if re.search(r"-[\d.]", name) else ""
    raise ExpressionError(f"{path!r} has no {what} {name!r}. {did_you_mean(name, names)}{minus}")
