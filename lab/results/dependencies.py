"""Who needs whom: read off the spans of a run, that is seen, and not what anybody has drawn.

A service that asks another one needs it to answer. One that tells or hears needs the bus, some
time or other, and nobody in order to answer.

What became of the questions that services asked each other, as the services counted it.

A switch that protects has to show in these counts, or it did nothing. They are asked for at the
end of a run; a process that was killed meanwhile has taken its counts up to then with it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.results.result import Variant
from lab.service.call_counters import KINDS

if TYPE_CHECKING:
    from lab.cluster.stack import Stack


# ── Who needs whom: read off the spans of a run, that is seen, and not what anybody has drawn.

Span = Mapping[str, Any]


def read_needs(folder: Path, variant: str) -> dict[str, Any]:
    """The keys `asked` and `on_the_bus` of a variant, from the spans that its programs left."""
    by_id: dict[str, Span] = {}
    for file in folder.glob(f"{variant}.*.spans.ndjson"):
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                span = json.loads(line)
            except ValueError:
                continue  # Who was killed may have left half a line.
            by_id[span["span"]] = span
    asked: dict[str, set[str]] = {}
    on_the_bus: set[str] = set()
    for span in by_id.values():
        teller = by_id.get(span["parent"])
        if span["kind"] == "consumer":
            on_the_bus |= {span["service"], *({teller["service"]} if teller else ())}
        elif teller and teller["service"] != span["service"]:
            asked.setdefault(teller["service"], set()).add(span["service"])
    return {
        "asked": {name: sorted(asked[name]) for name in sorted(asked)},
        "on_the_bus": sorted(on_the_bus),
    }


def edges(variant: Variant) -> int:
    """The threads of the web: pairs of who asks and who is asked, and whoever is on the bus."""
    return sum(map(len, variant.asked.values())) + len(variant.on_the_bus)


def services(variant: Variant) -> int:
    """How many services were seen to have to do with another one."""
    return len({*variant.asked, *_flat(variant.asked.values()), *variant.on_the_bus})


def hanging(variant: Variant) -> int:
    """Pairs of services of which one needs the other, be it by way of third ones."""
    return sum(len(_needed_by(name, variant.asked)) for name in variant.asked)


def _needed_by(name: str, asked: Mapping[str, Iterable[str]]) -> set[str]:
    needed: set[str] = set()
    todo = [name]
    while todo:
        new = set(asked.get(todo.pop(), ())) - needed
        needed |= new
        todo += new
    return needed - {name}


def _flat(lists: Iterable[Iterable[str]]) -> Iterable[str]:
    return (name for names in lists for name in names)


OF_NEEDS: dict[str, Callable[[Variant], int]] = {
    "services": services,
    "edges": edges,
    "hanging": hanging,
}
"""The figures of `VARIANT.web`."""


# ── What became of the questions that services asked each other, as the services counted it.

FIGURES = (*KINDS, "given_up")


async def read_asks(stack: Stack) -> dict[str, Any]:
    """The keys `asks` and `given_up` of a variant; none where nobody counts such a thing."""
    if stack.arrangement.ask_by not in ("http", "events"):
        return {}
    services = stack.arrangement.services
    told = await asyncio.gather(*(stack.state(name) for name in services))
    states = {name: state for name, state in zip(services, told, strict=True) if state is not None}
    return {
        "asks": {name: state["asks"] for name, state in states.items() if state.get("asks")},
        "given_up": sum(state.get("given_up", 0) for state in states.values()),
    }


def asks_figure(variant: Variant, figure: str) -> float | None:
    """One of FIGURES, over all services and whom they asked; None when nobody counted."""
    if variant.asks is None or figure == "given_up":
        return variant.given_up
    return sum(
        kinds.get(figure, 0) for by_whom in variant.asks.values() for kinds in by_whom.values()
    )
