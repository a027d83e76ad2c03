"""Whatever is sent as a body: a problem document that names the fault, and nothing is kept."""

import importlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from lab.cluster.topology import ARRANGEMENTS
from lab.domain.directory import SERVICES
from tests.support import wire
from tests.support.laboratory import Blog
from tests.support.refusals import assert_document, assert_is_problem, rows_on_disk

J = "application/json"


def _post_routes() -> Iterator[tuple[str, str, str, str]]:
    """(arrangement, target, path, field of the body), read from the services themselves."""
    for arrangement in ARRANGEMENTS.values():
        for target in SERVICES:
            # The monolith's services are those of the chain, in one process.
            module = arrangement.programs.get(target, f"lab.sync_chain.{target}")
            for route in importlib.import_module(module).service.routes:
                if route.body:
                    (field,) = route.body[1].model_fields
                    yield arrangement.name, target, route.path, field


POSTS = list(_post_routes())
IDS = [f"{arrangement}-{target}" for arrangement, target, _, _ in POSTS]

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


@pytest.fixture(scope="module")
def post_ids(blogs: dict[str, Blog]) -> dict[str, str]:
    return {name: str(blog.write_post()["id"]) for name, blog in blogs.items()}


class Sender:
    """Sends a body to a route that takes one."""

    def __init__(self, blog: Blog, post_id: str, target: str, path: str, field: str) -> None:
        self.blog, self.target, self.field = blog, target, field
        self.path = path.replace("{post_id}", post_id)
        self.url = blog.stack.urls[target]

    def __call__(self, body: bytes, content_type: str = J, query: str = "") -> Any:
        headers = {"Content-Type": content_type} if content_type else {}
        path = self.path + query
        return self.blog.ask("POST", self.target, path, data=body, headers=headers)


@pytest.fixture(params=POSTS, ids=IDS)
def post_to(
    request: pytest.FixtureRequest, blogs: dict[str, Blog], post_ids: dict[str, str]
) -> Sender:
    """A route that takes a body."""
    arrangement, target, path, field = request.param
    return Sender(blogs[arrangement], post_ids[arrangement], target, path, field)


@pytest.fixture
def refusing(post_to: Sender) -> Iterator[Sender]:
    """The same, for what must be refused: it leaves no row in any database of the stack."""
    post_to.blog.settle()
    before = rows_on_disk(post_to.blog)
    assert sum(before.values()) > 0
    yield post_to
    post_to.blog.settle()
    assert rows_on_disk(post_to.blog) == before


@pytest.mark.parametrize("value", WRONG_VALUES.values(), ids=WRONG_VALUES)
def test_a_wrong_value_is_refused_and_its_field_named(refusing: Sender, value: str) -> None:
    assert_is_problem(refusing(f'{{"{refusing.field}": {value}}}'.encode()), 400, refusing.field)


@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON)
def test_a_body_that_is_no_json_object_is_refused(refusing: Sender, body: bytes) -> None:
    assert_is_problem(refusing(body.replace(b"FIELD", refusing.field.encode())), 400, "body")


def test_a_missing_field_is_named(refusing: Sender) -> None:
    assert_is_problem(refusing(b"{}"), 400, refusing.field)


def test_an_unknown_field_is_refused_and_named(refusing: Sender) -> None:
    body = json.dumps({refusing.field: "fine", "status": "approved"}).encode()
    assert_is_problem(refusing(body), 400, "status")


def test_an_unknown_query_parameter_is_refused_and_named(refusing: Sender) -> None:
    body = json.dumps({refusing.field: "fine"}).encode()
    assert_is_problem(refusing(body, query="?pretty=1"), 400, "pretty")


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonp", "json", "\xff"],
)
def test_what_does_not_say_that_it_is_json_is_refused(refusing: Sender, content_type: str) -> None:
    body = json.dumps({refusing.field: "fine"}).encode()
    assert_is_problem(refusing(body, content_type), 415)


def test_json_with_parameters_is_taken(post_to: Sender) -> None:
    body = json.dumps({post_to.field: "fine"}).encode()
    assert post_to(body, "Application/JSON; charset=utf-8").ok


def test_a_body_of_64_kib_is_taken(post_to: Sender) -> None:
    body = json.dumps({post_to.field: "fine"}).encode()
    assert post_to(body.ljust(65_536)).ok


def test_a_larger_body_is_refused_by_its_announced_length(refusing: Sender) -> None:
    sent = wire.request(refusing.url, f"POST {refusing.path}", b" " * 65_537)
    reply = wire.send(refusing.url, sent[: sent.index(b"\r\n\r\n") + 4])
    assert reply.status == 413
    assert_document(reply.data, 413)


def test_a_larger_body_is_refused_when_it_comes_in_chunks(refusing: Sender) -> None:
    head = wire.request(
        refusing.url,
        f"POST {refusing.path}",
        Content_Type=J,
        Transfer_Encoding="chunked",
    )
    with wire.connect(refusing.url) as connection:
        connection.sendall(head + (b"1000\r\n" + b" " * 4_096 + b"\r\n") * 17)
        reply = wire.read_to_the_end(connection)
    assert reply.status == 413
    assert_document(reply.data, 413)


def test_a_client_that_leaves_in_the_middle_of_its_body_leaves_nothing(refusing: Sender) -> None:
    sent = wire.request(refusing.url, f"POST {refusing.path}", b'{"title": "fine"}')
    with wire.connect(refusing.url) as connection:
        connection.sendall(sent[:-3])
    assert_is_problem(refusing(b"{}"), 400, refusing.field)


@pytest.mark.parametrize(
    "traceparent", ["x" * 300, "00-" + "漢" * 32 + "-" + "漢" * 16 + "-01", "\udcff\udcfe" * 9, ""]
)
def test_a_traceparent_that_is_none_does_no_harm_and_the_post_is_taken(
    post_to: Sender, traceparent: str
) -> None:
    value = traceparent.encode("utf-8", "surrogateescape").decode("latin-1")
    body = json.dumps({post_to.field: "fine"}).encode()
    sent = wire.request(post_to.url, f"POST {post_to.path}", body, traceparent=value)
    assert wire.send(post_to.url, sent).status in (200, 201)
