"""The schema versions of a post in what the service `posts` sends.

A service that changes its schema is deployed alone, without its readers. Whether they break depends
on the change. Readers that ignore unknown fields ignore an added field; they miss a renamed one.
The way between is to send both names (*expand*) until no reader uses the old one, and then to
remove it (*contract*) (Danilo Sato: ParallelChange, martinfowler.com, 2014).

Only what leaves the service is rewritten; inside, `posts` is unchanged.
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
"""How to rewrite a post, by version; version 1 is the domain's: `{id, title}`."""


def in_version(said: Any, version: int) -> Any:
    """Rewrite each post in a value: the value may be a post, a list of posts, or anything else."""
    if isinstance(said, list):
        return [in_version(one, version) for one in said]
    if isinstance(said, dict) and "title" in said:
        return VERSIONS[version](said)
    return said


def told_in_version(envelope: str, version: int) -> str:
    """Rewrite the data of an envelope (JSON) if they are a post; else return it unchanged."""
    told = json.loads(envelope)
    rewritten = in_version(told["data"], version)
    if rewritten is told["data"]:
        return envelope
    return json.dumps(told | {"data": rewritten}, separators=(",", ":"))
