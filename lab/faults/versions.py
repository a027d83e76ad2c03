"""What a post looks like in each version of what posts says about it, and nothing else.

A service that changes the shape of what it says is deployed on its own; those who read it are not
asked. Whether they notice depends on the change: a field that is added is passed over by readers
who let through what they don't know; one that is renamed is missing where they look for it. To say
both for a while (*expand*), until nobody reads the old one any more (*contract*), is the way
between (Danilo Sato: ParallelChange, martinfowler.com, 2014).

The table is applied at the border, to what leaves the service. Inside, posts is what it was.
"""

import json
from collections.abc import Callable
from typing import Any

Said = dict[str, Any]


def _language_added(post: Said) -> Said:
    return {**post, "language": "en"}


def _title_renamed(post: Said) -> Said:
    renamed = {key: value for key, value in post.items() if key != "title"}
    return {**renamed, "headline": post["title"]}


def _both_names(post: Said) -> Said:
    return {**post, "headline": post["title"]}


VERSIONS: dict[int, Callable[[Said], Said]] = {
    2: _language_added,
    3: _title_renamed,
    4: _both_names,
}
"""By number; version 1 is how the domain has it: `{id, title}`."""


def in_version(said: Any, version: int) -> Any:
    """What is said, be it a post, a list of them, or something else, with each post rewritten."""
    if isinstance(said, list):
        return [in_version(one, version) for one in said]
    if isinstance(said, dict) and "title" in said:
        return VERSIONS[version](said)
    return said


def told_in_version(envelope: str, version: int) -> str:
    """An envelope, as JSON, whose data are rewritten if they are a post's."""
    told = json.loads(envelope)
    rewritten = in_version(told["data"], version)
    if rewritten is told["data"]:
        return envelope
    return json.dumps(told | {"data": rewritten}, separators=(",", ":"))
