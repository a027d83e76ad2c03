"""Finds how the services belong together: their bus, their host names, the three actions."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import yaml

from lab.domain.services import BUS
from lab.external.adopt.languages import BODY_FIELD, URL
from lab.external.adopt.sources import (
    YAML_SUFFIXES,
    DetectedRoute,
    DetectedService,
    GuessedValue,
    SourceFile,
    service_slug,
)
from lab.external.mapping import Actions
from lab.external.responses import value_at

_LOCAL_HOSTS = ("localhost", "127", "0", "host")
_TITLE_FIELDS = ("title", "name", "subject", "headline")
_CONTENT_FIELDS = ("content", "comment", "text", "message", "body")
_PARAMETER = re.compile(r":\w+|<[^>]*>|\{[^}]*\}")
_NAME_SUFFIX = re.compile(r"-(?:clusterip|srv|svc|service|depl|api|server)\b")


@dataclass
class DetectedSystem:
    """`actions`: for each action, the keys that differ from the course's. `unknown`: a sentence for
    each address that leads to no known service."""

    bus: GuessedValue | None = None
    events: GuessedValue | None = None
    hosts: dict[str, GuessedValue] = field(default_factory=dict)
    actions: dict[str, dict[str, GuessedValue]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)


def find_system(services: list[DetectedService], sources: list[SourceFile]) -> DetectedSystem:
    """The bus, the host names and the actions of the services found."""
    system = DetectedSystem(bus=_find_bus(services))
    _find_hosts(system, services, sources)
    if system.bus and (
        bus := next((service for service in services if service.name == system.bus.value), None)
    ):
        paths = [route for route in bus.routes if route.method in ("POST", "")]
        events = next((route for route in paths if "event" in route.path), None)
        if events and events.path != "/events":
            system.events = GuessedValue(events.path, events.location)
    course = Actions()
    for name, score in (
        ("create_post", _score_post_route),
        ("create_comment", _score_comment_route),
        ("read_feed", _score_feed_route),
    ):
        default = getattr(course, name)
        system.actions[name] = _find_action(name, score, services, default.model_dump())
    system.actions["read_feed"] |= _guess_feed_fields(system.actions)
    return system


def _guess_feed_fields(
    actions: Mapping[str, Mapping[str, GuessedValue]],
) -> dict[str, GuessedValue]:
    """Guess field names of the feed: an unusual name in `create_…` is probably used there, too."""
    guesses: dict[str, GuessedValue] = {}
    for key, action in (("post", "create_post"), ("comment", "create_comment")):
        names = []
        if (id_guess := actions[action].get("id")) is not None:
            names.append(f'id = "{id_guess.value}"')
        body = actions[action].get("body")
        field = re.match(r"\{ (\w+) =", body.value) if body else None
        default = "title" if key == "post" else "content"
        if field and field[1] != default:
            names.append(f'{default} = "{field[1]}"')
        if names:
            guesses[key] = GuessedValue(
                f"{{ {', '.join(names)} }}", f"as in {action}", certain=False
            )
    return guesses


def _find_bus(services: list[DetectedService]) -> GuessedValue | None:
    """The service that sends events to several others; otherwise one that is named as a bus."""
    for service in services:
        event_urls = {
            match[0]: source.location(match.start())
            for source in service.sources
            for match in URL.finditer(source.without_comments)
            if "event" in (match["path"] or "")
        }
        if len(event_urls) > 1 and any("event" in route.path for route in service.routes):
            return GuessedValue(
                service.name,
                f"{next(iter(event_urls.values()))}: it asks {len(event_urls)} others for /events",
            )
    candidates = [
        service for service in services if service.name == BUS or "bus" in service.name.split("-")
    ]
    return GuessedValue(candidates[0].name, "its name") if candidates else None


def _find_hosts(
    system: DetectedSystem, services: list[DetectedService], sources: list[SourceFile]
) -> None:
    names = [service.name for service in services]
    by_port = {service.port.value: service.name for service in services if service.port}
    apps = _names_in_deployments(sources, system.unknown)
    for source in {
        id(source): source for service in services for source in service.sources
    }.values():
        for match in URL.finditer(source.without_comments):
            host, port = match["host"].lower(), match["port"]
            place = f"{source.location(match.start())}: {match[0]}"
            if host in _LOCAL_HOSTS:
                if (port or "").isdecimal() and port not in by_port:
                    system.unknown.append(
                        f"{place} leads to a port on which no service here listens."
                    )
                continue
            if host in names or host in system.hosts or ("-" not in host and host not in apps):
                continue
            stem = _NAME_SUFFIX.sub("", host)
            service = apps.get(host) or stem
            if (service := service.removesuffix("-")) in names:
                system.hosts[host] = GuessedValue(service, place)
            elif port in by_port:
                system.hosts[host] = GuessedValue(
                    by_port[port], f"{place}, by its port", certain=False
                )
            else:
                system.unknown.append(f"{place}: no service was found for this name.")


def _names_in_deployments(sources: list[SourceFile], unknown: list[str]) -> dict[str, str]:
    """The host names in Kubernetes and Docker Compose files, and the service that each names.

    Adds a sentence to `unknown` for each file that can't be read.
    """
    names: dict[str, str] = {}
    for source in sources:
        if source.path.suffix not in YAML_SUFFIXES:
            continue
        try:
            for document in yaml.safe_load_all(source.text):
                if isinstance(document, dict):
                    names |= _kubernetes_names(document)
                    names |= _compose_names(document, source.path.parent.name)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            where = f"{source.path.as_posix()}:{mark.line + 1}" if mark else source.path.as_posix()
            unknown.append(f"{where}: it is no valid YAML, so the names in it are not known.")
    return names


def _kubernetes_names(document: dict[Any, Any]) -> dict[str, str]:
    """The name of a Kubernetes Service, and the app that it selects."""
    if document.get("kind") != "Service":
        return {}
    name = value_at(document, "metadata.name")
    selector = value_at(document, "spec.selector")
    if not isinstance(name, str) or not isinstance(selector, dict):
        return {}
    app = selector.get("app") or selector.get("name")
    return {name.lower(): app.lower()} if isinstance(app, str) else {}


def _compose_names(document: dict[Any, Any], folder: str) -> dict[str, str]:
    """The services of a Docker Compose file in `folder`, and the folder that each is built from."""
    names = {}
    services = document.get("services")
    for name, service in services.items() if isinstance(services, dict) else ():
        build = service.get("build") if isinstance(service, dict) else None
        context = build.get("context") if isinstance(build, dict) else build
        if isinstance(name, str) and isinstance(context, str):
            names[name.lower()] = service_slug(PurePosixPath(context).name or folder)
    return names


def _score_post_route(route: DetectedRoute, service: DetectedService) -> int:
    """How well a route fits the action; 0: not at all."""
    if route.method == "GET" or _PARAMETER.search(route.path) or "event" in route.path:
        return 0
    if "comment" in route.path:
        return 0
    return (2 if "post" in route.path else 0) + (1 if "post" in service.name else 0)


def _score_comment_route(route: DetectedRoute, service: DetectedService) -> int:
    if route.method == "GET" or "comment" not in route.path:
        return 0
    return 2 + bool(_PARAMETER.search(route.path)) + ("comment" in service.name)


def _score_feed_route(route: DetectedRoute, service: DetectedService) -> int:
    if route.method not in ("GET", "") or _PARAMETER.search(route.path):
        return 0
    if "post" not in route.path and "feed" not in route.path:
        return 0
    return 1 + 4 * (service.name in ("query", "feed", "reader")) + ("feed" in route.path)


def _find_action(
    name: str, score: Any, services: list[DetectedService], default: Mapping[str, Any]
) -> dict[str, GuessedValue]:
    scored = [
        (score(route, service), -number, route, service)
        for number, service in enumerate(services)
        for route in service.routes
    ]
    best = max(scored, key=lambda candidate: candidate[:2], default=None)
    if best is None or not best[0]:
        there = next((service for service in services if service.name == default["service"]), None)
        if there or not services:
            return {}
        why = "no route was found that looks like it"
        return {"service": GuessedValue(services[0].name, why, certain=False)}
    _, _, route, service = best
    keys: dict[str, GuessedValue] = {}
    path = _PARAMETER.sub("{post_id}", route.path)
    if service.name != default["service"]:
        keys["service"] = GuessedValue(service.name, route.location)
    if path != default["path"]:
        # A router contains only the end of a path; other code adds the beginning.
        shown_route = " ".join((route.method, route.path)).strip()
        keys["path"] = GuessedValue(path, f"{route.location}: {shown_route}", certain=path != "/")
    keys |= dict(_body_and_id(name, service, path, default))
    return keys


def _body_and_id(
    name: str, service: DetectedService, path: str, default: Mapping[str, Any]
) -> Iterator[tuple[str, GuessedValue]]:
    """The keys `body` and `id` of an action, if they differ from the course's."""
    body_fields = dict(_find_body_fields(service))
    usual_fields = {"create_post": _TITLE_FIELDS, "create_comment": _CONTENT_FIELDS}.get(name, ())
    if usual_fields:
        key = next(
            (field_name for field_name in usual_fields if field_name in body_fields),
            usual_fields[0],
        )
        body = {key: "{title}" if name == "create_post" else "{content}"}
        places = [body_fields[key]] if key in body_fields else []
        if name == "create_comment" and "{post_id}" not in path:
            post = next(
                (
                    field_name
                    for field_name in ("postId", "post_id", "post")
                    if field_name in body_fields
                ),
                "postId",
            )
            body[post] = "{post_id}"
            places += [body_fields[post]] if post in body_fields else []
        if body != default["body"]:
            inside = ", ".join(f'{field} = "{value}"' for field, value in body.items())
            yield "body", GuessedValue(f"{{ {inside} }}", places[0] if places else "", bool(places))
        if (id_guess := _find_id_field(service)) and id_guess.value != default["id"]:
            yield "id", id_guess


def _find_body_fields(service: DetectedService) -> Iterator[tuple[str, str]]:
    """Each field that a handler reads from a body, with file and line."""
    for source in service.sources:
        for match in BODY_FIELD.finditer(source.without_comments):
            place = f"{source.location(match.start())}: {source.line_at(match.start())}"
            groups = [value for value in match.groups() if value]
            for text in groups:
                for key in re.findall(r"\w+", text) if match["many"] else [text]:
                    yield key, place


def _find_id_field(service: DetectedService) -> GuessedValue | None:
    for source in service.sources:
        if found := re.search(r"\b_id\b", source.without_comments):
            return GuessedValue("_id", source.location(found.start()), certain=False)
    return None
