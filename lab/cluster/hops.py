"""More services than four: small ones in a row, through which the feed's comments have to pass.

What they would do for a feed (a gateway, a login, a profile, a translation) is left out; that they
are needed is what counts. In the chain query's question about comments goes through all of them,
and so does the answer. On the bus what comments tells goes through all of them before query hears
it. Nobody else knows that they are there: each is told another address for `comments`, or whose
events it does not hear.
"""

from collections.abc import Mapping
from typing import Any

from lab.domain.directory import HOPS

EVERY_HOP = "hops"
"""The target of a fault that acts on each hop by itself."""


def hops_of(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The hops that a variant's options ask for, the one next to query first."""
    return HOPS[: options.get("depth", 1 if "width" in options else 0)]


def who_is(peer: str, asker: str, hops: tuple[str, ...]) -> str:
    """Who answers `asker` at the address it has for `peer`: its next hop, where it has one."""
    if peer != "comments" or asker not in ("query", *hops):
        return peer
    next_one = hops.index(asker) + 1 if asker in hops else 0
    return (*hops, peer)[next_one]


def not_heard(hearer: str, hops: tuple[str, ...]) -> tuple[str, ...]:
    """Of those who tell of comments, all whom `hearer` must not hear: each hears but one.

    Events go the way that answers go in the chain: from comments by the last hop to the first.
    """
    way = ("comments", *reversed(hops))
    place = (*way, "query").index(hearer) if hearer in (*hops, "query") else 1
    return tuple(name for name in way if hops and name != way[place - 1])


def argv_of(part: str, options: Mapping[str, Any], ask_by: str | None) -> list[str]:
    """What a service is told because there are hops; their addresses are told elsewhere."""
    hops = hops_of(options)
    argv = ["--name", part] if part in hops else []
    if ask_by is None:
        for teller in not_heard(part, hops):
            argv += ["--not-from", teller]
    if part == "query" and "width" in options:
        argv += ["--width", str(options["width"])]
    if part in hops and options.get("web"):
        for other in hops[hops.index(part) + 1 :]:
            argv += ["--also-ask", other]
    if part in hops and "width" in options and "workers" not in options:
        # Several questions of one feed may be held at once; none is to wait for another's worker.
        argv += ["--workers", str(max(8, 2 * options["width"]))]
    return argv
