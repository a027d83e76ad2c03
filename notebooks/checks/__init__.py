"""Checks of the notebooks' exercises: each reports what it saw and what it wanted.

No check contains the answer: it computes it from the run, or tries the student's answer on a
running blog. The value `...` means that there is no answer yet.

Runs of the notebooks are saved in the folder `runs` beside this folder of notebooks,
where `lab open` finds them; the environment variable LAB_RUNS_DIR names another folder.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

# Before the lab is imported, which reads it.
if not os.environ.get("LAB_RUNS_DIR"):
    os.environ["LAB_RUNS_DIR"] = str(Path(__file__).resolve().parents[2] / "runs")

from lab.api.blogs import Blog
from lab.report.tracing.design import Dependency
from lab.results.oracles import all_up, chain_ms

Feed = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, repr=False)
class Feedback:
    """The verdict on an answer; `right` is None as long as there is no answer."""

    right: bool | None
    seen: str
    wanted: str

    def __repr__(self) -> str:
        verdict = {True: "Right.", False: "Not yet.", None: "No answer yet."}[self.right]
        return f"{verdict}\n  seen:   {self.seen}\n  wanted: {self.wanted}"


def unanswered(wanted: str) -> Feedback:
    """The feedback on `...`."""
    return Feedback(None, "...", wanted)


def check_set(answer: Any, true: Collection[Any], wanted: str) -> Feedback:
    """Check a set: how many elements are right, without saying which."""
    if answer is ...:
        return unanswered(wanted)
    if isinstance(answer, str) or not isinstance(answer, Collection):
        return Feedback(False, f"{answer!r}, which is not a set", wanted)
    given = set(answer)
    hits, extra = len(given & set(true)), len(given - set(true))
    seen = f"{hits} of {len(set(true))} found, {extra} too many"
    return Feedback(given == set(true), seen, wanted)


def check_numbers(
    answer: Any, true: Mapping[str, float], wanted: str, within: Mapping[str, float] | float
) -> Feedback:
    """Check numbers by name, each `within` a distance of the true one."""
    if answer is ...:
        return unanswered(wanted)
    if not isinstance(answer, Mapping) or set(answer) != set(true):
        return Feedback(False, repr(answer), f"numbers for {', '.join(true)}: {wanted}")
    wrong = [name for name in true if not _is_close(answer[name], true[name], within)]
    seen = f"{answer}; wrong: {', '.join(wrong)}" if wrong else f"{answer}"
    return Feedback(not wrong, seen, wanted)


def _is_close(given: Any, true: float, within: Any) -> bool:
    return isinstance(given, int | float) and abs(given - true) <= within


# ── 00 From scratch ──


def cut_off(answer: Any, needs: Iterable[Dependency], service: str) -> Feedback:
    """The services that cannot do all their work without `service`, directly or through others."""
    calls = [(need.service, need.other) for need in needs if need.how == "asks"]
    found = {service}
    while more := {caller for caller, callee in calls if callee in found} - found:
        found |= more
    wanted = f"the names of all services that ask {service}, directly or through another service"
    return check_set(answer, found - {service}, wanted)


def fifth_service(design: Mapping[str, Any], events: Collection[str]) -> Feedback:
    """The four steps for `likes`, on the bus."""
    wanted = (
        "all four filled in; it asks no other service; it consumes the event that announces a "
        "post; it publishes an event in the past tense (…ed); its POST path begins with the post"
    )
    if any(value is ... for value in design.values()):
        return unanswered(wanted)
    method, _, path = str(design["goal"]).partition(" ")
    wrong = []
    if not str(design["owns"]).strip():
        wrong.append("it owns nothing")
    if design["hears"] not in events:
        wrong.append(f"no service publishes {design['hears']!r}")
    elif design["hears"] != "PostCreated":
        wrong.append(f"{design['hears']} comes too late, or never, for some posts")
    if not str(design["tells"]).endswith("ed") or design["tells"] in events:
        wrong.append(f"{design['tells']!r} is not a new event in the past tense")
    if method != "POST" or not path.startswith("/posts/{post_id}/"):
        wrong.append(f"{design['goal']!r} does not say to which post a like belongs")
    return Feedback(not wrong, "; ".join(wrong) or str(design), wanted)


# ── 01 One request ──


def waited_for(answer: Any, trace: Any) -> Feedback:
    """The services that worked between a client's request and its response."""
    true = {step.service for step in trace.story.steps if step.kind == "server"}
    wanted = "the names of the services that worked before the client had its answer"
    return check_set(answer, true, wanted)


