"""Reads what a stack stores of a run's writes, over the same public HTTP routes as any client.

Each write carries a token, a text that occurs nowhere else. The tokens are read from the owners
(`posts`, `comments`), from the feed, from the record of `moderation` and, if the bus keeps a log
that can be read again, from the log. `checker.py` judges them.
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
    """A service did not return its data, so the checker cannot judge the writes."""


@dataclass(frozen=True)
class Told:
    """An event in the log. `token`: that of its write; "" if the load did not write it.
    `post_id`: the id of a comment's post; "" for a post."""

    type: str
    token: str
    id: str
    post_id: str


@dataclass
class Holdings:
    """How often each token is stored in each place, and the status of each comment there.

    `owned`: at its owner; `pending`: at its owner, as a pending comment. `shown`: in the feed;
    `decided`: in the feed, as a post or a comment that is not pending. `judged`: in the record of
    `moderation`. `status_owned`, `status_shown`, `status_judged`: the status of a comment in these
    places, by token. `orders`: the tokens of each ordered list, oldest first. `log`: the events of
    the bus in log order; empty if it keeps no log. `only_the_feed`: only the feed could be read, so
    `owned` is the same as `shown`.
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
    """Read all posts and comments, the whole feed, all moderation records, and the log.

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
        # Events that a hop forwards are left out: `comments` has published them before.
        held.log = [_told(event) for event in events if _teller(event) not in HOPS]
    return held


async def _owned(stack: Stack, held: Holdings) -> None:
    post_ids: list[str] = []
    newest_first: list[str] = []
    async for post in pages(stack, "posts", "/posts"):
        newest_first += TOKEN.findall(post["title"])
        post_ids.append(post["id"])
    # The posts of a history are in no database of `posts`, but readers may comment on the newest.
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
    """Parse an event of the log; an event of an external service may lack any field."""
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
    """Read the writes in the feed of an external system. Raises CannotCheck.

    `orders` stays empty: an external system may send objects keyed by id, which have no order.
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
    """The whole feed, page by page. Stops when a page ends with an id that ended a page before;
    otherwise it would never end."""
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
