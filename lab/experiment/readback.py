"""What a stack holds of the writes of a run, read through the same public doors as any client's.

Each write carries a token, a text found nowhere else. Three tellers are asked for the tokens they
know: the owner (posts, comments), the feed, and moderation's record; and where the bus keeps a log
that can be read again, the log. What that means is the checker's business (`checker.py`).
"""

import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from lab.cluster.control_client import Answer
from lab.cluster.errors import LabCannotRun
from lab.cluster.fixtures import is_old, newest_old
from lab.cluster.stack import Stack
from lab.domain.services import BUS, HOPS

TOKEN = re.compile(r"w-\d+-\d+;")
_PAGE = 100


class CannotCheck(LabCannotRun):
    """A service did not show what it holds, so nothing can be said about it."""


@dataclass(frozen=True)
class Told:
    """An event on the log. `token`: of the write it is about; "" for what the load did not write.
    `post_id`: that of the post a comment is on; "" for a post."""

    type: str
    token: str
    id: str
    post_id: str


@dataclass
class Holdings:
    """How often each token is found: with its owner, in the feed, in the feed as decided; with its
    owner as pending, and with moderation. And which status a comment has here and there.

    `orders`: each list in which writes are shown, as tokens, those shown as oldest first. `log`:
    the bus's own record, in its order; empty where it keeps none. `only_the_feed`: nobody else
    could be asked, so `owned` is what the feed shows, and nobody can disagree.
    """

    owned: Counter[str] = field(default_factory=Counter)
    shown: Counter[str] = field(default_factory=Counter)
    decided: Counter[str] = field(default_factory=Counter)
    pending: Counter[str] = field(default_factory=Counter)
    judged: Counter[str] = field(default_factory=Counter)
    status_owned: dict[str, str] = field(default_factory=dict)
    status_shown: dict[str, str] = field(default_factory=dict)
    status_judged: dict[str, str] = field(default_factory=dict)
    orders: list[list[str]] = field(default_factory=list)
    log: list[Told] = field(default_factory=list)
    only_the_feed: bool = False


async def read_holdings(stack: Stack) -> Holdings:
    """Everything posts and comments hold, everything the feed shows, every verdict, and the log.

    Raises CannotCheck.
    """
    held = Holdings()
    await _owned(stack, held)
    await _in_the_feed(stack, held)
    async for verdict in _judgements(stack):
        tokens = TOKEN.findall(verdict["content"])
        held.judged.update(tokens)
        held.status_judged |= dict.fromkeys(tokens, verdict["status"])
    if stack.arrangement.keeps_a_log:
        answer = await stack.call("GET", stack.urls[BUS], f"/events?after={stack.history}")
        if not answer.ok:
            raise _hidden(stack, BUS, answer)
        events = (json.loads(line) for line in answer.body.splitlines() if line)
        # What a hop passes on is no news: it was told before, by comments.
        held.log = [_told(event) for event in events if _teller(event) not in HOPS]
    return held


async def _owned(stack: Stack, held: Holdings) -> None:
    post_ids: list[str] = []
    newest_first: list[str] = []
    async for post in pages(stack, "posts", "/posts"):
        newest_first += TOKEN.findall(post["title"])
        post_ids.append(post["id"])
    # Of a history nobody owns the posts, but readers may comment on those that they see.
    post_ids += newest_old(stack.history, _PAGE)
    held.owned.update(newest_first)
    held.orders.append(newest_first[::-1])
    of_post: dict[str, list[str]] = {}
    for start in range(0, len(post_ids), _PAGE):
        asked = ",".join(post_ids[start : start + _PAGE])
        answer = await stack.call("GET", stack.urls["comments"], f"/comments?post_ids={asked}")
        for comment in _shown(stack, "comments", answer):
            tokens = TOKEN.findall(comment["content"])
            held.owned.update(tokens)
            of_post.setdefault(comment["post_id"], []).extend(tokens)
            held.status_owned |= dict.fromkeys(tokens, comment["status"])
            if comment["status"] == "pending":
                held.pending.update(tokens)
    held.orders += of_post.values()


