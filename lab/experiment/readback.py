"""Reads what a stack stores of a run's writes, over the same public HTTP routes as any client.

Each write carries a token, a text that occurs nowhere else. The tokens are read from the owners
(`posts`, `comments`), from the feed, from the record of `moderation` and, if the bus keeps a log
that can be read again, from the log. `checker.py` judges them.
"""

import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from lab.cluster.control_client import ControlResponse
from lab.cluster.errors import LabCannotRun
from lab.cluster.fixtures import is_history_id, newest_history_ids
from lab.cluster.stack import Stack
from lab.domain.services import BUS, HOPS

TOKEN = re.compile(r"w-\d+-\d+;")
_PAGE = 100


class CannotCheck(LabCannotRun):
    """A service did not return its data, so the checker cannot judge the writes."""


@dataclass(frozen=True)
class LoggedEvent:
    """An event in the log. `token`: that of its write; "" if the load did not write it.
    `post_id`: the id of a comment's post; "" for a post. `text`: a title or a content."""

    type: str
    token: str
    id: str
    post_id: str
    text: str = ""
    status: str = ""


@dataclass(frozen=True)
class StoredCopy:
    """A copy of a post or comment in one place, with its content.

    `kind`: `post`, `comment`, or "" for an event about neither. `token`: "" if the load did
    not write it. `id` is "" in the record of `moderation`. `post_id`, `status`: "" if the place has
    none.
    """

    kind: str
    token: str
    id: str
    post_id: str
    text: str
    status: str


@dataclass
class StoredState:
    """How often each token is stored in each place, and the status of each comment there.

    `pending_at_owner`: as a pending comment. `decided_in_feed`: as a post, or as a comment that is
    not pending. `by_moderation`: in the record of `moderation`. `…_status`: the status of a comment
    in these places, by token. `ordered_lists`: the tokens of each ordered list, oldest first.
    `log`: the events of the bus in log order; empty if it keeps no log. `copies`: each post and
    comment in each place, with its content, except those in the log. `feed_only`: only the feed
    could be read, so `by_owner` is the same as `in_feed`.
    """

    by_owner: Counter[str] = field(default_factory=Counter)
    in_feed: Counter[str] = field(default_factory=Counter)
    decided_in_feed: Counter[str] = field(default_factory=Counter)
    pending_at_owner: Counter[str] = field(default_factory=Counter)
    by_moderation: Counter[str] = field(default_factory=Counter)
    owner_status: dict[str, str] = field(default_factory=dict)
    feed_status: dict[str, str] = field(default_factory=dict)
    moderation_status: dict[str, str] = field(default_factory=dict)
    ordered_lists: list[list[str]] = field(default_factory=list)
    log: list[LoggedEvent] = field(default_factory=list)
    copies: list[StoredCopy] = field(default_factory=list)
    feed_only: bool = False

    def keep_only(self, group: int) -> None:
        """Forget the writes of earlier runs: those with a token of another group."""
        own = f"w-{group}-"
        self.copies = [one for one in self.copies if not one.token or one.token.startswith(own)]
        self.log = [event for event in self.log if not event.token or event.token.startswith(own)]

    def add_post(self, post: Mapping[str, Any]) -> None:
        """Add the copy of a post."""
        title = post["title"]
        self.copies.append(StoredCopy("post", first_token(title), post["id"], "", title, ""))

    def add_comment(self, comment: Mapping[str, Any], post_id: str) -> None:
        """Add the copy of a comment, which was found under the post with the id `post_id`."""
        content = comment["content"]
        self.copies.append(
            StoredCopy(
                "comment",
                first_token(content),
                str(comment.get("id", "")),
                post_id,
                content,
                comment["status"],
            )
        )


async def read_stored_state(stack: Stack) -> StoredState:
    """Read all posts and comments, the whole feed, all moderation records, and the log.

    Raises CannotCheck.
    """
    stored = StoredState()
    await _read_owners(stack, stored)
    await _read_feed_entries(stack, stored)
    async for record in _read_moderation_records(stack):
        tokens = TOKEN.findall(record["content"])
        stored.by_moderation.update(tokens)
        stored.moderation_status |= dict.fromkeys(tokens, record["status"])
        stored.add_comment(record, post_id="")
    if stack.arrangement.has_replayable_log:
        answer = await stack.call("GET", stack.urls[BUS], f"/events?after={stack.history_length}")
        if not answer.ok:
            raise _unreadable(stack, BUS, answer)
        events = (json.loads(line) for line in answer.body.splitlines() if line)
        # Events that a hop forwards are left out: `comments` has published them before.
        stored.log = [_parse_event(event) for event in events if _source_of(event) not in HOPS]
    return stored


async def _read_owners(stack: Stack, stored: StoredState) -> None:
    post_ids: list[str] = []
    newest_first: list[str] = []
    async for post in read_pages(stack, "posts", "/posts"):
        newest_first += TOKEN.findall(post["title"])
        stored.add_post(post)
        post_ids.append(post["id"])
    # The posts of a history are in no database of `posts`, but readers may comment on the newest.
    post_ids += newest_history_ids(stack.history_length, _PAGE)
    stored.by_owner.update(newest_first)
    stored.ordered_lists.append(newest_first[::-1])
    tokens_by_post: dict[str, list[str]] = {}
    for start in range(0, len(post_ids), _PAGE):
        ids = ",".join(post_ids[start : start + _PAGE])
        answer = await stack.call("GET", stack.urls["comments"], f"/comments?post_ids={ids}")
        for comment in _rows_of(stack, "comments", answer):
            tokens = TOKEN.findall(comment["content"])
            stored.by_owner.update(tokens)
            stored.add_comment(comment, comment["post_id"])
            tokens_by_post.setdefault(comment["post_id"], []).extend(tokens)
            stored.owner_status |= dict.fromkeys(tokens, comment["status"])
            if comment["status"] == "pending":
                stored.pending_at_owner.update(tokens)
    stored.ordered_lists += tokens_by_post.values()


