"""Choose the client for a bus by its address."""

import os

from lab.bus.base import Bus
from lab.domain.services import BUS_LOGIN


def open_bus(url: str, caller: str = "") -> Bus:
    """`http://…` is the `log` engine, `course+http://…` the `course` engine, `nats://…` JetStream.

    `caller`: the name of the service that connects, for an engine that transmits it. The client
    connects at its first use, not now. Raises ValueError for any other address; NatsNotInstalled
    when nats-py is not installed.
    """
    if url.startswith("http://"):
        from lab.bus.log.client import LogBus

        return LogBus(url, caller)
    if url.startswith("course+http://"):
        from lab.bus.course.client import CourseBus

        return CourseBus(url.removeprefix("course+"))
    if url.startswith("nats://"):
        from lab.support.nats import require_client

        require_client()
        from lab.bus.nats.client import NatsBus

        return NatsBus.from_url(with_login(url))
    raise ValueError(
        f"{url!r} is no bus: expected http://127.0.0.1:PORT for the log engine, "
        "course+http://127.0.0.1:PORT for the course's, nats://HOST:PORT for a NATS server."
    )


def with_login(url: str) -> str:
    """The address of a NATS server, with the environment's login unless it already has one."""
    login, host = os.environ.get(BUS_LOGIN, ""), url.removeprefix("nats://")
    if not login or host.startswith("/") or "@" in host:
        return url
    return f"nats://{login}@{host}"