async def _in_the_feed(stack: Stack, held: Holdings) -> None:
    newest_first: list[str] = []
    seen_by_readers = newest_old(stack.history, _PAGE)
    async for entry in pages(stack, "query", "/feed"):
        if is_old(entry["id"]) and entry["id"] not in seen_by_readers:
            break
        newest_first += TOKEN.findall(entry["title"])
        oldest_first: list[str] = []
        for comment in entry["comments"]:
            tokens = TOKEN.findall(comment["content"])
            oldest_first += tokens
            held.status_shown |= dict.fromkeys(tokens, comment["status"])
            if comment["status"] != "pending":
                held.decided.update(tokens)
        held.shown.update(oldest_first)
        held.orders.append(oldest_first)
    held.shown.update(newest_first)
    held.decided.update(newest_first)
    held.orders.append(newest_first[::-1])


def _teller(event: dict[str, Any]) -> str:
    return str(event.get("source", "")).rpartition("/")[2]


def _told(event: dict[str, Any]) -> Told:
    """An event as the bus has it; a stranger's may lack whatever it likes."""
    data = event.get("data") or {}
    text = data.get("content") or data.get("title") or data.get("headline") or ""
    tokens = TOKEN.findall(str(text))
    names = (str(data.get("id", "")), str(data.get("post_id", "")))
    return Told(str(event.get("type", "")), tokens[0] if tokens else "", *names)


async def _judgements(stack: Stack) -> AsyncIterator[dict[str, Any]]:
    after = 0
    while True:
        path = f"/verdicts?limit={_PAGE}&after={after}"
        page = _shown(stack, "moderation", await stack.call("GET", stack.urls["moderation"], path))
        for verdict in page:
            yield verdict
        if len(page) < _PAGE:
            return
        after = page[-1]["number"]


async def pages(stack: Stack, target: str, path: str) -> AsyncIterator[dict[str, Any]]:
    """Every row of a paged list, newest first. Raises CannotCheck."""
    before = "~"
    while True:
        answer = await stack.call(
            "GET", stack.urls[target], f"{path}?limit={_PAGE}&before={before}"
        )
        page = _shown(stack, target, answer)
        for row in page:
            yield row
        if len(page) < _PAGE:
            return
        before = min(row["id"] for row in page)


def _shown(stack: Stack, target: str, answer: Answer) -> Sequence[dict[str, Any]]:
    if not answer.ok:
        raise _hidden(stack, target, answer)
    rows: Sequence[dict[str, Any]] = answer.data
    return rows


def _hidden(stack: Stack, target: str, answer: Answer) -> CannotCheck:
    return CannotCheck(
        f"After the run, {stack.name}'s {target} did not show what it holds "
        f"({answer.error or answer.data}), so what was lost can't be said. "
        "Its log is in the run's folder."
    )


def tokens_of(log: Iterable[Told], *types: str) -> list[str]:
    """The tokens of the events of these types, in the log's order."""
    return [told.token for told in log if told.type in types and told.token]


async def read_feed(stack: Stack) -> Holdings:
    """What the feed of somebody else's blog shows of the writes. Raises CannotCheck.

    Their lists say nothing of order, for an object by id may sort its keys as it likes.
    """
    held = Holdings(only_the_feed=True)
    async for entry in _entries(stack):
        held.shown.update(titles := TOKEN.findall(entry["title"]))
        held.decided.update(titles)
        for comment in entry["comments"]:
            held.shown.update(tokens := TOKEN.findall(comment["content"]))
            held.status_shown |= dict.fromkeys(tokens, comment["status"])
            if comment["status"] != "pending":
                held.decided.update(tokens)
    held.owned = held.shown
    return held


async def _entries(stack: Stack) -> AsyncIterator[dict[str, Any]]:
    """The whole feed, page by page. Ids that are there twice would lead round in a circle."""
    path, seen = f"/feed?limit={_PAGE}", set[str]()
    while True:
        answer = await stack.call("GET", stack.asked_at["query"], path)
        if not answer.ok:
            said = answer.data.get("detail") if isinstance(answer.data, dict) else answer.data
            raise CannotCheck(
                f"After the run, {stack.name} did not show its feed ({answer.error or said}), so "
                "what was lost can't be said. Its log is in the run's folder."
            )
        for entry in answer.data:
            yield entry
        last = answer.data[-1]["id"] if len(answer.data) == _PAGE else None
        if last is None or last in seen:
            return
        seen.add(last)
        path = f"/feed?limit={_PAGE}&before={quote(last, safe='')}"
