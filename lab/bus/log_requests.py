"""What is asked of a bus over HTTP, understood or refused; each engine with such a door uses it."""

import re
from typing import Any

from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from lab.domain.errors import Conflict, Gone, Invalid, ServiceError
from lab.domain.events import Envelope
from lab.web import read_body

MAX_BODY_BYTES = 4 * 1024 * 1024  # a service that was away brings its whole outbox

_ENVELOPES = TypeAdapter(list[Envelope])


class _NotFromThere(ServiceError):
    """One can't read on from there. `first`: the number at which the log begins."""

    def __init__(self, detail: str, first: int) -> None:
        super().__init__(detail)
        self.first = first

    def problem(self) -> dict[str, Any]:
        return super().problem() | {"first": self.first}


class AnotherLog(_NotFromThere, Conflict):
    title = "Not the log that you read"


class NotKept(_NotFromThere, Gone):
    pass


async def read_envelopes(request: web.BaseRequest) -> list[Envelope]:
    """The envelope, or the list of them, in the body of a request. Raises Invalid."""
    return envelopes_in(await read_body(request, MAX_BODY_BYTES))


def envelopes_in(body: bytes) -> list[Envelope]:
    """The envelope, or the list of them, in a JSON text. Raises Invalid."""
    try:
        if body.lstrip().startswith(b"{"):
            return [Envelope.from_json(body)]
        return _ENVELOPES.validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        at = ".".join(str(part) for part in first["loc"]) or "body"
        raise Invalid(f"Not a CloudEvents envelope: {at}: {first['msg']}.", field=at) from None


def what_to_read(request: web.BaseRequest) -> tuple[int, bool]:
    """`after` and `follow` of a request for events: a sequence number, and whether to wait for
    more. Raises Invalid."""
    return sequence_number(request, "after"), request.query.get("follow") == "1"


def sequence_number(request: web.BaseRequest, name: str) -> int:
    """A sequence number of the query, 0 when there is none. Raises Invalid."""
    given = request.query.get(name, "0")
    if not re.fullmatch("[0-9]{1,18}", given):
        raise Invalid(f"{name}: expected a sequence number, from 0.", field=name)
    return int(given)
