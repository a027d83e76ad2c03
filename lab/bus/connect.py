"""Open a connection to a bus by its address."""

import os

from lab.bus.base import Bus

LOGIN = "LAB_BUS_LOGIN"
"""The environment's USER:PASSWORD, or token, for a NATS server whose address has none."""


def open_bus(url: str, caller: str = "") -> Bus:
    """`http://…` is the `log` engine, `course+http://…` the `course` engine, `nats://…` JetStream.

    `caller`: who speaks to it, for an engine that can be told. Connects at the first use, not now.
    Raises ValueError for another one, NatsMissing.
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

        return NatsBus.at(with_login(url))
    raise ValueError(
        f"{url!r} is no bus: expected http://127.0.0.1:PORT for the log engine, "
        "course+http://127.0.0.1:PORT for the course's, nats://HOST:PORT for a NATS server."
    )


def with_login(url: str) -> str:
    """The address of a NATS server with the environment's login, unless it has one itself."""
    login, host = os.environ.get(LOGIN, ""), url.removeprefix("nats://")
    if not login or host.startswith("/") or "@" in host:
        return url
    return f"nats://{login}@{host}"
