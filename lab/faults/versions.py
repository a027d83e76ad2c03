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

Payload = dict[str, Any]


def _add_language(post: Payload) -> Payload:
    return {**post, "language": "en"}


def _rename_title(post: Payload) -> Payload:
    renamed = {key: value for key, value in post.items() if key != "title"}
    return {**renamed, "headline": post["title"]}


def _keep_both_names(post: Payload) -> Payload:
    return {**post, "headline": post["title"]}


VERSIONS: dict[int, Callable[[Payload], Payload]] = {
    2: _add_language,
    3: _rename_title,
    4: _keep_both_names,
}
"""How to rewrite a post, by version; version 1 is the domain's: `{id, title}`."""


def rewrite_payload(payload: Any, version: int) -> Any:
    """Rewrite each post in a value: the value may be a post, a list of posts, or anything else."""
    if isinstance(payload, list):
        return [rewrite_payload(item, version) for item in payload]
    if isinstance(payload, dict) and "title" in payload:
        return VERSIONS[version](payload)
    return payload


def rewrite_envelope(envelope: str, version: int) -> str:
    """Rewrite the data of an envelope (JSON) if they are a post; else return it unchanged."""
    message = json.loads(envelope)
    rewritten = rewrite_payload(message["data"], version)
    if rewritten is message["data"]:
        return envelope
    return json.dumps(message | {"data": rewritten}, separators=(",", ":"))
