"""`lab live` on a busy machine: `python -m tests.programs.patient …` takes the same arguments.

A process that gets little CPU time is no outage. So the lab's deadlines are raised, except those
that a fault is measured with.
"""

from collections.abc import Callable
from typing import Any

from lab.cluster import injector
from lab.cluster.supervisor import Supervisor
from lab.live import blog, load_client, session

PATIENCE_S = 100.0
"""Ends a test that hangs; no test expects to wait so long."""


def be_patient(put: Callable[[Any, str, Any], None] = setattr) -> None:
    """Raise the deadlines. `put` sets an attribute, for callers that restore it later."""
    put(Supervisor.start, "__kwdefaults__", {"ready_within_s": PATIENCE_S})
    put(Supervisor.restart, "__defaults__", (PATIENCE_S,))
    put(injector, "GONE_WITHIN_S", PATIENCE_S)
    for name in ("READER_PATIENCE_S", "WRITER_PATIENCE_S"):
        put(blog, name, PATIENCE_S)
    for name in ("TIMEOUT_S", "SETTLE_WITHIN_S"):
        put(session, name, PATIENCE_S)
    put(load_client, "_CONNECT_WITHIN_S", PATIENCE_S)


if __name__ == "__main__":
    from lab.commands.live import app

    be_patient()
    app()
