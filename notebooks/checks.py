"""What looks at the exercises of the notebooks, and says what it saw and what it wanted.

Nothing here is told beforehand: what is right is computed from the run, or tried on a blog that is
up. An exercise that nobody has begun has the value `...`, and is asked for in peace.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from lab.api.blogs import Blog
from lab.report.tracing.design import Dependency
from lab.results.oracles import all_up, chain_ms

Feed = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, repr=False)
class Said:
    """`right` is None as long as there is no answer."""

    right: bool | None
    seen: str
    wanted: str

    def __repr__(self) -> str:
        verdict = {True: "Right.", False: "Not yet.", None: "No answer yet."}[self.right]
        return f"{verdict}\n  seen:   {self.seen}\n  wanted: {self.wanted}"


def nothing(wanted: str) -> Said:
    """What is said to `...`."""
    return Said(None, "...", wanted)


def same_set(answer: Any, true: Collection[Any], wanted: str) -> Said:
    """An answer that is a set; how far off it is, and not where."""
    if answer is ...:
        return nothing(wanted)
    if isinstance(answer, str) or not isinstance(answer, Collection):
        return Said(False, f"{answer!r}, which is no set", wanted)
    given = set(answer)
    hits, much = len(given & set(true)), len(given - set(true))
    seen = f"{hits} of {len(set(true))} found, {much} too many"
    return Said(given == set(true), seen, wanted)


def near(
    answer: Any, true: Mapping[str, float], wanted: str, within: Mapping[str, float] | float
) -> Said:
    """Numbers by name, each within so much of the true one."""
    if answer is ...:
        return nothing(wanted)
    if not isinstance(answer, Mapping) or set(answer) != set(true):
        return Said(False, repr(answer), f"numbers for {', '.join(true)}: {wanted}")
    off = [name for name in true if not _close(answer[name], true[name], within)]
    seen = f"{answer}; not so: {', '.join(off)}" if off else f"{answer}"
    return Said(not off, seen, wanted)


def _close(given: Any, true: float, within: Any) -> bool:
    return isinstance(given, int | float) and abs(given - true) <= within


# ── 00 From scratch ──


def cut_off(answer: Any, needs: Iterable[Dependency], service: str) -> Said:
    """Which services can't do all their work without `service`, by way of others, too?"""
    asks = [(one.service, one.other) for one in needs if one.how == "asks"]
    found = {service}
    while more := {who for who, whom in asks if whom in found} - found:
        found |= more
    wanted = f"the names of all services that ask {service}, be it by way of another one"
    return same_set(answer, found - {service}, wanted)


def fifth_service(design: Mapping[str, Any], events: Collection[str]) -> Said:
    """The four steps for `likes`, on the bus."""
    wanted = (
        "all four filled in; it asks nobody; it hears the one event that says there is a post; it "
        "tells in the past tense (…ed); its POST stands under the post it belongs to"
    )
    if any(value is ... for value in design.values()):
        return nothing(wanted)
    method, _, path = str(design["goal"]).partition(" ")
    wrong = []
    if not str(design["owns"]).strip():
        wrong.append("it owns nothing")
    if design["hears"] not in events:
        wrong.append(f"nobody tells {design['hears']!r}")
    elif design["hears"] != "PostCreated":
        wrong.append(f"{design['hears']} comes too late, or not at all, for some posts")
    if not str(design["tells"]).endswith("ed") or design["tells"] in events:
        wrong.append(f"{design['tells']!r} says nothing new that has happened")
    if method != "POST" or not path.startswith("/posts/{post_id}/"):
        wrong.append(f"{design['goal']!r} doesn't say to which post it belongs")
    return Said(not wrong, "; ".join(wrong) or str(design), wanted)


# ── 01 One request ──


def waited_for(answer: Any, trace: Any) -> Said:
    """The services at work between a client's question and its answer."""
    true = {step.service for step in trace.story.steps if step.kind == "server"}
    wanted = "the names of the services that were at work before the client had its answer"
    return same_set(answer, true, wanted)


