"""The shapes of fleets: the blog itself, shards, a chain, a tree, random graphs of calls.

A chain, a tree or a graph stands between `query` and its readers' data: what `query` calls for each
feed in the chain. On the bus `query` has a copy; only in a chain do events pass the same services.

The random graphs have the depths and the numbers of callees that studies of large companies'
traces report. They are trees for most requests, with services that many callers share.

- `alibaba`: 2 to 6 deep, 1 to 10 callees (S. Luo et al., *An In-Depth Study of Microservice Call
  Graph and Runtime Performance*, IEEE TPDS 33(12), 2022, with the traces of *Characterizing
  Microservice Dependency and Performance*, SoCC 2021; sizes there are heavy-tailed).
- `meta`: wide and shallow, up to 50 callees (D. Huye, Y. Shkuro, R. Sambasivan, *Lifting the veil
  on Meta's microservice architecture*, USENIX ATC 2023; the 50 is in F. Du et al., *A Microservice
  Graph Generator with Production Characteristics*, ICS 2025).

The shares within these limits are not copied from any trace: a number of callees k has a weight of
k**-2, the heavy tail that the studies describe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random
from typing import Any

from lab.cluster.arrangements import hops_of
from lab.domain.services import SERVICES
from lab.support.text import did_you_mean


@dataclass(frozen=True)
class Hop:
    """A service beside the four. `calls`: the hops that it calls for each feed; "" is `comments`.
    `parts`: hops that it calls first, one after another."""

    name: str
    calls: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fleet:
    """A fleet: `shards` blogs, each with its `hops`, in an order in which callers come first.

    `starts`: the hops that a feed may begin with; each feed takes one of them, "" for `comments`.
    `beside`: whether `query` calls `comments` beside it. `copies`: who consumes the comments of
    whom, "" for `comments`. `feed_shards`: of how many shards one feed needs the comments;
    `feed_width`: into how many requests it splits each. `busy`: the share of time for which
    processes are provisioned to work (None: one process each). `probed`: whether the probe of a
    real run reads the feed.
    """

    shards: int = 1
    hops: tuple[Hop, ...] = ()
    starts: tuple[str, ...] = ("",)
    beside: bool = False
    copies: tuple[tuple[str, str], ...] = ()
    feed_shards: int = 1
    feed_width: int = 1
    busy: float | None = None
    probed: bool = True

    @property
    def services(self) -> int:
        return self.shards * (len(SERVICES) + len(self.hops))

    def starts_that_need(self, service: str) -> int:
        """With how many of its starts a feed calls this service, at once or through others."""
        needing = {service}
        for hop in reversed(self.hops):  # callees come later
            if needing.intersection(hop.calls):
                needing.add(hop.name)
        return sum(start in needing for start in self.starts)


def blog(options: Mapping[str, Any]) -> Fleet:
    """The blog of a variant, as large as in a real run."""
    return _chain(hops_of(options), bool(options.get("web")), options.get("width", 1))


def _chain(names: Sequence[str], web: bool = False, width: int = 1) -> Fleet:
    hops = tuple(
        Hop(name, (following,), tuple(names[index + 1 :]) if web else ())
        for index, (name, following) in enumerate(pairwise((*names, "")))
    )
    way = ("", *reversed(names), "query") if names else ()
    starts = (names[0],) if names else ("",)
    return Fleet(hops=hops, starts=starts, copies=tuple(pairwise(way)), feed_width=width)


def _names(count: int) -> list[str]:
    return [f"hop-{number}" for number in range(1, count + 1)]


def _tree(count: int, width: int) -> Fleet:
    """Each service calls `width` others; a feed needs all of them."""
    names = _names(count)
    hops = tuple(
        Hop(name, tuple(names[number * width + 1 : (number + 1) * width + 1]))
        for number, name in enumerate(names)
    )
    return Fleet(hops=hops, starts=(names[0],), beside=True)


@dataclass(frozen=True)
class _Published:
    """The limits of a study: levels of a call graph, and the callees of one service."""

    depths: tuple[int, int]
    most_callees: int


GRAPHS = {"alibaba": _Published((2, 6), 10), "meta": _Published((2, 3), 50)}
ENTRY_SHARE, HOT_SHARE = 0.1, 0.05
"""Of the services: those that a feed may begin with; those that half of all calls go to."""


def _graph(count: int, study: _Published, random: Random) -> Fleet:
    """A random graph without cycles: a service calls others of deeper levels. Each first service
    has its own depth."""
    names = _names(count)
    first, deepest = max(1, round(ENTRY_SHARE * count)), study.depths[1]
    level = {
        name: 1 if number < first else 2 + (number - first) * (deepest - 1) // (count - first)
        for number, name in enumerate(names)
    }
    by_level = [[name for name in names if level[name] == depth] for depth in range(deepest + 2)]
    hot = [own[: max(1, round(HOT_SHARE * len(own)))] for own in by_level]
    sizes = range(1, study.most_callees + 1)
    weights = [k**-2.0 for k in sizes]
    # A start of depth d calls level deepest - d + 2 at once, so its graphs have d levels.
    hops = []
    for name in names:
        following = level[name] + 1
        if level[name] == 1:
            following = deepest - random.randint(*study.depths) + 2
        pool = by_level[following] if following <= deepest else []
        wanted = random.choices(sizes, weights)[0]
        callees: dict[str, None] = {}
        while pool and len(callees) < min(wanted, len(pool)):
            popular = hot[following] if random.random() < 0.5 else pool
            callees[random.choice(popular if len(callees) < len(popular) else pool)] = None
        hops.append(Hop(name, tuple(callees)))
    return Fleet(hops=tuple(hops), starts=tuple(by_level[1]), beside=True)


# ── What a person asks for

KINDS = ("blog", "shards", "chain", "tree", *GRAPHS)


@dataclass(frozen=True)
class FleetSpec:
    """The size and the shape of a fleet: what a person asks for.

    `kind`: one of KINDS; `services`: how many it has in all; `width`: how many shards one feed
    needs, or how many others a service of a tree calls; `broken`: on how many shards a fault acts;
    `target`: the service that it acts on ("": as the scenario says); `busy`: the share of time for
    which its processes are provisioned to work on a calm day.
    """

    kind: str = "blog"
    services: int = len(SERVICES)
    width: int = 1
    broken: int = 1
    target: str = ""
    busy: float = 0.5
    seed: int = 7

    def of(self, options: Mapping[str, Any]) -> Fleet:
        """The fleet of a variant. Raises ValueError if it cannot have this size."""
        if self.kind not in KINDS:
            raise ValueError(f"--fleet: no shape {self.kind!r}. {did_you_mean(self.kind, KINDS)}")
        own = blog(options)
        if self.kind == "blog":
            for name, number, its in (
                ("services", self.services, len(SERVICES)),
                ("width", self.width, 1),
                ("broken", self.broken, 1),
            ):
                if number != its:
                    raise ValueError(
                        f"--{name}: saw {number}, and the blog itself has {its}. For a fleet: "
                        "--services 400, and no --fleet blog."
                    )
            return own
        if self.kind == "shards":
            return self._shards(own)
        count = self.services - len(SERVICES)
        least = 10 if self.kind in GRAPHS else 1
        if count < least:
            raise ValueError(
                f"--services: a fleet of shape {self.kind} has the blog's {len(SERVICES)} services "
                f"and at least {least} more; saw {self.services}."
            )
        if self.broken > 1:
            raise ValueError("--broken: only a fleet of shards has more than one.")
        if self.kind == "chain":
            fleet = _chain(_names(count))
        elif self.kind == "tree":
            fleet = _tree(count, max(2, self.width))
        else:
            fleet = _graph(count, GRAPHS[self.kind], Random(self.seed))
        return replace(fleet, busy=self.busy, probed=False)

    def _shards(self, own: Fleet) -> Fleet:
        shards = self.services // own.services
        if shards < 1:
            raise ValueError(f"--services: a shard has {own.services}; saw {self.services}.")
        for name, count in (("width", self.width), ("broken", self.broken)):
            if not 1 <= count <= shards:
                raise ValueError(
                    f"--{name}: expected 1 to {shards}, the number of shards in this fleet; saw "
                    f"{count}."
                )
        return replace(own, shards=shards, feed_shards=self.width, busy=self.busy, probed=False)


BLOG = FleetSpec()
