"""Raises the lab's deadlines for tests: a process that gets little CPU time is no outage."""

from collections.abc import Callable, Iterator
from time import perf_counter
from types import SimpleNamespace

import pytest

from lab.cluster import supervisor
from lab.cluster.control_client import ControlClient
from lab.cluster.health import Health, probe_health

PATIENCE_S = 100.0
"""Ends a test that hangs; no test expects to wait so long."""

DEADLINES = (
    "lab.conformance.clients.ANSWER_WITHIN_S",
    "lab.conformance.clients.SHOWN_WITHIN_S",
    "lab.conformance.runner.SETTLED_WITHIN_S",
    "lab.cluster.injector.GONE_WITHIN_S",
    "lab.external.proxy.client.IDLE_AT_MOST_S",
    "lab.external.sidecar_cost.ANSWERED_WITHIN_S",
    "lab.external.adapter.READY_WITHIN_S",
    "lab.experiment.trial.SETTLE_WITHIN_S",
)


@pytest.fixture(autouse=True, scope="module")
def patience() -> Iterator[None]:
    """For test folders whose conftest.py imports it."""
    with pytest.MonkeyPatch.context() as patch:
        start, restart = supervisor.Supervisor.start, supervisor.Supervisor.restart
        patch.setattr(start, "__kwdefaults__", {"ready_within_s": PATIENCE_S})
        patch.setattr(restart, "__defaults__", (PATIENCE_S,))
        patch.setattr(ControlClient.__call__, "__defaults__", (None, PATIENCE_S))
        for name in DEADLINES:
            patch.setattr(name, PATIENCE_S)
        yield


def no_patience_after(condition: Callable[[], bool], patch: pytest.MonkeyPatch) -> None:
    """End the time to become ready as soon as `seen` is true, not before, for a service whose
    sidecar reports that it is not ready."""
    jump_s = 0.0

    async def probe(url: str, timeout_s: float) -> Health:
        nonlocal jump_s
        health = await probe_health(url, PATIENCE_S)
        if health.status == 503 and condition():
            jump_s = 1_000_000
        return health

    clock = SimpleNamespace(perf_counter=lambda: perf_counter() + jump_s)
    patch.setattr(supervisor, "probe_health", probe)
    patch.setattr(supervisor, "time", clock)
