"""Open a connection to a bus by its address."""

from lab.bus.base import Bus


def open_bus(url: str) -> Bus:
    """`http://…` is the `log` engine. Connects at the first use, not now."""
    if url.startswith("http://"):
        from lab.bus.log import LogBus

        return LogBus(url)
    raise ValueError(f"{url!r} is no bus: expected http://127.0.0.1:PORT for the log engine.")
