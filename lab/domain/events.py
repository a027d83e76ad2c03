"""The events of the blog, and the CloudEvents envelope that carries them.

An event states a fact in the past tense: a consumer cannot refuse it, only receive it late. The
envelope is CloudEvents 1.0 in its JSON form (github.com/cloudevents/spec), with the extensions
`sequence` (the event's number in the bus's log, from 1), `traceparent` and `tracestate` (W3C Trace
Context).
"""

from datetime import UTC, datetime
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, PrivateAttr
from pydantic_core import to_json

from lab.domain.model import Status, Value, new_id


class Event(Value):
    """A fact about one post or comment, with its `id`.

    Consumers ignore unknown fields, so that a newer publisher does not break an older consumer.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    id: str
    type: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.type = cls.__name__


class PostCreated(Event):
    title: str


class CommentCreated(Event):
    """A comment was written, and is not judged yet."""

    post_id: str
    content: str
    status: Literal["pending"] = "pending"


class CommentModerated(Event):
    """`moderation` has judged a comment; only `comments` may change the comment itself."""

    post_id: str
    content: str
    status: Status


class CommentUpdated(Event):
    """`comments`, the owner, has changed the comment."""

    post_id: str
    content: str
    status: Status


EVENTS: dict[str, type[Event]] = {
    event.__name__: event
    for event in (PostCreated, CommentCreated, CommentModerated, CommentUpdated)
}


class Envelope(BaseModel):
    """An event with its metadata. `sequence` is 0 until the bus has numbered the event."""

    # External services may add other CloudEvents extensions: they are kept.
    model_config = ConfigDict(frozen=True, extra="allow")

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str
    type: str
    time: str
    subject: str
    datacontenttype: Literal["application/json"] = "application/json"
    data: dict[str, Any]
    traceparent: str = ""
    sequence: int = 0
    _cursor: str = PrivateAttr("")

    @property
    def cursor(self) -> str:
        """The bus's cursor for the position after this event; "" from an engine without cursors.

        It belongs to one delivery: it is never part of the event's JSON.
        """
        return self._cursor

    def set_cursor(self, cursor: str) -> Self:
        """Attach the bus's cursor to an event that was just delivered; returns the envelope."""
        self._cursor = cursor
        return self

    @property
    def tracestate(self) -> str:
        """The extension of this name, which only few events have; else ""."""
        return str((self.model_extra or {}).get("tracestate", ""))

    @classmethod
    def around(
        cls, event: Event, *, source: str, traceparent: str = "", tracestate: str = ""
    ) -> Self:
        """Wrap an event that `source` (`/async-bus/comments`) publishes now."""
        return cls.create(
            event.type,
            subject=event.id,
            data=event.model_dump(),
            source=source,
            traceparent=traceparent,
            tracestate=tracestate,
        )

    @classmethod
    def create(
        cls,
        type_: str,
        *,
        subject: str,
        data: dict[str, Any],
        source: str,
        traceparent: str = "",
        tracestate: str = "",
    ) -> Self:
        """Wrap any data, with a new id and the current time."""
        extensions = {"tracestate": tracestate} if tracestate else {}
        return cls(
            id=new_id(),
            source=source,
            type=type_,
            time=datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            subject=subject,
            data=data,
            traceparent=traceparent,
            **extensions,
        )

    def numbered_json(self, sequence: int) -> bytes:
        """The envelope as JSON with this number; a third of the time of a copy and its JSON."""
        fields = {**self.__dict__, **(self.__pydantic_extra__ or {}), "sequence": sequence}
        return to_json(fields, inf_nan_mode="null")

    @classmethod
    def from_json(cls, line: str | bytes) -> Self:
        return cls.model_validate_json(line)

    def event(self) -> Event | None:
        """The event in the envelope; None when this version does not know its type.

        Raises ValidationError when the data do not fit the type.
        """
        event_type = EVENTS.get(self.type)
        return event_type.model_validate(self.data) if event_type else None
