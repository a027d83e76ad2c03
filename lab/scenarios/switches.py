"""The switches of a variant, by arrangement, and the targets of a method.

A switch of another arrangement is refused, not ignored: a switch that silently does nothing would
make a demonstration false.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from lab.cluster.arrangements import (
    ARRANGEMENTS,
    BACKOFFS,
    BUS_SIDE_SWITCHES,
    EVERY_HOP,
    hops_of,
    with_engine,
)
from lab.cluster.bus_engines import (
    DELIVERIES,
    ENGINES,
    is_existing,
    parse_cluster_url,
    redact_login,
)
from lab.cluster.fault_rules import consumers_of, why_fault_inapplicable
from lab.domain.services import HOPS, SERVICES
from lab.scenarios.spec import MethodSpec, VariantSpec
from lab.service.options import WORKERS
from lab.support.text import did_you_mean

# ── Switches

Allowed = tuple[int, int] | tuple[float, float] | tuple[str, ...] | tuple[bool, bool]
"""The first and last of a range of whole numbers or shares; the allowed words; false and true."""

_BOOLEAN = (False, True)

_COMMON_SWITCHES: dict[str, Allowed] = {"workers": (1, 256), "idempotency": _BOOLEAN}
_HOP_SWITCHES: dict[str, Allowed] = {"depth": (1, len(HOPS))}
_CALLER_SWITCHES: dict[str, Allowed] = {
    **_COMMON_SWITCHES,
    "timeout_ms": (1, 60_000),
    "deadline": _BOOLEAN,
    "retries": (0, 10),
    "backoff": BACKOFFS,
    "retry_budget": (0.0, 1.0),
    "breaker": _BOOLEAN,
    "bulkhead": _BOOLEAN,
    "hedge": (1, 60_000),
    "fallback": _BOOLEAN,
    "work_ms": (1, 1_000),
}
BY_SERVICE = {
    "work_ms": (*SERVICES, *HOPS),
    "apply_ms": (*consumers_of(ARRANGEMENTS["async-bus"]), *HOPS),
}
"""Switches that are set for single services, with these services. The value is a table."""

ALSO_GLOBAL = ("apply_ms",)
"""The switches of BY_SERVICE that may also have one value, which is then for all services."""

SWITCHES: dict[str, dict[str, Allowed]] = {
    "sync-chain": {**_CALLER_SWITCHES, **_HOP_SWITCHES, "width": (2, 100), "web": _BOOLEAN},
    "async-bus": {
        **_COMMON_SWITCHES,
        **_HOP_SWITCHES,
        **{"bus": tuple(ENGINES), "delivery": DELIVERIES, "replicas": (1, 3)},
        **dict.fromkeys(BUS_SIDE_SWITCHES, _BOOLEAN),
        "apply_ms": (1, 1_000),
    },
    "request-reply": {**_CALLER_SWITCHES, "bus": ("log", "nats"), "replicas": (1, 3)},
    "monolith": _COMMON_SWITCHES,
}
"""The switches of each arrangement. In `async-bus` no service calls another one, so there is no
timeout."""


def parse_assignment(assignment: str) -> tuple[str, Any]:
    """`dead_letter=true` as name and value; a bare word is a text. Raises ValueError."""
    name, equals, value = assignment.partition("=")
    if not equals:
        raise ValueError(f"--set {assignment!r}: expected NAME=VALUE, as dead_letter=true.")
    try:
        return name, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name, value  # A bare word, as bus=nats.


_RETRY_SWITCHES = {"backoff", "retry_budget"}

_NO_ANSWER_WITHOUT_ID = (
    "questions by events need the log: on the course's bus an event has no id, so no answer could "
    "say which question it belongs to."
)


_NO_SOURCE = (
    "an event on the course's bus does not name its publisher, so an event that a hop "
    "forwarded looks like any other. Take the log, or NATS."
)


def variant_problems(key: str, name: str, spec: VariantSpec) -> Iterator[str]:
    """The problems of a variant: one sentence each, beginning with the key."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        yield f"{key}: a variant's name has small letters, digits and hyphens: sync-chain."
    arrangement = ARRANGEMENTS.get(spec.arrangement)
    if arrangement is None:
        yield (
            f"{key}: there is no arrangement {spec.arrangement!r}. "
            f"{did_you_mean(spec.arrangement, ARRANGEMENTS)} A variant that isn't named after its "
            'arrangement says: arrangement = "..."'
        )
    for target in spec.may_end:
        if arrangement and target not in arrangement.targets:
            yield f"{key}.may_end: no {target!r}. {did_you_mean(target, arrangement.targets)}"
    switches = SWITCHES.get(spec.arrangement, {})
    for switch, value in spec.options.items():
        if spec.arrangement == "request-reply" and (switch, value) == ("bus", "course"):
            yield f"{key}.bus: {_NO_ANSWER_WITHOUT_ID}"
        elif switch not in switches:
            kind = spec.arrangement
            yield f"{key}: {kind} has no switch {switch!r}. {did_you_mean(switch, switches)}"
        elif switch in BY_SERVICE and (isinstance(value, dict) or switch not in ALSO_GLOBAL):
            yield from _table_problems(key, switch, value, spec)
        elif switch == "bus" and is_existing(value):
            yield from _bus_url_problems(f"{key}.bus", value)
        elif expected := _mismatch(value, switches[switch]):
            alternative = ", or a cluster that is up: nats://HOST:PORT" if switch == "bus" else ""
            saw = redact_login(value)
            yield f"{key}.{switch}: saw {saw!r}; expected {expected}{alternative}."
    for switch in _RETRY_SWITCHES & spec.options.keys():
        if not spec.options.get("retries"):
            yield f"{key}.{switch}: concerns retries, and there are none. Add retries = 1, or more."
    if spec.options.get("bulkhead") and spec.options.get("workers") == 1:
        yield f"{key}.bulkhead: half of one worker is none. Take workers = 2, or more."
    yield from _fan_out_problems(key, spec.options)
    if spec.options.get("web") and spec.options.get("depth", 1) == 1:
        yield f"{key}.web: is about calls between hops, and there is one. Add depth = 2, or more."
    if "depth" in spec.options and spec.options.get("bus") == "course":
        yield f"{key}.depth: {_NO_SOURCE}"
    if "delivery" in spec.options and spec.options.get("bus") != "course":
        yield f'{key}.delivery: is a setting of the course\'s bus. Add bus = "course".'
    replicas = spec.options.get("replicas", 1)
    on_nats = spec.options.get("bus") == "nats" or is_existing(spec.options.get("bus"))
    if replicas != 1 and not on_nats:
        yield f'{key}.replicas: only NATS keeps copies of its log. Add bus = "nats".'
    if replicas == 2:
        yield f"{key}.replicas: with 2, one that is left is no majority. Take 1 or 3."


