"""What a variant may set, by its arrangement: each switch is one idea, and has one row here.

A switch of another arrangement is refused, not passed over: a switch that does nothing is the
commonest lie of systems that demonstrate something.
"""

import re
from collections.abc import Iterator

from lab.cluster.topology import ARRANGEMENTS, BUS_SIDE_SWITCHES, DELIVERIES, ENGINES
from lab.scenarios.figures import did_you_mean
from lab.scenarios.spec import VariantSpec

Allowed = tuple[int, int] | tuple[str, ...] | tuple[bool, bool]
"""A whole number from one to the other, one of these words, or true and false."""

_ON_OR_OFF = (False, True)

_WORKERS: dict[str, Allowed] = {"workers": (1, 64)}
_ASKERS: dict[str, Allowed] = {**_WORKERS, "timeout_ms": (1, 60_000)}
SWITCHES: dict[str, dict[str, Allowed]] = {
    "sync-chain": _ASKERS,
    "async-bus": {
        **_WORKERS,
        **{"bus": tuple(ENGINES), "delivery": DELIVERIES, "replicas": (1, 3)},
        **dict.fromkeys(BUS_SIDE_SWITCHES, _ON_OR_OFF),
    },
    "request-reply": {**_ASKERS, "bus": ("log", "nats"), "replicas": (1, 3)},
    "monolith": _WORKERS,
}
"""A service on the bus asks nobody, so there is no time after which it would stop waiting."""

_NO_ANSWER_WITHOUT_ID = (
    "questions by events need the log: on the course's bus an event has no id, so no answer could "
    "say which question it belongs to."
)


def variant_problems(key: str, name: str, spec: VariantSpec) -> Iterator[str]:
    """What is wrong with a variant: one sentence each, the key first."""
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
        elif meant := _not_as_meant(value, switches[switch]):
            yield f"{key}.{switch}: saw {value!r}; it was meant to be {meant}."
    if "delivery" in spec.options and spec.options.get("bus") != "course":
        yield f'{key}.delivery: is how the course\'s bus delivers; it needs bus = "course".'
    replicas = spec.options.get("replicas", 1)
    if replicas != 1 and spec.options.get("bus") != "nats":
        yield f'{key}.replicas: only one engine keeps copies of itself; it needs bus = "nats".'
    if replicas == 2:
        yield f"{key}.replicas: of two, the one that is left is no majority. Take 1 or 3."


def _not_as_meant(value: object, allowed: Allowed) -> str | None:
    """What was meant, in words, when `value` is something else."""
    first, last = allowed[0], allowed[-1]
    if isinstance(first, bool):
        return None if isinstance(value, bool) else "true or false"
    if isinstance(first, int) and isinstance(last, int):
        right = type(value) is int and first <= value <= last
        return None if right else f"a whole number, {first} to {last}"
    return None if value in allowed else f"one of {', '.join(map(str, allowed))}"
