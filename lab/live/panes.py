"""The two panes of the screen: which arrangement runs in each, and how it is drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lab.cluster.arrangements import ARRANGEMENTS, Arrangement, next_hop, with_engine
from lab.cluster.bus_engines import engine
from lab.domain.errors import Invalid
from lab.domain.services import BUS, CALLERS_OF, EVENT_CONSUMERS, HOPS, PUBLISHER_OF, TWINS

ENGINES = ("log", "course", "nats")
CLIENT = "client"


@dataclass(frozen=True)
class Pane:
    """One pane. `name` is unique, even when both panes have the same arrangement; `options`: the
    switches of the stack."""

    name: str
    arrangement: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def resolved_arrangement(self) -> Arrangement:
        """The arrangement, changed by the bus engine in the options."""
        return with_engine(ARRANGEMENTS[self.arrangement], self.options)

    def to_json(self) -> dict[str, Any]:
        """What the page needs to draw the pane, as JSON values."""
        arrangement = self.resolved_arrangement
        return {
            "name": self.name,
            "arrangement": self.arrangement,
            "engine": engine(self.options) if arrangement.has_bus else None,
            "side": "tell" if arrangement.ask_by is None else "ask",
            "nodes": list(arrangement.targets),
            "edges": [list(edge) for edge in list_edges(arrangement)],
        }


def make_panes(names: Sequence[str], bus: str | None) -> tuple[Pane, ...]:
    """One pane for each named arrangement; `bus`: the engine for those with a bus. Raises Invalid
    for an unknown arrangement, and for request-reply on the course's bus."""
    panes = []
    for index, name in enumerate(names):
        if name not in ARRANGEMENTS:
            known = ", ".join(ARRANGEMENTS)
            raise Invalid(f"There is no arrangement {name!r}. Known: {known}.", field="arrangement")
        if bus == "course" and name == "request-reply":
            raise Invalid("Questions by events need the log, or nats: there are ids.", field="bus")
        options = {"bus": bus} if bus and ARRANGEMENTS[name].has_bus else {}
        is_repeated = name in names[:index]
        panes.append(Pane(f"{name}-2" if is_repeated else name, name, options))
    return tuple(panes)


TWIN_PANES = make_panes(TWINS, None)


def list_edges(arrangement: Arrangement) -> list[tuple[str, str]]:
    """The lines of the drawing, each once: caller and callee, or publisher, bus and consumer."""
    hops = tuple(part for part in arrangement.processes if part in HOPS)
    if arrangement.ask_by is None:
        published = [
            (who, BUS) for who in (*(PUBLISHER_OF[event] for event in EVENT_CONSUMERS), *hops)
        ]
        consumed = [(BUS, who) for them in (*EVENT_CONSUMERS.values(), hops) for who in them]
        return list(dict.fromkeys([*published, *consumed]))
    calls = [
        (who, next_hop(target, who, hops)) for target, them in CALLERS_OF.items() for who in them
    ]
    calls += [(hop, next_hop("comments", hop, hops)) for hop in hops]
    if arrangement.ask_by != "events":
        return calls
    return list(dict.fromkeys(e for who, target in calls for e in ((who, BUS), (BUS, target))))
