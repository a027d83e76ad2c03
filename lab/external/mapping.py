"""Maps the lab's three actions to requests of an external blog: data, no code.

For each action a mapping gives the service, the method, the path, the JSON body, and where in the
response the values are. A missing key has the value of the well-known course. `responses.py`
decodes the responses.

Placeholders are filled in: `{title}`, `{post_id}`, `{content}`, `{limit}`. `{post_id:number}` is a
number instead of a text, for services that compare by type; it must be the whole text. A place in a
response is a key, or keys with dots between them (`comment.id`); an empty text is the whole.
"""

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, model_validator

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
_PATH = r"^/[!-~]*$"
_HEADER_NAME = r"^[A-Za-z0-9-]{1,64}$"
_HEADER_VALUE = r"^[ -~]*$"

PATTERNS = {
    _PATH: "a path: it begins with / and has no blanks, as in /posts",
    _HEADER_NAME: "the name of a header: letters, digits and hyphens",
    _HEADER_VALUE: "only printable ASCII characters",
}
"""For each pattern, what is expected of a text; for error messages."""

Path = Annotated[str, StringConstraints(pattern=_PATH, max_length=2_000)]
HeaderName = Annotated[str, StringConstraints(pattern=_HEADER_NAME)]
HeaderValue = Annotated[str, StringConstraints(pattern=_HEADER_VALUE, max_length=1_000)]
ResponsePath = Annotated[str, StringConstraints(max_length=200)]

_PLACEHOLDER = re.compile(r"\{(\w+)(?::(number))?\}")
_RESERVED_HEADERS = ("host", "content-type", "content-length", "connection", "transfer-encoding")


@dataclass(frozen=True)
class ExternalRequest:
    """A request to an external service; `body` is b"" if there is none."""

    method: str
    path: str
    body: bytes
    headers: Mapping[str, str]

    @property
    def summary(self) -> str:
        """`POST /posts`, for messages."""
        return f"{self.method} {self.path}"


