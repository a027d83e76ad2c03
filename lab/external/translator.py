"""The event translator between one external service and the lab's own bus.

    the bus ──► POST /events (port) ──────► the service's sidecar
    the service ──► POST, GET /events (bus port) ──► the bus

`python -m lab.external.translator --service http://127.0.0.1:4001/events --bus http://127.0.0.1:4005/events`

Each side gets the response of the other side. The translator stores no event, and like the
course's bus it retries nothing.

The two sides name fields differently: the course says `postId` and the lab says `post_id`, and a
target that calls a comment's text `text` also does so in its events. A translated event carries
both names, so each side finds its own. Ids that are numbers become texts for the lab.
"""

import argparse
import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiohttp
from aiohttp import web
from pydantic import JsonValue
from pydantic_core import from_json

from lab.domain.errors import BadGateway, Invalid, Unreachable
from lab.external.mapping import Actions
from lab.external.proxy.sockets import listen_on_loopbacks
from lab.service.http import MAX_BODY_BYTES, HttpApp, Route, answer, read_body
from lab.service.listener import serve
from lab.service.server import Shell, ShellOptions

# ── Field names

_COURSE_POST_ID = ("post_id", "postId")
_ID_FIELDS = ("id", "post_id")
_Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class FieldNames:
    """Pairs of field names, the lab's and the service's, in events of posts and of comments."""

    post: _Pairs = ()
    comment: _Pairs = (_COURSE_POST_ID,)

    @classmethod
    def from_actions(cls, actions: Actions) -> Self:
        """The names that a mapping uses in requests and in responses."""
        read = actions.read_feed
        post = [
            *_last_keys(title=read.post.title, id=read.post.id),
            *_last_keys(id=actions.create_post.id),
            *_placeholder_keys(actions.create_post.body),
        ]
        comment = [
            _COURSE_POST_ID,
            *_last_keys(
                content=read.comment.content, status=read.comment.status, id=read.comment.id
            ),
            *_last_keys(id=actions.create_comment.id),
            *_placeholder_keys(actions.create_comment.body),
        ]
        return cls(_differing_pairs(post), _differing_pairs(comment))

    def to_lab(self, event: dict[str, Any]) -> dict[str, Any]:
        """An event of the external service, with the lab's field names added."""
        if not isinstance(data := event.get("data"), dict):
            return event
        data_with_names = {
            our: data[their] for our, their in self._pairs_for(event) if their in data
        } | data
        texts = {
            key: str(data_with_names[key])
            for key in _ID_FIELDS
            if isinstance(data_with_names.get(key), int)
        }
        return {**event, "data": data_with_names | texts}

    def to_service(self, event: dict[str, Any]) -> dict[str, Any]:
        """An event of the lab, with the external service's field names added."""
        if not isinstance(data := event.get("data"), dict):
            return event
        data_with_names = {their: data[our] for our, their in self._pairs_for(event) if our in data}
        return {**event, "data": data_with_names | data}

    def _pairs_for(self, event: Mapping[str, Any]) -> _Pairs:
        return self.post if str(event.get("type")).startswith("Post") else self.comment


def _last_keys(**paths: str) -> Iterator[tuple[str, str]]:
    """The lab's names, each with the last key of its place in a response."""
    for our, path in paths.items():
        yield our, path.rpartition(".")[2]


def _placeholder_keys(body: JsonValue) -> Iterator[tuple[str, str]]:
    """Each placeholder and the key that has it as value, at any depth of objects."""
    if isinstance(body, dict):
        for key, value in body.items():
            if isinstance(value, str) and value.startswith("{") and value.endswith("}"):
                yield value[1:-1].removesuffix(":number"), key
            yield from _placeholder_keys(value)


def _differing_pairs(pairs: list[tuple[str, str]]) -> _Pairs:
    return tuple((our, their) for our, their in dict.fromkeys(pairs) if their and our != their)


# ── Translator

ARRANGEMENT = "async-bus"
TranslateEvent = Callable[[dict[str, Any]], dict[str, Any]]


