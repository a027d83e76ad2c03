"""The outages of a check, and the criteria of each: a table, read from top to bottom.

Each outage breaks the service with a role (it takes posts, takes comments, shows the feed,
moderates, or is the bus), while a light load runs: from before the fault, as a control, until after
its end. When the system has settled, the feed must contain the acknowledged writes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lab.conformance.report_card import Criterion
from lab.domain.services import BUS

SLOW_MS = 400.0

ROLE_TITLES = {
    "posts": "the service that accepts posts",
    "comments": "the service that accepts comments",
    "query": "the service that shows the feed",
    "moderation": "moderation",
    BUS: "the bus",
}
"""The roles that an outage can break, in words."""


@dataclass(frozen=True)
class Outage:
    """`title` contains {process}, the broken one. `criteria`: the criteria, by the key of
    `judging.JUDGES`."""

    key: str
    title: str
    kind: str
    role: str
    criteria: Mapping[str, Criterion]
    options: Mapping[str, Any] = field(default_factory=dict)
    needs_bus: bool = False


def _criteria(*rows: tuple[str, str, str, str, str]) -> dict[str, Criterion]:
    return {
        key: Criterion(key, wanted, hint, claim, scenario)
        for key, wanted, claim, scenario, hint in rows
    }


_READERS = "Readers are answered as before."
_POSTS = "Posts are accepted as before."
_COMMENTS = "Comments are accepted as before."
_KEPT = "Nothing that was acknowledged is missing afterwards."
_DECIDED = "Every comment has its verdict afterwards."
_UNANSWERED = "A write that got no answer in time was not carried out."
_OTHERS = "No other service exits because of it."
_BACK = "Once it is back, everything works again."
_UNANSWERED_HINT = (
    "Answer before you wait for others. A client that tries again has it twice, unless the service "
    "knows a retry by a key."
)
_COPY_HINT = "Answer from a copy of your own, which events keep up to date."
_REDELIVER_HINT = (
    "A bus that delivers once loses an event if the subscriber is down. Let it retry until the "
    "subscriber acknowledges, or let the subscriber request what it missed."
)
_NO_WAIT_HINT = "A bus that waits for its subscribers makes every writer wait for the slowest."
_DURABILITY_HINT = (
    "A service that forgets a comment can't publish its verdict: keep comments on disk."
)
_CATCH_HINT = (
    "Catch the errors of the services that you call: an unhandled one ends the whole process."
)

OUTAGES = (
    Outage(
        "comments-down",
        "{process} is down",
        "down",
        "comments",
        _criteria(
            ("reads", _READERS, "independent", "downed-service", _COPY_HINT),
            ("posts", _POSTS, "one-down", "blast-radius", "Don't ask it before you answer."),
            ("kept", _KEPT, "bus-passes-on", "lost-events", "What is only in memory ends with it."),
            ("decided", _DECIDED, "bus-passes-on", "half-done", _DURABILITY_HINT),
            ("others", _OTHERS, "one-down", "downed-service", _CATCH_HINT),
            ("back", _BACK, "one-down", "downed-service", "Look into its log: why did it not?"),
        ),
    ),
    Outage(
        "comments-slow",
        f"{{process}} takes {SLOW_MS:g} ms longer",
        "latency",
        "comments",
        _criteria(
            ("fast", "Readers don't wait for it.", "slowest-hop", "slow-service", _COPY_HINT),
            ("posts", _POSTS, "dependencies", "slow-service", "Don't ask it before you answer."),
            ("kept", _KEPT, "bus-passes-on", "slow-consumer", _REDELIVER_HINT),
        ),
        {"ms": SLOW_MS},
    ),
    Outage(
        "query-down",
        "{process}, which shows the feed, is down",
        "down",
        "query",
        _criteria(
            (
                "posts",
                _POSTS,
                "independent",
                "blast-radius",
                "No writer needs the service that reads.",
            ),
            ("comments", _COMMENTS, "independent", "blast-radius", "No writer needs it."),
            ("kept", _KEPT, "bus-passes-on", "catch-up", _REDELIVER_HINT),
            (
                "once",
                "Nothing is there twice.",
                "bus-passes-on",
                "duplicates",
                "Know it by its id.",
            ),
            ("others", _OTHERS, "one-down", "downed-service", _CATCH_HINT),
            ("back", _BACK, "independent", "catch-up", "Look into its log: why did it not?"),
        ),
    ),
    Outage(
        "query-cut",
        "the bus can't reach {process}, which shows the feed",
        "partition",
        "query",
        _criteria(
            ("reads", _READERS, "independent", "partition", _COPY_HINT),
            ("posts", _POSTS, "independent", "partition", _NO_WAIT_HINT),
            ("comments", _COMMENTS, "independent", "partition", _NO_WAIT_HINT),
            ("kept", _KEPT, "bus-passes-on", "dropped-events", _REDELIVER_HINT),
            ("unanswered", _UNANSWERED, "whole-fails", "no-answer", _UNANSWERED_HINT),
            ("others", _OTHERS, "one-down", "partition", _CATCH_HINT),
        ),
        {"from": BUS},
        needs_bus=True,
    ),
    Outage(
        "moderation-down",
        "{process} is down",
        "down",
        "moderation",
        _criteria(
            ("comments", _COMMENTS, "dependencies", "reject-early", "Judge it later."),
            ("reads", _READERS, "independent", "blast-radius", _COPY_HINT),
            ("kept", _KEPT, "bus-passes-on", "lost-events", _REDELIVER_HINT),
            ("decided", _DECIDED, "bus-passes-on", "blast-radius", _REDELIVER_HINT),
            ("others", _OTHERS, "one-down", "downed-service", _CATCH_HINT),
        ),
    ),
    Outage(
        "bus-down",
        "{process} is down",
        "down",
        BUS,
        _criteria(
            ("reads", _READERS, "independent", "downed-bus", _COPY_HINT),
            (
                "kept",
                _KEPT,
                "bus-passes-on",
                "downed-bus",
                "Store unpublished events, and publish them later.",
            ),
            (
                "honest",
                "What was answered with an error is not there.",
                "bus-passes-on",
                "dual-write",
                "First stored, then published, and publishing failed: an outbox helps.",
            ),
            ("unanswered", _UNANSWERED, "whole-fails", "no-answer", _UNANSWERED_HINT),
            ("others", _OTHERS, "one-down", "downed-bus", _CATCH_HINT),
            ("back", _BACK, "independent", "downed-bus", "Look into its log: why did it not?"),
        ),
        needs_bus=True,
    ),
    Outage(
        "posts-hung",
        "{process} hangs",
        "hang",
        "posts",
        _criteria(
            ("reads", _READERS, "independent", "hung-service", _COPY_HINT),
            ("comments", _COMMENTS, "whole-fails", "hung-service", "Know the posts by a copy."),
            ("kept", _KEPT, "bus-passes-on", "hung-service", _REDELIVER_HINT),
            ("back", _BACK, "one-down", "hung-service", "Give what you ask a time limit."),
        ),
    ),
)
