"""Finds the three actions of a blog among the routes: create a post, create a comment, read the
feed."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from lab.domain.services import BUS
from lab.external.adopt.languages import BODY_FIELD
from lab.external.adopt.routes import DetectedRoute
from lab.external.adopt.services import DetectedService
from lab.external.adopt.sources import GuessedValue, SourceFile
from lab.external.mapping import Actions

_TITLE_FIELDS = ("title", "name", "subject", "headline")
_CONTENT_FIELDS = ("content", "comment", "text", "message", "body", "comment_text")
_POST_FIELDS = ("postId", "post_id", "post", "postID", "PostID", "blogId")
_NO_TEXT = frozenset(
    ("type", "data", "event", "payload", "id", "_id", "status", "comments", "error")
)
_PARAMETER = re.compile(r":\w+|<[^>]*>|\{[^}]*\}")
_POST_WORDS = ("post", "article", "blog")
_FEED_ROLES = ("query", "feed", "reader", "queries", "read", "aggregator", "view")
_NOT_CONTENT = re.compile(r"event|login|log-?out|register|sign|auth|user|like|vote|upload|health")

Score = Callable[[DetectedRoute, DetectedService], int]


def find_actions(
    services: list[DetectedService], bus: str | None
) -> dict[str, dict[str, GuessedValue]]:
    """For each action, the keys that differ from the course's."""
    course = Actions()
    actions = {
        name: _find_action(name, score, services, bus, getattr(course, name).model_dump())
        for name, score in SCORES.items()
    }
    actions["read_feed"] |= _guess_feed_fields(actions)
    return actions


def best_route(
    name: str, services: list[DetectedService], bus: str | None = None
) -> tuple[DetectedRoute, DetectedService] | None:
    """The route that fits an action best; None if none does."""
    score = SCORES[name]
    scored = [
        (score(route, service), -number, route, service)
        for number, service in enumerate(services)
        if service.name != bus
        for route in service.routes
    ]
    best = max(scored, key=lambda candidate: candidate[:2], default=None)
    return (best[2], best[3]) if best and best[0] > 0 else None


# ── How well a route fits an action; 0: not at all


def _score_post_route(route: DetectedRoute, service: DetectedService) -> int:
    if route.method not in ("POST", "PUT", "") or _PARAMETER.search(route.path):
        return 0
    if "comment" in route.path or _NOT_CONTENT.search(route.path):
        return 0
    owner = any(word in service.role for word in _POST_WORDS)
    fit = 2 * any(word in route.path for word in _POST_WORDS) + owner
    return 2 * fit + (route.method == "POST") if fit else 0


def _score_comment_route(route: DetectedRoute, service: DetectedService) -> int:
    owner = "comment" in service.role
    if route.method not in ("POST", "PUT", "") or _NOT_CONTENT.search(route.path):
        return 0
    if "comment" not in route.path and not owner:
        return 0
    parameters = len(_PARAMETER.findall(route.path))
    fit = 2 * ("comment" in route.path) + (parameters == 1) - (parameters > 1) + owner
    return 2 * fit + (route.method == "POST") if fit > 0 else 0


def _score_feed_route(route: DetectedRoute, service: DetectedService) -> int:
    if route.method not in ("GET", "") or _PARAMETER.search(route.path):
        return 0
    if "comment" in route.path or _NOT_CONTENT.search(route.path):
        return 0
    collects = service.role in _FEED_ROLES or "query" in service.role
    words = (*_POST_WORDS, "feed", "quer")
    if not collects and not any(word in route.path for word in words):
        return 0
    writes = any(
        other.method == "POST" and not _NOT_CONTENT.search(other.path) for other in service.routes
    )
    hears = any("event" in other.path for other in service.routes)
    fit = 1 + 8 * collects + 4 * (hears and not writes) + 2 * ("feed" in route.path)
    return fit + any(word in route.path for word in words)


SCORES: Mapping[str, Score] = {
    "create_post": _score_post_route,
    "create_comment": _score_comment_route,
    "read_feed": _score_feed_route,
}