class EventTranslator:
    """`service` and `bus`: the URLs at which each takes events; `path`: the path to which the
    service publishes; `names`: its field names."""

    def __init__(self, service: str, bus: str, path: str, names: FieldNames) -> None:
        self._service, self._bus, self._path, self._names = service, bus, path, names
        self._client: aiohttp.ClientSession | None = None
        self.under_way = 0

    async def forward_to_service(self, request: web.BaseRequest) -> web.Response:
        """`POST /events`: forward an event of the bus to the service."""
        return await self._forward(self._service, self._names.to_service, request)

    async def publish(self, request: web.BaseRequest) -> web.Response:
        """An event that the service publishes: forward it to the bus."""
        return await self._forward(self._bus, self._names.to_lab, request)

    async def all_events(self, request: web.BaseRequest) -> web.Response:
        """All events of the bus, for the service."""
        status, body = await self._request("GET", self._bus, None)
        if status != 200:
            return _json_bytes_response(status, body)
        return answer([self._names.to_service(event) for event in from_json(body)])

    async def serve_bus(self, port: int) -> None:
        """Run until cancelled: serve the bus's API on `port`, under any host name."""
        routes = [
            Route("POST", self._path, self.publish, raw=True),
            Route("GET", self._path, self.all_events, raw=True),
        ]
        app = HttpApp(routes, port, any_host=True)
        try:
            async with serve(app, *listen_on_loopbacks(port), shutdown_within_s=0.1):
                await asyncio.Event().wait()
        finally:
            if self._client:
                await self._client.close()

    async def _forward(
        self, url: str, translate: TranslateEvent, request: web.BaseRequest
    ) -> web.Response:
        try:
            event = from_json(await read_body(request, MAX_BODY_BYTES))
        except ValueError as error:
            raise Invalid(f"Not an event {{type, data}}: {error}.", field="body") from None
        if not isinstance(event, dict):
            raise Invalid("Not an event {type, data}: it is no object.", field="body")
        return _json_bytes_response(*await self._request("POST", url, translate(event)))

    async def _request(self, method: str, url: str, body: Any) -> tuple[int, bytes]:
        """Status and body of the other side's response. Raises Unreachable, BadGateway."""
        self.under_way += 1
        try:
            async with self._session().request(method, url, json=body) as response:
                return response.status, await response.read()
        except aiohttp.ClientConnectorError as error:
            raise Unreachable(f"{url} can't be asked: {error}.") from None
        except (aiohttp.ClientError, OSError) as error:
            raise BadGateway(f"{url}: {error or type(error).__name__}.", definite=False) from None
        finally:
            self.under_way -= 1

    def _session(self) -> aiohttp.ClientSession:
        if self._client is None:  # no timeout and no kept-alive connections, like axios
            self._client = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
                timeout=aiohttp.ClientTimeout(total=None),
            )
        return self._client


def _json_bytes_response(status: int, body: bytes) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/json")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m lab.external.translator",
        description="Translates events between one external service and the lab's own bus.",
    )
    ShellOptions.arguments(parser, 0)
    add = parser.add_argument
    add("--name", required=True, help="what the service is: posts, comments, query, moderation")
    add("--service", required=True, metavar="URL", help="where it takes events")
    add("--bus", required=True, metavar="URL", help="where the lab's bus takes events")
    add("--bus-port", type=int, required=True, help="where the service looks for the bus")
    add("--events", default="/events", metavar="PATH", help="and under which path (/events)")
    add(
        "--mapping",
        type=Path,
        metavar="FILE",
        help="JSON: how the service is asked, which says its words; without, the course's",
    )
    args = parser.parse_args(argv)
    actions = Actions.model_validate_json(args.mapping.read_text("utf-8") if args.mapping else "{}")
    translator = EventTranslator(
        args.service, args.bus, args.events, FieldNames.from_actions(actions)
    )
    routes = [Route("POST", "/events", translator.forward_to_service, raw=True)]
    shell = Shell(ARRANGEMENT, args.name, routes, ShellOptions.of(args))
    shell.state = lambda: {"busy": translator.under_way}

    shell.run(lambda: translator.serve_bus(args.bus_port))


if __name__ == "__main__":
    main()
