"""What events are called on both sides, where one of somebody else's services stands among ours.

The course says `postId` and the lab says `post_id`. Events that cross carry both: each side finds
its own and passes over the other. Ids that are numbers there are texts here.
"""

from typing import Any

THEIRS = {"post_id": "postId"}
"""The lab's names of what an event has, and the course's."""

_IDS = ("id", "post_id")


def in_our_words(event: dict[str, Any]) -> dict[str, Any]:
    """An event of theirs as the lab's services know it."""
    if not isinstance(data := event.get("data"), dict):
        return event
    named = {our: data[their] for our, their in THEIRS.items() if their in data} | data
    texts = {key: str(named[key]) for key in _IDS if isinstance(named.get(key), int)}
    return {**event, "data": named | texts}


def in_their_words(event: dict[str, Any]) -> dict[str, Any]:
    """An event of the lab's as a course's service knows it."""
    if not isinstance(data := event.get("data"), dict):
        return event
    named = {their: data[our] for our, their in THEIRS.items() if our in data}
    return {**event, "data": named | data}