async def _read_feed_entries(stack: Stack, stored: StoredState) -> None:
    newest_first: list[str] = []
    recent_old_posts = newest_history_ids(stack.history_length, _PAGE)
    async for entry in read_pages(stack, "query", "/feed"):
        if is_history_id(entry["id"]) and entry["id"] not in recent_old_posts:
            break
        newest_first += TOKEN.findall(entry["title"])
        stored.add_post(entry)
        oldest_first: list[str] = []
        for comment in entry["comments"]:
            tokens = TOKEN.findall(comment["content"])
            oldest_first += tokens
            stored.add_comment(comment, entry["id"])
            stored.feed_status |= dict.fromkeys(tokens, comment["status"])
            if comment["status"] != "pending":
                stored.decided_in_feed.update(tokens)
        stored.in_feed.update(oldest_first)
        stored.ordered_lists.append(oldest_first)
    stored.in_feed.update(newest_first)
    stored.decided_in_feed.update(newest_first)
    stored.ordered_lists.append(newest_first[::-1])


def _source_of(event: dict[str, Any]) -> str:
    return str(event.get("source", "")).rpartition("/")[2]


def _parse_event(event: dict[str, Any]) -> LoggedEvent:
    """Parse an event of the log; an event of an external service may lack any field."""
    data = event.get("data") or {}
    text = data.get("content") or data.get("title") or data.get("headline") or ""
    return LoggedEvent(
        type=str(event.get("type", "")),
        token=first_token(str(text)),
        id=str(data.get("id", "")),
        post_id=str(data.get("post_id", "")),
        text=str(text),
        status=str(data.get("status", "")),
    )


async def _read_moderation_records(stack: Stack) -> AsyncIterator[dict[str, Any]]:
    after = 0
    while True:
        path = f"/verdicts?limit={_PAGE}&after={after}"
        page = _rows_of(
            stack, "moderation", await stack.call("GET", stack.urls["moderation"], path)
        )
        for record in page:
            yield record
        if len(page) < _PAGE:
            return
        after = page[-1]["number"]


async def read_pages(stack: Stack, target: str, path: str) -> AsyncIterator[dict[str, Any]]:
    """Every row of a paged list, newest first. Raises CannotCheck."""
    before = "~"
    while True:
        answer = await stack.call(
            "GET", stack.urls[target], f"{path}?limit={_PAGE}&before={before}"
        )
        page = _rows_of(stack, target, answer)
        for row in page:
            yield row
        if len(page) < _PAGE:
            return
        before = min(row["id"] for row in page)


def _rows_of(stack: Stack, target: str, answer: ControlResponse) -> Sequence[dict[str, Any]]:
    if not answer.ok:
        raise _unreadable(stack, target, answer)
    rows: Sequence[dict[str, Any]] = answer.data
    return rows


def _unreadable(stack: Stack, target: str, answer: ControlResponse) -> CannotCheck:
    return CannotCheck(
        f"After the run, {stack.name}'s {target} did not return its data "
        f"({answer.error or answer.data}), so lost writes cannot be counted. "
        "Its log is in the run's folder."
    )


def first_token(text: str) -> str:
    """The first token in a text; "" if there is none."""
    found = TOKEN.search(text)
    return found.group() if found else ""


def tokens_of(log: Iterable[LoggedEvent], *types: str) -> list[str]:
    """The tokens of the events of these types, in the log's order."""
    return [event.token for event in log if event.type in types and event.token]


async def read_external_state(stack: Stack) -> StoredState:
    """Read the writes in the feed of an external system. Raises CannotCheck.

    `ordered_lists` stays empty: an external system may send objects by id, which have no order.
    """
    stored = StoredState(feed_only=True)
    async for entry in _read_external_feed(stack):
        stored.add_post(entry)
        stored.in_feed.update(titles := TOKEN.findall(entry["title"]))
        stored.decided_in_feed.update(titles)
        for comment in entry["comments"]:
            stored.add_comment(comment, entry["id"])
            stored.in_feed.update(tokens := TOKEN.findall(comment["content"]))
            stored.feed_status |= dict.fromkeys(tokens, comment["status"])
            if comment["status"] != "pending":
                stored.decided_in_feed.update(tokens)
    stored.by_owner = stored.in_feed
    return stored


async def _read_external_feed(stack: Stack) -> AsyncIterator[dict[str, Any]]:
    """The whole feed, page by page. Stops when a page ends with an id that ended a page before;
    otherwise it would never end."""
    path, last_ids = f"/feed?limit={_PAGE}", set[str]()
    while True:
        answer = await stack.call("GET", stack.entry_urls["query"], path)
        if not answer.ok:
            detail = answer.data.get("detail") if isinstance(answer.data, dict) else answer.data
            raise CannotCheck(
                f"After the run, {stack.name} did not return its feed ({answer.error or detail}), "
                "so lost writes cannot be counted. Its log is in the run's folder."
            )
        for entry in answer.data:
            yield entry
        last = answer.data[-1]["id"] if len(answer.data) == _PAGE else None
        if last is None or last in last_ids:
            return
        last_ids.add(last)
        path = f"/feed?limit={_PAGE}&before={quote(last, safe='')}"
