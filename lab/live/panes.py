"""The two panes of the screen: which arrangement runs in each, and how it is drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lab.cluster.arrangements import ARRANGEMENTS, Arrangement, who_is, with_engine
from lab.cluster.bus_engines import engine
from lab.cluster.fault_rules import ASKED_BY, HEARD_BY
from lab.domain.errors import Invalid
from lab.domain.services import BUS, HOPS, TWINS

ENGINES = ("log", "course", "nats")
CLIENT = "client"

TOLD_BY = {
    "PostCreated": "posts",
    "CommentCreated": "comments",
    "CommentModerated": "moderation",
    "CommentUpdated": "comments",
}
"""The publisher of each event type."""


@dataclass(frozen=True)
class Half:
    """One pane. `name` is unique, even when both panes have the same arrangement; `options`: the
    switches of the stack."""

    name: str
    arrangement: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def built(self) -> Arrangement:
        """The arrangement, changed by the bus engine in the options."""
        return with_engine(ARRANGEMENTS[self.arrangement], self.options)

    def hello(self) -> dict[str, Any]:
        """What the page needs to draw the pane, as JSON values."""
        built = self.built
        return {
            "name": self.name,
            "arrangement": self.arrangement,
            "engine": engine(self.options) if built.has_bus else None,
            "side": "tell" if built.ask_by is None else "ask",
            "nodes": list(built.targets),
            "edges": [list(edge) for edge in edges(built)],
        }


def halves(names: Sequence[str], bus: str | None) -> tuple[Half, ...]:
    """One pane for each named arrangement; `bus`: the engine for those with a bus. Raises Invalid
    for an unknown arrangement, and for request-reply on the course's bus."""
    found = []
    for place, name in enumerate(names):
        if name not in ARRANGEMENTS:
            known = ", ".join(ARRANGEMENTS)
            raise Invalid(f"There is no arrangement {name!r}. Known: {known}.", field="arrangement")
        if bus == "course" and name == "request-reply":
            raise Invalid("Questions by events need the log, or nats: there are ids.", field="bus")
        options = {"bus": bus} if bus and ARRANGEMENTS[name].has_bus else {}
        twice = name in names[:place]
        found.append(Half(f"{name}-2" if twice else name, name, options))
    return tuple(found)


TWO = halves(TWINS, None)


def edges(built: Arrangement) -> list[tuple[str, str]]:
    """The lines of the drawing, each once: caller and callee, or publisher, bus and consumer."""
    hops = tuple(part for part in built.parts if part in HOPS)
    if built.ask_by is None:
        told = [(who, BUS) for who in (*(TOLD_BY[event] for event in HEARD_BY), *hops)]
        heard = [(BUS, who) for them in (*HEARD_BY.values(), hops) for who in them]
        return list(dict.fromkeys([*told, *heard]))
    asked = [(who, who_is(target, who, hops)) for target, them in ASKED_BY.items() for who in them]
    asked += [(hop, who_is("comments", hop, hops)) for hop in hops]
    if built.ask_by != "events":
        return asked
    return list(dict.fromkeys(e for who, target in asked for e in ((who, BUS), (BUS, target))))
