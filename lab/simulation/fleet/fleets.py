"""The shapes of fleets: the blog itself, shards, a chain, a tree, a random graph of calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from lab.cluster.arrangements import hops_of
from lab.domain.services import SERVICES


@dataclass(frozen=True)
class Hop:
    """A service between `query` and `comments`. `calls`: names of the hops that it calls for each
    feed, with the share of feeds; "" is `comments`. `parts`: hops that it calls first."""

    name: str
    calls: tuple[tuple[str, float], ...]
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fleet:
    """A fleet: `shards` blogs, each with its hops. `feed_shards`: of how many shards one feed needs
    the comments; `feed_width`: into how many requests it splits each; `busy`: the share of time for
    which processes are provisioned to work (None: one process each); `probed`: whether the probe
    of a real run reads the feed. `copies`: who consumes the comments of whom, "" for `comments`."""

    shards: int = 1
    hops: tuple[Hop, ...] = ()
    copies: tuple[tuple[str, str], ...] = ()
    feed_shards: int = 1
    feed_width: int = 1
    busy: float | None = None
    probed: bool = True

    @property
    def services(self) -> int:
        return self.shards * (len(SERVICES) + len(self.hops))


def blog(options: Mapping[str, Any]) -> Fleet:
    """The blog of a variant, as large as in a real run."""
    return _chain(hops_of(options), bool(options.get("web")), options.get("width", 1))


def _chain(names: tuple[str, ...], web: bool = False, width: int = 1) -> Fleet:
    hops = tuple(
        Hop(name, ((following, 1.0),), names[index + 1 :] if web else ())
        for index, (name, following) in enumerate(pairwise((*names, "")))
    )
    way = ("", *reversed(names), "query") if names else ()
    return Fleet(hops=hops, copies=tuple(pairwise(way)), feed_width=width)


@dataclass(frozen=True)
class FleetSpec:
    """The size and the shape of a fleet: what a person asks for.

    `kind`: one of KINDS; `services`: how many it has in all; `width`: how many shards, or callees,
    one feed needs at once; `broken`: on how many shards a fault acts; `busy`: the share of time for
    which its processes are provisioned to work on a calm day.
    """

    kind: str = "blog"
    services: int = len(SERVICES)
    width: int = 1
    broken: int = 1
    busy: float = 0.5
    seed: int = 7

    def of(self, options: Mapping[str, Any]) -> Fleet:
        """The fleet of a variant. Raises ValueError if it cannot have this size."""
        own = blog(options)
        if self.kind == "blog":
            return own
        each = own.services
        shards = self.services // each
        if not shards:
            raise ValueError(f"--services: a shard has {each} services; take {each} or more.")
        if not 1 <= self.width <= shards:
            raise ValueError(
                f"--width: expected 1 to {shards}, which is how many shards there are."
            )
        if not 1 <= self.broken <= shards:
            raise ValueError(f"--broken: expected 1 to {shards}, the number of shards.")
        return replace(own, shards=shards, feed_shards=self.width, busy=self.busy, probed=False)


BLOG = FleetSpec()
