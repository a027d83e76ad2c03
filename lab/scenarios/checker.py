"""Compares what was acknowledged with what is held: the judge of every run.

Each write carries a token, a text found nowhere else. After everything has settled, the checker
reads what the owners hold and what the feed shows, through the same public doors as any client,
and counts the tokens. The idea is that of the set checkers of Jepsen and Maelstrom; what a write
became is decided by what its client was told:

    told                 found                        verdict
    yes (2xx)            once, and in the feed        fine
    yes                  not with its owner           lost
    yes                  more than once, or judged    duplicated
                         more than once
    yes                  with one status with its     diverged
                         owner, another in the feed
    yes                  not in the feed, or pending  unsettled
    surely no            anywhere                     refused but kept
    nothing for sure     anywhere, or nowhere         unknown: both are right
"""

import re
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lab.cluster.caller import Answer
from lab.cluster.errors import LabCannotRun
from lab.cluster.stack import Stack
from lab.load.metrics import visible_ms
from lab.load.samples import WRITES, Sample
from lab.scenarios.result import Data, Visible

_TOKEN = re.compile(r"w-\d+-\d+;")
_PAGE = 100


class CannotCheck(LabCannotRun):
    """A service did not show what it holds, so nothing can be said about it."""


@dataclass
class Holdings:
    """How often each token is found: with its owner, in the feed, in the feed as decided; with its
    owner as pending, and with moderation. And which status a comment has here and there."""

    owned: Counter[str] = field(default_factory=Counter)
    shown: Counter[str] = field(default_factory=Counter)
    decided: Counter[str] = field(default_factory=Counter)
    pending: Counter[str] = field(default_factory=Counter)
    judged: Counter[str] = field(default_factory=Counter)
    status_owned: dict[str, str] = field(default_factory=dict)
    status_shown: dict[str, str] = field(default_factory=dict)


async def read_holdings(stack: Stack) -> Holdings:
    """Everything posts and comments hold, and everything the feed shows. Raises CannotCheck."""
    held = Holdings()
    post_ids: list[str] = []
    async for post in _pages(stack, "posts", "/posts"):
        held.owned.update(_TOKEN.findall(post["title"]))
        post_ids.append(post["id"])
    for start in range(0, len(post_ids), _PAGE):
        asked = ",".join(post_ids[start : start + _PAGE])
        answer = await stack.call("GET", stack.urls["comments"], f"/comments?post_ids={asked}")
        for comment in _shown(stack, "comments", answer):
            tokens = _TOKEN.findall(comment["content"])
            held.owned.update(tokens)
            held.status_owned |= dict.fromkeys(tokens, comment["status"])
            if comment["status"] == "pending":
                held.pending.update(tokens)
    async for entry in _pages(stack, "query", "/feed"):
        tokens = _TOKEN.findall(entry["title"])
        held.shown.update(tokens)
        held.decided.update(tokens)
        for comment in entry["comments"]:
            tokens = _TOKEN.findall(comment["content"])
            held.shown.update(tokens)
            held.status_shown |= dict.fromkeys(tokens, comment["status"])
            if comment["status"] != "pending":
                held.decided.update(tokens)
    async for verdict in _judgements(stack):
        held.judged.update(_TOKEN.findall(verdict["content"]))
    return held


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


async def _pages(stack: Stack, target: str, path: str) -> AsyncIterator[dict[str, Any]]:
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
        before = page[-1]["id"]


def _shown(stack: Stack, target: str, answer: Answer) -> Sequence[dict[str, Any]]:
    if not answer.ok:
        raise CannotCheck(
            f"After the run, {stack.name}'s {target} did not show what it holds "
            f"({answer.error or answer.data}), so what was lost can't be said. "
            "Its log is in the run's folder."
        )
    rows: Sequence[dict[str, Any]] = answer.data
    return rows


def check(samples: Iterable[Sample], held: Holdings) -> Data:
    """The verdict on one variant's writes. Pure: from the same samples, the same verdict."""
    writes = [sample for sample in samples if sample.endpoint in WRITES and not sample.dropped]
    yes = [sample for sample in writes if sample.ok]
    no = [sample for sample in writes if not sample.ok and sample.definite]
    unknown = [sample for sample in writes if not sample.ok and not sample.definite]

    def found(sample: Sample) -> int:
        return max(held.owned[sample.token], held.shown[sample.token])

    def diverged(token: str) -> bool:
        """Whether both have it, and say different things of it."""
        both = token in held.status_owned and token in held.status_shown
        return both and held.status_owned[token] != held.status_shown[token]

    seen = visible_ms(yes)
    return Data(
        acknowledged=len(yes),
        visible=sum(held.decided[sample.token] > 0 for sample in yes),
        lost=sum(not held.owned[sample.token] for sample in yes),
        duplicated=sum(found(one) > 1 or held.judged[one.token] > 1 for one in writes),
        diverged=sum(diverged(sample.token) for sample in yes),
        unsettled=sum(
            held.owned[sample.token] > 0 and not held.decided[sample.token] for sample in yes
        ),
        undecided=sum(held.pending[sample.token] > 0 for sample in yes),
        refused_kept=sum(found(sample) > 0 for sample in no),
        unknown=len(unknown),
        unknown_kept=sum(found(sample) > 0 for sample in unknown),
        visible_ms=Visible(**seen),
    )
