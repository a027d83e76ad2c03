"""A handler that waits for nothing runs in the event loop, unless a worker would be held."""

import threading

from pydantic_core import from_json

from lab.faults.kinds import Effect
from lab.service.http import Route
from lab.service.server import Shell, ShellOptions


def name_of_thread() -> str:
    return threading.current_thread().name


async def thread_of(
    effect: Effect, *, local: bool = True, in_flight: int = 0, work_ms: float = 0.0
) -> str:
    """The thread that runs the handler, in a service with one worker."""
    route = Route("GET", "/thread", name_of_thread, local=local)
    shell = Shell("sync-chain", "here", [route], ShellOptions(port=0, workers=1, work_ms=work_ms))
    shell.in_flight = in_flight
    response = await shell.run_handler(route, {}, {}, b"", effect, {})
    shell._listener.close()
    return str(from_json(response.body))


async def test_a_local_handler_runs_in_the_event_loop() -> None:
    assert await thread_of(Effect()) == name_of_thread()


async def test_other_requests_run_in_a_worker() -> None:
    worker = "here-worker_0"
    assert await thread_of(Effect(), local=False) == worker
    assert await thread_of(Effect(), in_flight=1) == worker  # it waits until a worker is free
    assert await thread_of(Effect(delay_s=0.001)) == worker
    assert await thread_of(Effect(), work_ms=0.1) == worker