# ── The keys of an action


def _find_action(
    name: str,
    score: Score,
    services: list[DetectedService],
    bus: str | None,
    default: Mapping[str, Any],
) -> dict[str, GuessedValue]:
    best = best_route(name, services, bus)
    if best is None:
        there = next((service for service in services if service.name == default["service"]), None)
        if there or not services:
            return {}
        why = "no route was found that looks like it"
        return {"service": GuessedValue(services[0].name, why, certain=False)}
    route, service = best
    keys: dict[str, GuessedValue] = {}
    path = _PARAMETER.sub("{post_id}", route.path)
    if service.name != default["service"]:
        alone = name == "read_feed" and "comment" not in _text_of(service) and len(services) > 1
        reason = f"{route.location}; no service was found that lists posts with their comments"
        keys["service"] = (
            GuessedValue(service.name, reason, certain=False)
            if alone
            else GuessedValue(service.name, route.location)
        )
    if path != default["path"]:
        # A router contains only the end of a path; other code adds the beginning.
        shown_route = " ".join((route.method, route.path)).strip()
        keys["path"] = GuessedValue(path, f"{route.location}: {shown_route}", certain=path != "/")
    keys |= dict(_body_and_id(name, service, route, path, default))
    if name == "read_feed" and (inside := _find_list_key(service, route)):
        keys["posts"] = inside
    return keys


_ANSWERED_KEY = re.compile(
    r"(?:json|send|jsonify)\(\s*\{[^{}]*?[\"']?\b(?P<key>posts|articles|blogs|feed|data|items|results)"
    r"\b[\"']?\s*[:,}]"
    r"|return\s+\{[^{}]*?[\"'](?P<python>posts|articles|blogs|feed|data|items|results)[\"']\s*:"
    r"|jsonify\(\s*(?P<named>posts|articles|blogs|feed|data|items|results)\s*="
)


_ANSWERS = re.compile(r"\b(?:json|send|jsonify)\(|\breturn\s+[\w{\[]")


def _find_list_key(service: DetectedService, route: DetectedRoute) -> GuessedValue | None:
    """The key of the response under which the posts are, as in `res.json({ posts })`."""
    code = route.source.without_comments
    begin, end = _extent(route, service.routes)
    if _ANSWERS.search(code, begin, end):
        found = [(route.source, _ANSWERED_KEY.search(code, begin, end))]
    else:  # the handler is elsewhere
        others = [source for source in service.sources if source is not route.source]
        found = [(source, _ANSWERED_KEY.search(source.without_comments)) for source in others]
    for source, match in found:
        if match:
            key = next(text for text in match.groups() if text)
            where = f"{source.location(match.start())}: {source.line_at(match.start())}"
            return GuessedValue(key, where, certain=source is route.source)
    return None


def _text_of(service: DetectedService) -> str:
    return "\n".join(source.without_comments.lower() for source in service.sources)


def _body_and_id(
    name: str,
    service: DetectedService,
    route: DetectedRoute,
    path: str,
    default: Mapping[str, Any],
) -> Iterator[tuple[str, GuessedValue]]:
    """The keys `body` and `id` of an action, if they differ from the course's."""
    usual_fields = {"create_post": _TITLE_FIELDS, "create_comment": _CONTENT_FIELDS}.get(name, ())
    if not usual_fields:
        return
    of_service = dict(_find_body_fields(service))
    of_route = dict(_find_body_fields(service, route, service.routes))
    body_fields = of_route if set(of_route) & set(usual_fields) else of_service
    key = next(
        (field_name for field_name in usual_fields if field_name in body_fields), usual_fields[0]
    )
    value = "{title}" if name == "create_post" else "{content}"
    body = {key: value}
    places = [body_fields[key]] if key in body_fields else []
    if name == "create_comment" and "{post_id}" not in path:
        post = next((field for field in _POST_FIELDS if field in body_fields), "postId")
        body[post] = "{post_id}"
        places += [body_fields[post]] if post in body_fields else []
    if key in of_route:  # what else this handler reads, it may demand
        others = [field for field in of_route if field not in (*body, *_NO_TEXT, *_POST_FIELDS)]
        body |= dict.fromkeys(others, value)
    if body != default["body"]:
        inside = ", ".join(f'{field} = "{value}"' for field, value in body.items())
        yield "body", GuessedValue(f"{{ {inside} }}", places[0] if places else "", bool(places))
    if (id_guess := _find_id_field(service, route)) and id_guess.value != default["id"]:
        yield "id", id_guess


