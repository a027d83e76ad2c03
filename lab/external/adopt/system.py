"""Finds how the services belong together: their bus, their host names, who moderates."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from lab.external.adopt.actions import find_actions, is_bus_role
from lab.external.adopt.deployments import (
    Deployment,
    apply_settings,
    deployed_service,
    read_deployments,
)
from lab.external.adopt.languages import TEMPLATE, URL
from lab.external.adopt.moderation import find_moderation
from lab.external.adopt.services import DetectedService, named_service
from lab.external.adopt.sources import GuessedValue, SourceFile

LOCAL_HOSTS = ("localhost", "127", "0", "host")
_PUBLIC_DOMAIN = re.compile(r"\.(?:com|org|net|io|dev|app|sh|gov|edu|me|co|xyz)(?:\.|$)")
_ALLOWED_ORIGINS = re.compile(r"(?i)origins?\W+(?:[\"'`][^\"'`]*[\"'`]\W+)*[\"'`]?$")
_WORD = re.compile(r"[\"'`]([a-z][\w-]*)[\"'`]")


@dataclass
class DetectedSystem:
    """`actions`: for each action, the keys that differ from the course's. `unknown`: a sentence for
    each address that leads to no known service."""

    bus: GuessedValue | None = None
    events: GuessedValue | None = None
    moderation: GuessedValue | None = None
    forbidden: GuessedValue | None = None
    hosts: dict[str, GuessedValue] = field(default_factory=dict)
    actions: dict[str, dict[str, GuessedValue]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)


def find_system(services: list[DetectedService], sources: list[SourceFile]) -> DetectedSystem:
    """The bus, the host names and the actions of the services found."""
    system = DetectedSystem()
    deployments = read_deployments(sources, system.unknown)
    apply_settings(services, sources, deployments)
    _find_hosts(system, services, deployments)
    _guess_missing_ports(services)
    system.bus = _find_bus(services, system.hosts)
    if system.bus and (
        bus := next((service for service in services if service.name == system.bus.value), None)
    ):
        paths = [route for route in bus.routes if route.method in ("POST", "")]
        events = next((route for route in paths if "event" in route.path), None)
        if events and events.path != "/events":
            system.events = GuessedValue(events.path, events.location)
    system.actions = find_actions(services, system.bus.value if system.bus else None)
    verdicts = find_moderation(services, system.actions, system.bus)
    system.moderation, system.forbidden = verdicts.service, verdicts.forbidden
    if verdicts.statuses:
        system.actions["read_feed"]["statuses"] = verdicts.statuses
    return system


# ── Bus


def _address_of(url: re.Match[str], hosts: Mapping[str, GuessedValue]) -> str:
    """What a URL leads to: a service if its host name is known, otherwise host and port."""
    host = url["host"].lower()
    return hosts[host].value if host in hosts else f"{host}:{url['port']}".removesuffix(":None")


def _find_bus(
    services: list[DetectedService], hosts: Mapping[str, GuessedValue]
) -> GuessedValue | None:
    """The service that sends events to several others; otherwise one that is named as a bus."""
    hosts = {service.name: GuessedValue(service.name, "") for service in services} | dict(hosts)
    for service in services:
        called = {
            _address_of(match, hosts): source.location(match.start())
            for source in service.texts
            for match in URL.finditer(source.without_comments)
            if "event" in (match["path"] or "")
        }
        if len(called) > 1 and any("event" in route.path for route in service.routes):
            place = next(iter(called.values()))
            return GuessedValue(service.name, f"{place}: it asks {len(called)} others for /events")
    candidates = [service for service in services if is_bus_role(service)]
    return GuessedValue(candidates[0].name, "its name") if candidates else None


# ── Host names


def _find_hosts(
    system: DetectedSystem, services: list[DetectedService], deployments: list[Deployment]
) -> None:
    names = [service.name for service in services]
    by_port = {service.port.value: service.name for service in services if service.port}
    deployed = {
        host: name
        for one in deployments
        for host in one.names
        if (name := deployed_service(one, services))
    }
    labels = {host for one in deployments for host in one.names}
    strange: dict[str, str] = {}
    for source, host, port, place in _addresses(services):
        if TEMPLATE.search(host):
            _add_template_hosts(system, source, host, services, place)
        elif host in LOCAL_HOSTS:
            if (port or "").isdecimal() and port not in by_port:
                strange.setdefault(port or "", place)
        elif host in names or host in system.hosts:
            continue
        elif host in deployed:
            system.hosts[host] = GuessedValue(deployed[host], place)
        elif "-" in host or host in labels or (port and named_service(host, services)):
            if found := named_service(host, services):
                certain = found[1] or by_port.get(port or "") == found[0]
                system.hosts[host] = GuessedValue(found[0], place, certain)
            elif port in by_port:
                system.hosts[host] = GuessedValue(
                    by_port[port], f"{place}, by its port", certain=False
                )
            else:
                system.unknown.append(f"{place}: no service was found for this name.")
    homeless = [service for service in services if _has_no_port(service)]
    if len(strange) == len(homeless) == 1:
        ((port, place),) = strange.items()
        why = f"{place}, and it is the only service without a known port"
        homeless[0].port = GuessedValue(port, why, certain=False)
        return
    system.unknown += [
        f"{place} leads to a port on which no service here listens." for place in strange.values()
    ]


def _has_no_port(service: DetectedService) -> bool:
    return not (service.port or service.port_env or "{port}" in service.command.value)


def _addresses(
    services: list[DetectedService],
) -> Iterator[tuple[SourceFile, str, str | None, str]]:
    """Each URL in code, settings and variables: where, host, port, and a place for messages."""
    texts = {id(source): source for service in services for source in service.texts}
    for source in texts.values():
        for match in URL.finditer(source.without_comments):
            before = source.without_comments[max(0, match.start() - 150) : match.start()]
            if not _PUBLIC_DOMAIN.search(match["domain"]) and not _ALLOWED_ORIGINS.search(before):
                place = f"{source.location(match.start())}: {match[0]}"
                yield source, match["host"].lower(), match["port"], place
    for service in services:
        for value in service.env.values():
            for match in URL.finditer(value.value):
                place = f"{value.reason} = {match[0]}"
                yield service.sources[0], match["host"].lower(), match["port"], place


def _add_template_hosts(
    system: DetectedSystem,
    source: SourceFile,
    host: str,
    services: list[DetectedService],
    place: str,
) -> None:
    """Host names that code makes, as in `http://${name}-srv`: one for each service it may mean."""
    if TEMPLATE.sub("", host).strip("-") == "" or len(TEMPLATE.findall(host)) > 1:
        return
    words = set(_WORD.findall(source.without_comments)) | {service.name for service in services}
    for word in sorted(words):
        name = TEMPLATE.sub(word, host)
        found = named_service(name, services)
        if found and found[1] and name not in system.hosts:
            why = f"{place}, a name made by a template"
            system.hosts[name] = GuessedValue(found[0], why, certain=False)


def _guess_missing_ports(services: list[DetectedService]) -> None:
    """Give services whose port is unknown the one at which others look for them."""
    for service in services:
        if _has_no_port(service):
            for _, host, port, place in _addresses(services):
                named = named_service(host, services) if host not in LOCAL_HOSTS else None
                if named and named[0] == service.name and (port or "").isdecimal():
                    service.port = GuessedValue(port or "", place, certain=False)
                    break