def _fan_out_problems(key: str, options: Mapping[str, Any]) -> Iterator[str]:
    width, workers = options.get("width", 1), options.get("workers", WORKERS)
    if not options.get("bulkhead") or type(width) is not int or type(workers) is not int:
        return
    if width > workers // 2:
        yield (
            f"{key}.bulkhead: each feed sends {width} requests side by side, and the bulkhead lets "
            f"{workers // 2} pass, half of the workers: it would refuse every feed. Take "
            f"workers = {2 * width}, or more, or leave out width or bulkhead."
        )


def _table_problems(key: str, switch: str, table: object, spec: VariantSpec) -> Iterator[str]:
    key, allowed = f"{key}.{switch}", SWITCHES[spec.arrangement][switch]
    hops = hops_of(spec.options) if type(spec.options.get("depth", 0)) is int else ()
    known = [service for service in BY_SERVICE[switch] if service in (*SERVICES, *hops)]
    if not isinstance(table, dict):
        yield f"{key}: saw {table!r}; it is set by service, as {{ comments = 20 }}."
        return
    for service, value in table.items():
        if service not in known:
            yield f"{key}: no {service!r} here. {did_you_mean(service, known)}"
        elif expected := _mismatch(value, allowed):
            yield f"{key}.{service}: saw {value!r}; expected {expected}."


def _bus_url_problems(key: str, bus: str) -> Iterator[str]:
    try:
        parse_cluster_url(bus)
    except ValueError as error:
        yield f"{key}: {error}"


def _mismatch(value: object, allowed: Allowed) -> str | None:
    """The expected value, in words, if `value` does not fit; else None."""
    first, last = allowed[0], allowed[-1]
    if isinstance(first, bool):
        return None if isinstance(value, bool) else "true or false"
    if isinstance(first, float) and isinstance(last, float):
        valid = isinstance(value, int | float) and first <= value <= last
        return None if valid else f"a share, {first} to {last}, or true for the usual one"
    if isinstance(first, int) and isinstance(last, int):
        valid = type(value) is int and first <= value <= last
        return None if valid else f"a whole number, {first} to {last}"
    return None if value in allowed else f"one of {', '.join(map(str, allowed))}"


# ── Targets of a method


def expand_targets(method: MethodSpec) -> list[MethodSpec]:
    """The method itself; for the target EVERY_HOP, one method for each possible hop. A variant
    without that hop is not affected."""
    targets = HOPS if method.target == EVERY_HOP else (method.target,)
    return [method.model_copy(update={"target": target}) for target in targets]


def why_method_inapplicable(method: MethodSpec, spec: VariantSpec) -> str | None:
    """Why a method cannot act in a variant, in a sentence; None when it can, or if the arrangement
    or the fault is not valid (another check reports this)."""
    arrangement = spec.base_arrangement
    if arrangement is None:
        return None
    if arrangement.external is None and not any(variant_problems("", "variant", spec)):
        arrangement = with_engine(arrangement, spec.options)
    try:
        fault = method.to_fault()
        return why_fault_inapplicable(fault, arrangement) or spec.why_impossible(fault)
    except ValueError:
        return None  # The check of the method itself reports this.