def _find_body_fields(
    service: DetectedService,
    route: DetectedRoute | None = None,
    routes: list[DetectedRoute] | None = None,
) -> Iterator[tuple[str, str]]:
    """Each field that handlers read from a body, with file and line; of one route's, or all."""
    for source in service.sources:
        begin, end = 0, len(source.text)
        if route is not None:
            if source is not route.source:
                continue
            begin, end = _extent(route, routes or ())
            yield from _find_model_fields(source, begin, end)
        for match in BODY_FIELD.finditer(source.without_comments, begin, end):
            place = f"{source.location(match.start())}: {source.line_at(match.start())}"
            groups = [value for value in match.groups() if value]
            for text in groups:
                if match["many"]:
                    yield from ((key, place) for key in re.findall(r"(?<![\w:] )\b\w+", text))
                else:
                    yield text, place


def _extent(route: DetectedRoute, routes: Iterable[DetectedRoute]) -> tuple[int, int]:
    """Where the handler of a route is in its file: until the next route."""
    offsets = [other.offset for other in routes if other.source is route.source]
    later = [offset for offset in offsets if offset > route.offset]
    return route.offset, min(later, default=len(route.source.text))


def _find_model_fields(source: SourceFile, begin: int, end: int) -> Iterator[tuple[str, str]]:
    """The fields without a default of the model that a handler of FastAPI takes."""
    code = source.without_comments
    taken = re.search(r"\bdef\s+\w+\(([^)]*)\)", code[begin:end])
    for model in re.findall(r"\w+\s*:\s*(\w+)", taken[1]) if taken else ():
        made = re.search(rf"^class {model}\(\w*Model\):\n((?:[ \t]+.*\n|\n)*)", code, re.MULTILINE)
        if made is None:
            continue
        for field in re.finditer(r"^\s+(\w+)\s*:\s*str\s*$", made[1], re.MULTILINE):
            place = source.location(made.start(1) + field.start(1))
            yield field[1], f"{place}: {field[0].strip()}"


_MADE_ID = re.compile(
    r"(?:const|let|var)\s+(?P<name>\w*[iI][dD])\s*=\s*(?:await\s+)?[^;\n]*?"
    r"(?:randomBytes|randomUUID|uuid|nanoid|v4\(|ObjectId|shortid|Math\.random|Date\.now)"
)


def _find_id_field(service: DetectedService, route: DetectedRoute) -> GuessedValue | None:
    """The name of the id in what the handler of a route makes."""
    others = [source for source in service.sources if source is not route.source]
    for source in (route.source, *others):
        code = source.without_comments
        if made := _MADE_ID.search(code, route.offset if source is route.source else 0):
            name = made["name"]
            is_id = name == "id" or re.search(rf"\b_?id\s*:\s*{name}\b", code)
            if not is_id and re.search(rf"[{{,]\s*{name}\s*[,}}]", code):
                place = f"{source.location(made.start())}: {source.line_at(made.start())}"
                return GuessedValue(name, place)
            break
    for source in service.sources:
        if found := re.search(r"\b_id\b", source.without_comments):
            return GuessedValue("_id", source.location(found.start()), certain=False)
    return None


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


def is_bus_role(service: DetectedService) -> bool:
    """Whether its name says that it is an event bus."""
    return service.role == BUS or bool({"bus", "broker"} & set(service.role.split("-")))
