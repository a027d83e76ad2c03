"""What events are called on both sides, where one of somebody else's services stands among ours.

The course says `postId` and the lab says `post_id`; a target that takes or shows a comment's text
as `text` calls it so in its events too. Events that cross carry both: each side finds its own and
passes over the other. Ids that are numbers there are texts here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from pydantic import JsonValue

from lab.foreign.mapping import Actions

_COURSE = ("post_id", "postId")
_IDS = ("id", "post_id")
_Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Words:
    """Pairs of the lab's name and theirs, of what a post's events have and a comment's."""

    post: _Pairs = ()
    comment: _Pairs = (_COURSE,)

    @classmethod
    def of(cls, actions: Actions) -> Self:
        """As a mapping calls them, where it is asked and where it shows them."""
        read = actions.read_feed
        post = [
            *_places(title=read.post.title, id=read.post.id),
            *_places(id=actions.create_post.id),
            *_keys(actions.create_post.body),
        ]
        comment = [
            _COURSE,
            *_places(content=read.comment.content, status=read.comment.status, id=read.comment.id),
            *_places(id=actions.create_comment.id),
            *_keys(actions.create_comment.body),
        ]
        return cls(_that_differ(post), _that_differ(comment))

    def in_ours(self, event: dict[str, Any]) -> dict[str, Any]:
        """An event of theirs as the lab's services know it."""
        if not isinstance(data := event.get("data"), dict):
            return event
        named = {our: data[their] for our, their in self._of(event) if their in data} | data
        texts = {key: str(named[key]) for key in _IDS if isinstance(named.get(key), int)}
        return {**event, "data": named | texts}

    def in_theirs(self, event: dict[str, Any]) -> dict[str, Any]:
        """An event of the lab's as their service knows it."""
        if not isinstance(data := event.get("data"), dict):
            return event
        named = {their: data[our] for our, their in self._of(event) if our in data}
        return {**event, "data": named | data}

    def _of(self, event: Mapping[str, Any]) -> _Pairs:
        return self.post if str(event.get("type")).startswith("Post") else self.comment


def _places(**places: str) -> Iterator[tuple[str, str]]:
    """The lab's names, and the last key of each place in an answer."""
    for our, place in places.items():
        yield our, place.rpartition(".")[2]


def _keys(body: JsonValue) -> Iterator[tuple[str, str]]:
    """What is filled in, and the key under which it goes, at whatever depth."""
    if isinstance(body, dict):
        for key, value in body.items():
            if isinstance(value, str) and value.startswith("{") and value.endswith("}"):
                yield value[1:-1].removesuffix(":number"), key
            yield from _keys(value)


def _that_differ(pairs: list[tuple[str, str]]) -> _Pairs:
    return tuple((our, their) for our, their in dict.fromkeys(pairs) if their and our != their)