async def rejected(blogs: Mapping[str, Blog], text: Any, stacks: Any) -> Feedback:
    """A text that moderation rejects, and the stacks whose answer says so at once."""
    wanted = "a text that both reject in the end, and the names of the stacks that say so at once"
    if ... in (text, stacks):
        return unanswered(wanted)
    at_once, later = {}, {}
    for name, blog in blogs.items():
        post = await blog.post("Check")
        await blog.settle()
        at_once[name] = (await blog.comment(post, text))["status"]
        await blog.settle()
        entry = next(entry for entry in await blog.feed() if entry["id"] == post["id"])
        later[name] = entry["comments"][0]["status"]
    if set(later.values()) != {"rejected"}:
        return Feedback(False, f"in the end {later}", wanted)
    true = {name for name, status in at_once.items() if status == "rejected"}
    return check_set(stacks, true, wanted)


# ── 02 Latency adds up ──


async def delays(chain: Blog, ms: Any) -> Feedback:
    """Two delays, judged by the latency of a feed and of a post."""
    wanted = "a feed of 500 to 600 ms, and a post written within 150 ms"
    if ms is ...:
        return unanswered(wanted)
    if not isinstance(ms, Mapping) or not ms:
        return Feedback(False, repr(ms), "delays by service, as {'posts': 10, 'comments': 10}")
    await chain.heal()
    for service, delay in ms.items():
        await chain.fault("latency", service, ms=delay)
    try:
        feed, post = (await chain.feed()).ms, (await chain.post("Check")).ms
    finally:
        await chain.heal()
    seen = f"a feed in {feed:.0f} ms, a post in {post:.0f} ms"
    return Feedback(500 <= feed <= 600 and post <= 150, seen, wanted)


def saved(answer: Any) -> Feedback:
    """What two repairs save in a chain of 5 + 30 + 300 ms."""
    before = chain_ms(5, 30, 300)
    true = {"posts": before - chain_ms(5, 0, 300), "comments": before - chain_ms(5, 30, 150)}
    return check_numbers(answer, true, "the ms that each of the two repairs saves in a feed", 1)


# ── 03 When a service dies ──


def dark_cells(answer: Any, result: Any) -> Feedback:
    """Pairs (service that is down, request that fails) of the chain, read from the run."""
    chain = result["sync-chain"]
    cells = [
        (phase.removesuffix(" down"), kind)
        for phase in chain.phases
        if phase.endswith(" down") and not phase.startswith("event-bus")
        for kind in chain.phase(phase)
        if (chain.phase(phase)[kind].success or 0.0) < 0.5
    ]
    return check_set(answer, cells, "pairs (service down, request that fails)")


def up_share(answer: Any) -> Feedback:
    """The availability of the feed if each service is up 99 % of the time."""
    true = {"sync-chain": all_up(0.99, 3), "async-bus": all_up(0.99, 1)}
    return check_numbers(answer, true, "shares from 0 to 1, to three places", 0.0006)


# ── 04 The price of a copy ──


async def read_own(bus: Blog, feed_with: Callable[[Blog, Any], Awaitable[Feed]]) -> Feedback:
    """A feed with the author's own post, although its event reaches query late."""
    wanted = "a feed with the post that was just written, within 5 s"
    started_s = perf_counter()
    async with bus.fault("latency", "query", ms=150):
        post = await bus.post("Mine")
        try:
            feed = await asyncio.wait_for(feed_with(bus, post), 5)
        except TimeoutError:
            return Feedback(False, "no feed after 5 s", wanted)
    took_s = perf_counter() - started_s
    found = any(entry["id"] == post["id"] for entry in feed)
    seen = f"a feed of {len(feed)} posts after {took_s:.1f} s, {'with' if found else 'without'} it"
    return Feedback(found, seen, wanted)


def with_mine(merged: Callable[[Feed, Any], Feed]) -> Feedback:
    """The author's own post, shown from the response: once, and in its place."""
    wanted = "the own post once, newest first, whether or not the feed contains it already"
    old, mine = {"id": "1", "title": "Old", "comments": []}, {"id": "2", "title": "Mine"}
    newer, known = {"id": "3", "title": "Newer", "comments": []}, {**mine, "comments": []}
    for feed, true in [
        ([old], ["2", "1"]),
        ([known, old], ["2", "1"]),
        ([newer, known, old], ["3", "2", "1"]),
        ([newer, old], ["3", "2", "1"]),
        ([], ["2"]),
    ]:
        ids = [entry["id"] for entry in merged(list(feed), dict(mine))]
        if ids != true:
            given = [entry["id"] for entry in feed]
            return Feedback(False, f"from the feed {given} and the post '2' it makes {ids}", wanted)
    return Feedback(True, "all five feeds in order", wanted)
