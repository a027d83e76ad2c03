"""The published API documents are valid, and true of what the services really send."""

import importlib
from collections.abc import Iterator
from typing import Any

import pytest

from lab.cluster.arrangements import ARRANGEMENTS
from lab.domain.events import (
    EVENTS,
    CommentCreated,
    CommentModerated,
    CommentUpdated,
    Envelope,
    Event,
    PostCreated,
)
from lab.domain.services import BUS, SERVICES
from lab.service.http import Route
from lab.service.openapi import asyncapi
from tests.support.laboratory import RunningBlog

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
openapi_spec_validator = pytest.importorskip(
    "openapi_spec_validator", reason="openapi-spec-validator is not installed"
)

HOST = "127.0.0.1:4005"
COMMENT = {"id": "c1", "post_id": "p1", "content": "Well said"}
EVENTS_TOLD: dict[str, Event] = {
    "PostCreated": PostCreated(id="p1", title="Hello"),
    "CommentCreated": CommentCreated(**COMMENT),
    "CommentModerated": CommentModerated(**COMMENT, status="approved"),
    "CommentUpdated": CommentUpdated(**COMMENT, status="rejected"),
}


def routes_of(arrangement: str, service: str) -> list[Route]:
    module = importlib.import_module(ARRANGEMENTS[arrangement].programs[service])
    routes: list[Route] = module.service.routes
    return routes


def operations(document: dict[str, Any]) -> set[tuple[str, str]]:
    return {(method, path) for path, of in document["paths"].items() for method in of}


def public(routes: list[Route]) -> set[tuple[str, str]]:
    return {(route.method.lower(), route.path) for route in routes if not route.control}


def references(part: Any) -> Iterator[str]:
    """Every `$ref` in a document."""
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def resolve(document: dict[str, Any], reference: str) -> Any:
    """The target of a `#/…` reference; raises KeyError if there is none."""
    start, *steps = reference.split("/")
    assert start == "#", f"{reference} leads out of the document"
    part: Any = document
    for step in steps:
        part = part[step]
    return part


def payload(document: dict[str, Any], event: str) -> Any:
    """A validator of an event's payload, from the document's schema for its type."""
    schema = document["components"]["messages"][event]["payload"]
    return jsonschema.Draft202012Validator({**schema, "components": document["components"]})


def envelope(event: str) -> dict[str, Any]:
    wrapped = Envelope.around(EVENTS_TOLD[event], source="/tests", traceparent="00-a-b-01")
    return wrapped.model_dump(mode="json")


# ── Answers of services


def test_a_service_shows_a_valid_document_of_its_routes(blog: RunningBlog) -> None:
    for service in SERVICES:
        document = blog.get(service, "/openapi.json")
        openapi_spec_validator.validate(document)
        process = blog.stack.arrangement.process_of(service)
        assert document["info"]["title"] == f"{process} of {blog.arrangement}"
        known = routes_of("async-bus" if blog.arrangement == "async-bus" else "sync-chain", service)
        assert public(known) <= operations(document)
        assert not [path for path in document["paths"] if path.startswith("/_lab")]


def test_the_monolith_shows_the_routes_of_all_services(blogs: dict[str, RunningBlog]) -> None:
    everything = {route for name in SERVICES for route in public(routes_of("sync-chain", name))}
    assert operations(blogs["monolith"].get("posts", "/openapi.json")) == everything


def test_what_is_really_answered_is_what_the_document_says(blog: RunningBlog) -> None:
    post = blog.write_post()
    comment = blog.write_comment(post["id"])
    blog.settle()
    nobody = blog.ask("GET", "posts", "/posts/nobody").json()
    answers = {
        ("posts", "post", "/posts", "201"): post,
        ("posts", "get", "/posts", "200"): blog.get("posts", "/posts"),
        ("posts", "get", "/posts/{post_id}", "200"): blog.get("posts", f"/posts/{post['id']}"),
        ("posts", "get", "/posts/{post_id}", "default"): nobody,
        ("comments", "post", "/posts/{post_id}/comments", "201"): comment,
        ("query", "get", "/feed", "200"): blog.get("query", "/feed"),
        ("moderation", "get", "/verdicts", "200"): blog.get("moderation", "/verdicts"),
    }
    for (service, method, path, status), answered in answers.items():
        document = blog.get(service, "/openapi.json")
        (content,) = document["paths"][path][method]["responses"][status]["content"].values()
        schema = {**content["schema"], "components": document["components"]}
        assert answered
        jsonschema.Draft202012Validator(schema).validate(answered)


# ── Events on the bus


def test_the_bus_document_has_all_events_and_valid_references() -> None:
    document = asyncapi(HOST)
    assert document["asyncapi"] == "3.0.0"
    assert document["servers"]["bus"]["host"] == HOST
    assert set(document["components"]["messages"]) == set(EVENTS) == set(EVENTS_TOLD)
    assert set(document["channels"]["events"]["messages"]) == set(EVENTS)
    found = set(references(document))
    assert len(found) >= 2 * len(EVENTS)
    assert all(resolve(document, reference) for reference in found)


@pytest.mark.parametrize("event", EVENTS_TOLD)
def test_the_document_takes_a_real_event_and_no_other(event: str) -> None:
    validator = payload(asyncapi(HOST), event)
    validator.check_schema(validator.schema)
    event_json = envelope(event)
    validator.validate(event_json)
    validator.validate(event_json | {"partitionkey": "an extension of others"})
    other = next(name for name in EVENTS_TOLD if name != event)
    with pytest.raises(jsonschema.ValidationError, match="was expected"):
        validator.validate(event_json | {"type": other})
    for field in ("id", "source", "type", "time", "subject", "data"):
        with pytest.raises(jsonschema.ValidationError, match=f"'{field}' is a required property"):
            validator.validate({name: value for name, value in event_json.items() if name != field})
    required = {name for name, of in EVENTS[event].model_fields.items() if of.is_required()}
    assert required >= {"id"}
    for field in required:
        data = {name: value for name, value in event_json["data"].items() if name != field}
        with pytest.raises(jsonschema.ValidationError, match=f"'{field}' is a required property"):
            validator.validate(event_json | {"data": data})


def test_a_running_bus_shows_what_is_really_on_it(blogs: dict[str, RunningBlog]) -> None:
    for blog in blogs.values():
        if blog.has_bus:
            address = blog.stack.urls[BUS].removeprefix("http://")
            assert blog.get(BUS, "/asyncapi.json") == asyncapi(address)
    blog = blogs["async-bus"]
    blog.write_comment(blog.write_post()["id"])
    blog.settle()
    document = blog.get(BUS, "/asyncapi.json")
    lines = blog.ask("GET", BUS, "/events?after=0").text.splitlines()
    heard = [Envelope.from_json(line).model_dump(mode="json") for line in lines]
    assert {event["type"] for event in heard} == set(EVENTS)
    for event in heard:
        payload(document, event["type"]).validate(event)
