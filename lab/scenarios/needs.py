"""Who needs whom: read off the spans of a run, that is seen, and not what anybody has drawn.

A service that asks another one needs it to answer. One that tells or hears needs the bus, some
time or other, and nobody in order to answer.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from lab.scenarios.result import Variant

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
