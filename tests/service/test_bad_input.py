"""For any bad body: a problem document that names the mistake, and nothing is stored."""

import importlib
import itertools
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest

from lab.domain.services import SERVICES
from tests.support import wire
from tests.support.laboratory import RunningBlog
from tests.support.refusals import assert_is_problem, assert_problem_document, rows_on_disk

JSON = "application/json"
WRONG_VALUES: dict[str, str] = {
    "a number": "1",
    "null": "null",
    "true": "true",
    "a list": '["x"]',
    "an object": '{"x": "y"}',
    "empty": '""',
    "blank": '" \\t\\u3000\\n"',
    "too long": json.dumps("x" * 2_001),
    "NaN": "NaN",
    "minus infinity": "-Infinity",
}
NO_JSON: dict[str, bytes] = {
    "empty": b"",
    "white space": b" \n",
    "null": b"null",
    "a list": b"[]",
    "a text": b'"text"',
    "invalid UTF-8": b'{"FIELD": "\xff\xfe"}',
    "overlong UTF-8": b'{"FIELD": "\xc0\xaf"}',
    "a lone surrogate": rb'{"FIELD": "\ud800"}',
    "surrogates the wrong way round": rb'{"FIELD": "\udc00\ud800"}',
    "5,000 digits": b'{"FIELD": ' + b"9" * 5_000 + b"}",
    "a raw control character": b'{"FIELD": "a\x00b"}',
    "deep lists": b'{"FIELD": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "deep objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "cut off": b'{"FIELD": "tex',
    "two documents": b'{"FIELD": "a"}{"FIELD": "b"}',
    "UTF-16": '{"FIELD": "a"}'.encode("utf-16"),
    "gzip": bytes.fromhex("1f8b08000000000002ffab2e2d492d2e01"),
}
NOT_CALLED_JSON = [
    "",
    "text/plain",
    "application/x-www-form-urlencoded",
    "application/jsonp",
    "json",
    "\xff",
]
NO_TRACEPARENTS = [b"x" * 300, f"00-{'漢' * 32}-{'漢' * 16}-01".encode(), b"\xff\xfe" * 9, b""]


class PostRoute(NamedTuple):
    """A route of a running service that takes a body with one field."""

    blog: RunningBlog
    target: str
    path: str
    field: str

    @property
    def url(self) -> str:
        return self.blog.stack.urls[self.target]

    @property
    def fine(self) -> bytes:
        return json.dumps({self.field: "fine"}).encode()

    def send(self, body: bytes, content_type: str = JSON, query: str = "") -> Any:
        headers = {"Content-Type": content_type} if content_type else {}
        return self.blog.ask("POST", self.target, self.path + query, data=body, headers=headers)

    def raw(self, body: bytes = b"", **headers: str) -> bytes:
        return wire.request(self.url, f"POST {self.path}", body, **headers)


@pytest.fixture
def routes(blog: RunningBlog) -> list[PostRoute]:
    """Every route of an arrangement that takes a body, read from the services themselves."""
    post_id = str(blog.write_post()["id"])
    found = []
    for target in SERVICES:
        # The monolith runs the chain's services in one process.
        module = blog.stack.arrangement.programs.get(target, f"lab.sync_chain.{target}")
        for route in importlib.import_module(module).service.routes:
            if route.body:
                (field,) = route.body[1].model_fields
                path = route.path.replace("{post_id}", post_id)
                found.append(PostRoute(blog, target, path, field))
    assert len(found) >= 2
    return found


@pytest.fixture
def refusing(blog: RunningBlog, routes: list[PostRoute]) -> Iterator[list[PostRoute]]:
    """The same routes, for requests that must be refused: these leave no row in any database."""
    blog.settle()
    before = rows_on_disk(blog)
    assert sum(before.values()) > 0
    yield routes
    blog.settle()
    assert rows_on_disk(blog) == before


def test_a_wrong_body_is_refused_and_its_field_named(refusing: list[PostRoute]) -> None:
    for route in refusing:
        field = route.field
        for value in WRONG_VALUES.values():
            assert_is_problem(route.send(f'{{"{field}": {value}}}'.encode()), 400, field)
        for body in NO_JSON.values():
            assert_is_problem(route.send(body.replace(b"FIELD", field.encode())), 400, "body")
        assert_is_problem(route.send(b"{}"), 400, field)
        unknown = json.dumps({field: "fine", "status": "approved"}).encode()
        assert_is_problem(route.send(unknown), 400, "status")
        assert_is_problem(route.send(route.fine, query="?pretty=1"), 400, "pretty")
        for content_type in NOT_CALLED_JSON:
            assert_is_problem(route.send(route.fine, content_type), 415)


def test_a_too_large_body_is_refused_before_its_end(refusing: list[PostRoute]) -> None:
    def replies(route: PostRoute) -> list[wire.RawReply]:
        announced, _, _ = route.raw(b" " * 65_537).partition(b"\r\n\r\n")
        chunked = route.raw(Content_Type=JSON, Transfer_Encoding="chunked")
        chunks = (b"1000\r\n" + b" " * 4_096 + b"\r\n") * 17
        return [wire.send(route.url, one) for one in (announced + b"\r\n\r\n", chunked + chunks)]

    with ThreadPoolExecutor() as pool:  # each connection is closed a second later
        for reply in itertools.chain(*pool.map(replies, refusing)):
            assert reply.status == 413
            assert_problem_document(reply.data, 413)


def test_a_body_that_breaks_off_leaves_nothing(refusing: list[PostRoute]) -> None:
    for route in refusing:
        with wire.connect(route.url) as connection:
            connection.sendall(route.raw(route.fine)[:-3])
        assert_is_problem(route.send(b"{}"), 400, route.field)


def test_an_unusual_but_correct_request_is_taken(routes: list[PostRoute]) -> None:
    for route in routes:
        assert route.send(route.fine, "Application/JSON; charset=utf-8").ok
        assert route.send(route.fine.ljust(65_536)).ok
        for value in NO_TRACEPARENTS:
            sent = route.raw(route.fine, traceparent=value.decode("latin-1") or " ")
            assert wire.send(route.url, sent).status in (200, 201), value
