"""What was measured of one half in the last two seconds: the figures that a sentence may use.

Where much comes in, the last half second of it is enough: who has just mended something shall not
read for two seconds more that it is broken.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lab.domain.directory import BUS
from lab.live.halves import Half
from lab.load.metrics import percentile

ENOUGH_ANSWERS = 12
ENOUGH_TENTHS = 5


@dataclass(frozen=True)
class Picture:
    """`tells`: its services keep copies; `by_events`: they ask, and over the bus.

    `reads` and `writes`: the share that went well, None where nothing came back. Milliseconds
    are medians of the tenths of a second. `down`, `hangs`: whose process did not answer at the end;
    `full`: whose workers were all busy while somebody waited for one; `untold`, `lag`: the events
    that wait in the fullest outbox, and before the slowest consumer, and whose these are."""

    name: str
    tells: bool
    by_events: bool
    reads: float | None
    writes: float | None
    read_ms: float | None
    answered_ms: float | None
    visible_ms: float | None
    feed_age_s: float
    down: tuple[str, ...]
    hangs: tuple[str, ...]
    full: tuple[str, int] | None
    untold: tuple[str, int]
    lag: tuple[str, int]
    errors: tuple[str, ...]

    @property
    def gone(self) -> tuple[str, ...]:
        """Who is not there, in whichever way."""
        return (*self.down, *self.hangs)


def picture(half: Half, tenths: Sequence[dict[str, Any]]) -> Picture:
    """From the ticks of one half, the newest last; at least one."""
    nodes: dict[str, dict[str, Any]] = tenths[-1]["nodes"]
    full = [(name, node["queue"]) for name, node in nodes.items() if node["queue"]]
    errors = [
        error for one in tenths for kind in ("reads", "writes") for error in one[kind]["errors"]
    ]
    return Picture(
        name=half.name,
        tells=half.built.ask_by is None,
        by_events=half.built.ask_by == "events",
        reads=_share(tenths, "reads"),
        writes=_share(tenths, "writes"),
        read_ms=_middle(tenths, "read_ms"),
        answered_ms=_middle(tenths, "answered_ms"),
        visible_ms=_middle(tenths, "visible_ms"),
        feed_age_s=tenths[-1]["feed_age_ms"] / 1_000,
        down=tuple(name for name, node in nodes.items() if node["up"] is False),
        hangs=tuple(name for name, node in nodes.items() if node["up"] == "hangs"),
        full=max(full, key=lambda one: one[1], default=None),
        untold=_most(nodes, "untold"),
        lag=_most(nodes, "lag"),
        errors=tuple(dict.fromkeys(errors)),
    )


def _share(tenths: Sequence[dict[str, Any]], kind: str) -> float | None:
    ok = answers = 0
    for place, one in enumerate(reversed(tenths)):
        if place >= ENOUGH_TENTHS and answers >= ENOUGH_ANSWERS:
            break
        ok += one[kind]["ok"]
        answers += one[kind]["ok"] + one[kind]["failed"]
    return ok / answers if answers else None


def _middle(tenths: Sequence[dict[str, Any]], name: str) -> float | None:
    medians = [one[name]["p50"] for one in tenths if one[name]]
    return percentile(medians[-2 * ENOUGH_TENTHS :], 50)


def _most(nodes: dict[str, dict[str, Any]], name: str) -> tuple[str, int]:
    counts = [(node, told[name]) for node, told in nodes.items() if told[name] and node != BUS]
    return max(counts, key=lambda one: one[1], default=("", 0))
