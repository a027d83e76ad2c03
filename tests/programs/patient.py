"""`lab live` on a busy machine: `python -m tests.programs.patient …` takes what `lab live` takes.

A process that gets little time is no outage. So the deadlines of the lab are moved out of the way,
but for those that a fault is measured with.
"""

from collections.abc import Callable
from typing import Any

from lab.cluster import injector
from lab.cluster.supervisor import Supervisor
from lab.live import blog, load_client, session

PATIENCE_S = 100.0
"""Guards against a test that hangs; no test means to wait so long."""


def be_patient(put: Callable[[Any, str, Any], None] = setattr) -> None:
    """`put`: how an attribute is set, for those who want it back."""
    put(Supervisor.start, "__kwdefaults__", {"ready_within_s": PATIENCE_S})
    put(Supervisor.restart, "__defaults__", (PATIENCE_S,))
    put(injector, "GONE_WITHIN_S", PATIENCE_S)
    for name in ("READER_PATIENCE_S", "WRITER_PATIENCE_S"):
        put(blog, name, PATIENCE_S)
    for name in ("TIMEOUT_S", "SETTLE_WITHIN_S"):
        put(session, name, PATIENCE_S)
    put(load_client, "_COMES_WITHIN_S", PATIENCE_S)


if __name__ == "__main__":
    from lab.commands.live import app

    be_patient()
    app()
