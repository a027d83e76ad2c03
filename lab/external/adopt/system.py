"""Finds how the services belong together: their bus, their host names, the three actions."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lab.domain.services import BUS
from lab.external.adopt.languages import FROM_BODY, URL
from lab.external.adopt.sources import Found, Guess, Route, Source
from lab.external.mapping import Actions

_LOCAL = ("localhost", "127", "0", "host")
_TITLES = ("title", "name", "subject", "headline")
_CONTENTS = ("content", "comment", "text", "message", "body")
_PARAMETER = re.compile(r":\w+|<[^>]*>|\{[^}]*\}")
_K8S_NAME = re.compile(r"^\s*name:\s*([A-Za-z0-9-]+)\s*$", re.MULTILINE)
_K8S_SELECTS = re.compile(r"selector:\s*\n\s*(?:app|name):\s*([A-Za-z0-9-]+)")
_OF_A_NAME = re.compile(r"-(?:clusterip|srv|svc|service|depl|api|server)\b")


@dataclass
class System:
    """`actions`: for each action, the keys that differ from the course's. `unknown`: a sentence for
    each address that leads to no known service."""

    bus: Guess | None = None
    events: Guess | None = None
    hosts: dict[str, Guess] = field(default_factory=dict)
    actions: dict[str, dict[str, Guess]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)


def find_system(found: list[Found], sources: list[Source]) -> System:
    """The bus, the host names and the actions of the services found."""
    system = System(bus=_bus(found))
    _addresses(system, found, sources)
    if system.bus and (bus := next((one for one in found if one.name == system.bus.value), None)):
        paths = [route for route in bus.routes if route.method in ("POST", "")]
        events = next((route for route in paths if "event" in route.path), None)
        if events and events.path != "/events":
            system.events = Guess(events.path, events.place)
    course = Actions()
    for name, pick in (("create_post", _post), ("create_comment", _comment), ("read_feed", _feed)):
        usual = getattr(course, name)
        system.actions[name] = _action(name, pick, found, usual.model_dump())
    system.actions["read_feed"] |= _as_they_were_created(system.actions)
    return system


def _as_they_were_created(actions: Mapping[str, Mapping[str, Guess]]) -> dict[str, Guess]:
    """Guess field names of the feed: an unusual name in `create_…` is probably used there, too."""
    told: dict[str, Guess] = {}
    for key, action in (("post", "create_post"), ("comment", "create_comment")):
        names = []
        if (of := actions[action].get("id")) is not None:
            names.append(f'id = "{of.value}"')
        body = actions[action].get("body")
        field = re.match(r"\{ (\w+) =", body.value) if body else None
        usual = "title" if key == "post" else "content"
        if field and field[1] != usual:
            names.append(f'{usual} = "{field[1]}"')
        if names:
            told[key] = Guess(f"{{ {', '.join(names)} }}", f"as in {action}", sure=False)
    return told


def _bus(found: list[Found]) -> Guess | None:
    """The service that sends events to several others; otherwise one that is named as a bus."""
    for one in found:
        to = {
            match[0]: source.place(match.start())
            for source in one.sources
            for match in URL.finditer(source.without_comments)
            if "event" in (match["path"] or "")
        }
        if len(to) > 1 and any("event" in route.path for route in one.routes):
            return Guess(
                one.name, f"{next(iter(to.values()))}: it asks {len(to)} others for /events"
            )
    named = [one for one in found if one.name == BUS or "bus" in one.name.split("-")]
    return Guess(named[0].name, "its name") if named else None


def _addresses(system: System, found: list[Found], sources: list[Source]) -> None:
    names = [one.name for one in found]
    by_port = {one.port.value: one.name for one in found if one.port}
    selected = _selected(sources)
    for source in {id(source): source for one in found for source in one.sources}.values():
        for match in URL.finditer(source.without_comments):
            host, port = match["host"].lower(), match["port"]
            place = f"{source.place(match.start())}: {match[0]}"
            if host in _LOCAL:
                if (port or "").isdecimal() and port not in by_port:
                    system.unknown.append(f"{place} leads to a port on which nobody here listens.")
                continue
            if host in names or host in system.hosts or ("-" not in host and host not in selected):
                continue
            stem = _OF_A_NAME.sub("", host)
            sure = selected.get(host) or stem
            if (sure := sure.removesuffix("-")) in names:
                system.hosts[host] = Guess(sure, place)
            elif port in by_port:
                system.hosts[host] = Guess(by_port[port], f"{place}, by its port", sure=False)
            else:
                system.unknown.append(f"{place}: which service is meant is not to be seen.")


def _selected(sources: list[Source]) -> dict[str, str]:
    """Names of Kubernetes services, and the app that each selects, from YAML files."""
    found = {}
    for source in sources:
        if source.path.suffix not in (".yaml", ".yml"):
            continue
        for document in re.split(r"^---\s*$", source.text, flags=re.MULTILINE):
            name, app = _K8S_NAME.search(document), _K8S_SELECTS.search(document)
            if "kind: Service" in document and name and app:
                found[name[1].lower()] = app[1].lower()
    return found


def _post(route: Route, service: Found) -> int:
    """How well a route fits the action; 0: not at all."""
    if route.method == "GET" or _PARAMETER.search(route.path) or "event" in route.path:
        return 0
    if "comment" in route.path:
        return 0
    return (2 if "post" in route.path else 0) + (1 if "post" in service.name else 0)


def _comment(route: Route, service: Found) -> int:
    if route.method == "GET" or "comment" not in route.path:
        return 0
    return 2 + bool(_PARAMETER.search(route.path)) + ("comment" in service.name)


def _feed(route: Route, service: Found) -> int:
    if route.method not in ("GET", "") or _PARAMETER.search(route.path):
        return 0
    if "post" not in route.path and "feed" not in route.path:
        return 0
    return 1 + 4 * (service.name in ("query", "feed", "reader")) + ("feed" in route.path)


def _action(name: str, pick: Any, found: list[Found], usual: Mapping[str, Any]) -> dict[str, Guess]:
    fits = [
        (pick(route, service), -number, route, service)
        for number, service in enumerate(found)
        for route in service.routes
    ]
    best = max(fits, key=lambda one: one[:2], default=None)
    if best is None or not best[0]:
        there = next((one for one in found if one.name == usual["service"]), None)
        if there or not found:
            return {}
        why = "no route was found that looks like it"
        return {"service": Guess(found[0].name, why, sure=False)}
    _, _, route, service = best
    keys: dict[str, Guess] = {}
    path = _PARAMETER.sub("{post_id}", route.path)
    if service.name != usual["service"]:
        keys["service"] = Guess(service.name, route.place)
    if path != usual["path"]:
        # A router contains only the end of a path; other code adds the beginning.
        says = " ".join((route.method, route.path)).strip()
        keys["path"] = Guess(path, f"{route.place}: {says}", sure=path != "/")
    keys |= dict(_fields(name, service, path, usual))
    return keys


def _fields(
    name: str, service: Found, path: str, usual: Mapping[str, Any]
) -> Iterator[tuple[str, Guess]]:
    """The keys `body` and `id` of an action, if they differ from the course's."""
    taken = dict(_taken_from_bodies(service))
    wanted = {"create_post": _TITLES, "create_comment": _CONTENTS}.get(name, ())
    if wanted:
        key = next((one for one in wanted if one in taken), wanted[0])
        body = {key: "{title}" if name == "create_post" else "{content}"}
        places = [taken[key]] if key in taken else []
        if name == "create_comment" and "{post_id}" not in path:
            post = next((one for one in ("postId", "post_id", "post") if one in taken), "postId")
            body[post] = "{post_id}"
            places += [taken[post]] if post in taken else []
        if body != usual["body"]:
            inside = ", ".join(f'{field} = "{value}"' for field, value in body.items())
            yield "body", Guess(f"{{ {inside} }}", places[0] if places else "", bool(places))
        if (of := _id_of(service)) and of.value != usual["id"]:
            yield "id", of


def _taken_from_bodies(service: Found) -> Iterator[tuple[str, str]]:
    """Each field that a handler reads from a body, with file and line."""
    for source in service.sources:
        for match in FROM_BODY.finditer(source.without_comments):
            place = f"{source.place(match.start())}: {source.line(match.start())}"
            groups = [value for value in match.groups() if value]
            for text in groups:
                for key in re.findall(r"\w+", text) if match["many"] else [text]:
                    yield key, place


def _id_of(service: Found) -> Guess | None:
    for source in service.sources:
        if found := re.search(r"\b_id\b", source.without_comments):
            return Guess("_id", source.place(found.start()), sure=False)
    return None