class _FrozenMapping(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ActionMapping(_FrozenMapping):
    """Fields of all actions. `headers` are added to each request, for example for a login."""

    placeholders: ClassVar[tuple[str, ...]] = ()
    required: ClassVar[tuple[str, ...]] = ()

    service: Annotated[str, Field(min_length=1)]
    method: Method
    path: Path
    body: JsonValue = None
    headers: dict[HeaderName, HeaderValue] = {}

    @model_validator(mode="after")
    def _fills_in_what_there_is(self) -> Self:
        if reserved := [name for name in self.headers if name.lower() in _RESERVED_HEADERS]:
            raise ValueError(f"{reserved[0]!r} is written by the lab; leave it out of `headers`.")
        used = dict.fromkeys(
            name
            for text in (self.path, *_template_texts(self.body))
            for name in _placeholders_in(text)
        )
        for name in used:
            if name not in self.placeholders:
                raise ValueError(
                    f"There is no {{{name}}} to fill in here. {_placeholder_hint(name, self)}"
                )
        for name in self.required:
            if name not in used:
                raise ValueError(
                    f"Nothing says where {{{name}}} goes. Put it into `body` or `path`."
                )
        for text in (self.path, *_template_texts(self.body)):
            number = any(match[2] for match in _PLACEHOLDER.finditer(text))
            if number and (text == self.path or not _PLACEHOLDER.fullmatch(text)):
                raise ValueError(
                    f"{text!r} mixes a number with other text; in `body` it stands alone."
                )
        return self

    def build_request(self, **values: str) -> ExternalRequest:
        """The request with `values` filled in. Raises ValueError if a number is not one."""
        path = _PLACEHOLDER.sub(lambda match: quote(values[match[1]], safe=""), self.path)
        filled = _fill(self.body, values)
        body = b"" if filled is None else json.dumps(filled, ensure_ascii=False).encode()
        return ExternalRequest(self.method, path, body, self.headers)


class CreatePost(ActionMapping):
    """`id`: where in the response the id of the new post is."""

    placeholders = required = ("title",)

    service: Annotated[str, Field(min_length=1)] = "posts"
    method: Method = "POST"
    path: Path = "/posts"
    body: JsonValue = {"title": "{title}"}
    id: ResponsePath = "id"


class CreateComment(ActionMapping):
    """The response is the comment, or all comments so far; `id`: where in a comment its id is."""

    placeholders = required = ("post_id", "content")

    service: Annotated[str, Field(min_length=1)] = "comments"
    method: Method = "POST"
    path: Path = "/posts/{post_id}/comments"
    body: JsonValue = {"content": "{content}"}
    id: ResponsePath = "id"


class PostFields(_FrozenMapping):
    """Where in a post of the feed its fields are. If the feed is an object by id and a post has
    no id, its key is its id."""

    id: ResponsePath = "id"
    title: ResponsePath = "title"
    comments: ResponsePath = "comments"


class CommentFields(_FrozenMapping):
    """Where in a comment of the feed its fields are. A comment without a status is approved."""

    id: ResponsePath = "id"
    content: ResponsePath = "content"
    status: ResponsePath = "status"


class ReadFeed(ActionMapping):
    """`posts`: where in the response the posts are, a list or an object by id.

    `newest`: which post is the newest. Ids may be random, so the order of the response decides: a
    list or an object to which the service appends has the newest post last.
    `statuses`: the service's words for the lab's three statuses, as in `{ ok = "approved" }`.
    """

    placeholders = ("limit",)

    service: Annotated[str, Field(min_length=1)] = "query"
    method: Method = "GET"
    path: Path = "/posts"
    posts: ResponsePath = ""
    post: PostFields = PostFields()
    comment: CommentFields = CommentFields()
    newest: Literal["last", "first"] = "last"
    statuses: dict[str, Literal["pending", "approved", "rejected"]] = {}


class Actions(_FrozenMapping):
    """A whole mapping. A missing key has the value of the course."""

    create_post: CreatePost = Field(default_factory=CreatePost)
    create_comment: CreateComment = Field(default_factory=CreateComment)
    read_feed: ReadFeed = Field(default_factory=ReadFeed)

    def actions_of(self, service: str) -> tuple[str, ...]:
        """The names of the actions that this service handles."""
        return tuple(name for name, action in self if action.service == service)


def _template_texts(template: JsonValue) -> Iterator[str]:
    """All texts in a template, at any depth; keys are not templates."""
    if isinstance(template, str):
        yield template
    elif isinstance(template, dict):
        for value in template.values():
            yield from _template_texts(value)
    elif isinstance(template, list):
        for value in template:
            yield from _template_texts(value)


def _placeholders_in(text: str) -> list[str]:
    return [match[1] for match in _PLACEHOLDER.finditer(text)]


def _fill(template: JsonValue, values: Mapping[str, str]) -> JsonValue:
    if isinstance(template, str):
        whole = _PLACEHOLDER.fullmatch(template)
        if whole and whole[2]:
            return _to_number(whole[1], values[whole[1]])
        return _PLACEHOLDER.sub(lambda match: values[match[1]], template)
    if isinstance(template, dict):
        return {key: _fill(value, values) for key, value in template.items()}
    if isinstance(template, list):
        return [_fill(value, values) for value in template]
    return template


def _to_number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise ValueError(f"{text[:40]!r} is no number, and the mapping says {{{name}:number}}.")
    return int(text)


def _placeholder_hint(placeholder: str, action: ActionMapping) -> str:
    near = difflib.get_close_matches(placeholder, action.placeholders, n=1, cutoff=0.5)
    known = ", ".join(f"{{{name}}}" for name in action.placeholders)
    return f"Did you mean {{{near[0]}}}?" if near else f"Known: {known or 'none'}."
