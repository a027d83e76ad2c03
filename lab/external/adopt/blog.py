"""Finds which of the services in a folder are the blog, or says that none are."""

import re

from lab.external.adopt.actions import SCORES, best_route
from lab.external.adopt.languages import URL
from lab.external.adopt.services import DetectedService, named_service
from lab.external.adopt.system import LOCAL_HOSTS, DetectedSystem


class NoBlog(LookupError):
    """The services in the folder are no blog. The message says what they are."""


_BLOG_WORDS = re.compile(r"(?i)\b(?:post|comment)_?(?:created|updated|moderated)\b")
_BLOG_ROLES = ("post", "comment", "query", "moderation", "event-bus", "feed", "blog")


def blog_of(
    services: list[DetectedService], skipped: list[str], folder: str
) -> list[DetectedService]:
    """The services that belong to the blog. A sentence for each other one to `skipped`.

    A repository may hold several systems in folders of their own: then the blog is the folder with
    most of a blog's actions, and of several such folders the last one. Raises NoBlog.
    """
    groups: dict[str, list[DetectedService]] = {}
    for service in services:
        groups.setdefault(service.cwd.parent.as_posix(), []).append(service)
    completeness = {
        name: sum(best_route(action, group) is not None for action in SCORES)
        for name, group in groups.items()
    }
    together = sum(best_route(action, services) is not None for action in SCORES)
    best = max(groups, key=lambda name: (completeness[name], len(groups[name]) > 1, name))
    chosen = services
    if len(groups) > 1 and completeness[best] >= min(together, 2):
        chosen = groups[best] + [
            service
            for name, group in groups.items()
            for service in group
            if name != best and not completeness[name] and _is_called(service, groups[best])
        ]
    if not together and any(service.routes for service in services) and not _speaks_of(services):
        shown = ", ".join(f"{service.name} ({_shown_route(service)})" for service in services[:6])
        raise NoBlog(
            f"What is in {folder} is no blog: no route creates a post or a comment, and none lists "
            f"posts. Found: {shown}. The lab's load writes posts and comments and reads them. If "
            "these services do that under other names, write the file by hand: "
            "docs/bring-your-own.md."
        )
    for service in services:
        if service not in chosen:
            skipped.append(f"{service.cwd.as_posix()}: it is no part of the blog in {best}.")
    return [service for service in services if service in chosen]


def _shown_route(service: DetectedService) -> str:
    route = next((each for each in service.routes if each.path != "/events"), None)
    return " ".join((route.method, route.path)).strip() if route else "no route was read"


def _speaks_of(services: list[DetectedService]) -> bool:
    """Whether names or events say that services are a part of a blog."""
    return any(
        service.role.startswith(_BLOG_ROLES)
        or any(_BLOG_WORDS.search(source.without_comments) for source in service.sources)
        for service in services
    )


def _is_called(service: DetectedService, others: list[DetectedService]) -> bool:
    """Whether the code of others has the name or the port of a service in a URL."""
    for other in others:
        for source in other.sources:
            for match in URL.finditer(source.without_comments):
                port = match["port"] or ""
                local = match["host"].lower() in LOCAL_HOSTS
                if local and service.port and port == service.port.value:
                    return True
                if not local and (named := named_service(match["host"].lower(), [service])):
                    return named[1]
    return False


def without_strays(
    services: list[DetectedService], system: DetectedSystem, skipped: list[str]
) -> list[DetectedService]:
    """The services without those that have no part in the blog and could not be started with it:
    without a known port, or on the port of another one. A sentence for each to `skipped`."""
    needed = {keys["service"].value for keys in system.actions.values() if "service" in keys}
    needed |= {guess.value for guess in system.hosts.values()}
    needed |= {guess.value for guess in (system.bus, system.moderation) if guess}
    needed |= {"posts", "comments", "query", "moderation"}
    kept = []
    for service in services:
        port = service.port.value if service.port else None
        movable = service.port_env or "{port}" in service.command.value
        taken = port and any(
            other is not service and other.port and other.port.value == port for other in services
        )
        stray = service.name not in needed and not any("event" in r.path for r in service.routes)
        if stray and (taken or not (port or movable)):
            why = f"its port, {port}, is another service's" if taken else "no port was found"
            skipped.append(f"{service.cwd.as_posix()}: no service of the blog calls it; {why}.")
        else:
            kept.append(service)
    return kept
