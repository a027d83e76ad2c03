"""The names of the built-in scenarios: their order, their themes, and what to run first.

Nothing here reads a whole scenario, and no import is heavy: the shell's completion waits for it.
"""

import tomllib
from functools import cache
from importlib.resources import files

FIRST_HOUR = ("slow-service", "downed-service", "hung-service", "downed-bus", "read-your-writes")
"""The path for the first hour, in order."""

AFTERNOON = ("blast-radius", "lost-events", "retry-storm", "breaker", "dual-write")

THEMES: dict[str, tuple[str, ...]] = {
    "Calls, and what they cost": (
        *("slow-service", "downed-service", "hung-service", "flaky-service", "no-answer"),
        *("blast-radius", "chain-depth", "fan-out", "web"),
    ),
    "What helps the chain, at what price": (
        *("timeouts", "worker-pool", "retry-layers", "retry-storm", "breaker", "tail"),
    ),
    "Events, and what they cost": (
        *("downed-bus", "partition", "slow-bus", "slow-consumer", "burst", "catch-up"),
        *("new-service", "schema-change", "three-nodes"),
    ),
    "What happens to the data": (
        *("lost-events", "dropped-events", "dual-write", "duplicates", "half-done"),
        *("out-of-order", "poison-event", "rules"),
    ),
    "Where the chain is better": ("read-your-writes", "reject-early", "light-load"),
    "Other designs": ("request-reply", "monolith"),
    "How to measure": ("calm", "coordinated-omission"),
}

_ORDER = (
    *("calm", "slow-service", "downed-service", "hung-service", "flaky-service", "no-answer"),
    *("blast-radius", "request-reply", "monolith", "rules", "chain-depth", "fan-out", "web"),
    *("timeouts", "worker-pool", "retry-layers", "retry-storm", "breaker", "tail"),
    *("downed-bus", "partition", "slow-bus", "slow-consumer", "burst"),
    *("lost-events", "dropped-events", "dual-write", "duplicates", "half-done"),
    *("out-of-order", "poison-event"),
    *("schema-change", "catch-up", "new-service", "three-nodes"),
    *("read-your-writes", "reject-early", "light-load", "coordinated-omission"),
)
"""The recommended order; other scenarios follow by name."""


@cache
def builtin_names() -> tuple[str, ...]:
    """The names of the built-in scenarios, in the recommended order."""
    found = {
        entry.name.removesuffix(".toml")
        for entry in files("lab.scenarios").iterdir()
        if entry.name.endswith(".toml")
    }
    return (*(name for name in _ORDER if name in found), *sorted(found.difference(_ORDER)))


def read_title(name: str) -> str:
    """The title of a built-in scenario, whose file is read but not checked."""
    text = (files("lab.scenarios") / f"{name}.toml").read_text("utf-8")
    return str(tomllib.loads(text)["title"])


def theme_of(name: str) -> str:
    """The theme of a built-in scenario; "" for any other."""
    return next((theme for theme, names in THEMES.items() if name in names), "")


def stage_of(name: str) -> str:
    """When to run a scenario: `first hour`, `afternoon`, or `reference`."""
    if name in FIRST_HOUR:
        return "first hour"
    return "afternoon" if name in AFTERNOON else "reference"
