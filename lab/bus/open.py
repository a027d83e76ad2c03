"""Open a connection to a bus by its address."""

from lab.bus.base import Bus


def open_bus(url: str, caller: str = "") -> Bus:
    """`http://…` is the `log` engine, `course+http://…` the `course` engine, `nats://…` JetStream.

    `caller`: who speaks to it, for an engine that can be told. Connects at the first use, not now.
    Raises ValueError for another one, NatsMissing.
    """
    if url.startswith("http://"):
        from lab.bus.log import LogBus

        return LogBus(url, caller)
    if url.startswith("course+http://"):
        from lab.bus.course import CourseBus

        return CourseBus(url.removeprefix("course+"))
    if url.startswith("nats://"):
        from lab.nats_here import require_client

        require_client()
        from lab.bus.nats import NatsBus

        return NatsBus.at(url)
    raise ValueError(
        f"{url!r} is no bus: expected http://127.0.0.1:PORT for the log engine, "
        "course+http://127.0.0.1:PORT for the course's, nats://HOST:PORT for a NATS server."
    )