async def rejected(blogs: Mapping[str, Blog], text: Any, told: Any) -> Said:
    """A text that moderation rejects, and who learns of that from the answer."""
    wanted = "a text that ends up rejected in both, and the names of those that say so at once"
    if ... in (text, told):
        return nothing(wanted)
    at_once, later = {}, {}
    for name, blog in blogs.items():
        post = await blog.post("Check")
        await blog.settle()
        at_once[name] = (await blog.comment(post, text))["status"]
        await blog.settle()
        newest = next(one for one in await blog.feed() if one["id"] == post["id"])
        later[name] = newest["comments"][0]["status"]
    if set(later.values()) != {"rejected"}:
        return Said(False, f"in the end {later}", wanted)
    true = {name for name, status in at_once.items() if status == "rejected"}
    return same_set(told, true, wanted)


# ── 02 Latency adds up ──


async def delays(chain: Blog, ms: Any) -> Said:
    """Two delays, by what they do to two kinds of requests."""
    wanted = "a feed of 500 to 600 ms, and a post written within 150 ms"
    if ms is ...:
        return nothing(wanted)
    if not isinstance(ms, Mapping) or not ms:
        return Said(False, repr(ms), "delays by service, as {'posts': 10, 'comments': 10}")
    await chain.heal()
    for service, delay in ms.items():
        await chain.fault("latency", service, ms=delay)
    try:
        feed, post = (await chain.feed()).ms, (await chain.post("Check")).ms
    finally:
        await chain.heal()
    seen = f"a feed in {feed:.0f} ms, a post in {post:.0f} ms"
    return Said(500 <= feed <= 600 and post <= 150, seen, wanted)


def saved(answer: Any) -> Said:
    """What two repairs are worth, in a chain of 5 + 30 + 300 ms."""
    before = chain_ms(5, 30, 300)
    true = {"posts": before - chain_ms(5, 0, 300), "comments": before - chain_ms(5, 30, 150)}
    return near(answer, true, "how many ms of a feed each of the two repairs saves", 1)


# ── 03 When a service dies ──


def dark_cells(answer: Any, result: Any) -> Said:
    """(service that is down, request that fails) in the chain, by the run itself."""
    chain = result["sync-chain"]
    cells = [
        (phase.removesuffix(" down"), kind)
        for phase in chain.phases
        if phase.endswith(" down") and not phase.startswith("event-bus")
        for kind in chain.phase(phase)
        if (chain.phase(phase)[kind].success or 0.0) < 0.5
    ]
    return same_set(answer, cells, "pairs, as ('query', 'read_feed'): who is down, what fails")


def up_share(answer: Any) -> Said:
    """The feed's availability where each service is up 99 times in 100."""
    true = {"sync-chain": all_up(0.99, 3), "async-bus": all_up(0.99, 1)}
    return near(answer, true, "shares from 0 to 1, to three places", 0.0006)


# ── 04 The price of a copy ──


async def read_own(bus: Blog, feed_with: Callable[[Blog, Any], Awaitable[Feed]]) -> Said:
    """A feed in which one's own post stands, though query hears of it late."""
    wanted = "a feed in which the post stands that has just been written, within 5 s"
    begun_s = perf_counter()
    async with bus.fault("latency", "query", ms=150):
        post = await bus.post("Mine")
        try:
            feed = await asyncio.wait_for(feed_with(bus, post), 5)
        except TimeoutError:
            return Said(False, "no feed after 5 s", wanted)
    took_s = perf_counter() - begun_s
    there = any(one["id"] == post["id"] for one in feed)
    seen = f"a feed of {len(feed)} posts after {took_s:.1f} s, {'with' if there else 'without'} it"
    return Said(there, seen, wanted)


def with_mine(merged: Callable[[Feed, Any], Feed]) -> Said:
    """One's own post, shown from the answer: once, and at its place."""
    wanted = "the own post once, newest first, whether the feed knows it already or not"
    old, mine = {"id": "1", "title": "Old", "comments": []}, {"id": "2", "title": "Mine"}
    newer, known = {"id": "3", "title": "Newer", "comments": []}, {**mine, "comments": []}
    for feed, true in [
        ([old], ["2", "1"]),
        ([known, old], ["2", "1"]),
        ([newer, known, old], ["3", "2", "1"]),
        ([newer, old], ["3", "2", "1"]),
        ([], ["2"]),
    ]:
        ids = [one["id"] for one in merged(list(feed), dict(mine))]
        if ids != true:
            given = [one["id"] for one in feed]
            return Said(False, f"of the feed {given} and the post '2' it makes {ids}", wanted)
    return Said(True, "all five feeds in order", wanted)
