"""How work on a running stack executes: as tasks of the running loop, or in a loop thread.

In async code, each method starts its work at once as a task, so a fault acts even if its `await`
was forgotten. Ordered work (faults, healing) is done before any work that is requested later.
Tasks that were not awaited are awaited when the stack ends, so that no error is lost.

Without `await`, the work runs in an event loop in a separate thread, because a notebook's cell
runs inside the kernel's loop, and a loop can't be entered twice. The caller blocks; nothing of the
kernel is patched. An interrupt arrives at the caller, in the main thread. The work is then
cancelled, it removes its faults and ends its processes, and only then is the interrupt raised. A
second interrupt cancels this cleanup as well, which ends every process at once.

The thread is a daemon, so a kernel can exit without waiting for it. The processes that it started
then end too, because each depends on a socket to this process (`lab.cluster.forkserver`).
"""

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from typing import Any, Protocol, Self, TypeVar

from lab.api.display import NotebookDisplay
from lab.live.sandbox.fault_controller import FaultAction
from lab.report.html import notebook

# ── Tasks of the running loop

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, Any]]


class Executor(Protocol):
    """Executes work. `ordered`: later work waits for this work."""

    def __call__(self, work: Work, *, ordered: bool = False) -> Any: ...


class FaultHandle(NotebookDisplay):
    """Faults that were added, removed or listed; figures in `deeds`. As a context it heals them at
    its end."""

    def __init__(self, deeds: Sequence[FaultAction], heal: Callable[[], Any] | None) -> None:
        self.deeds, self._heal = tuple(deeds), heal

    def heal(self) -> Any:
        """Remove the faults."""
        return self._heal() if self._heal else None

    def __enter__(self) -> "FaultHandle":
        return self

    def __exit__(self, *error: object) -> None:
        self.heal()

    def __repr__(self) -> str:
        return f"<{self._text()}>"

    def _text(self) -> str:
        lines = [f"{action.stack} {action.target}: {action.says}" for action in self.deeds]
        return "\n".join(lines or ["Nothing is broken."])

    def _html(self) -> str:
        if not self.deeds:
            return super()._html()
        rows = [
            [action.stack, action.target, action.kind, action.state, action.says]
            for action in self.deeds
        ]
        headings = ["stack", "target", "fault", "state", "effect"]
        return notebook.cell_html(notebook.table("Faults", headings, rows, left_columns=5))


class PendingResult(Awaitable[Any]):
    """Work that has been started. `await` gives its result."""

    def __init__(self, task: "asyncio.Task[Any]") -> None:
        self._task, self.awaited = task, False

    def __await__(self) -> Generator[Any, None, Any]:
        self.awaited = True
        return self._task.__await__()

    async def __aenter__(self) -> Any:
        return await self

    async def __aexit__(self, *error: object) -> None:
        result = self._task.result()
        if isinstance(result, FaultHandle):
            await run_shielded(result.heal())

    def cancel(self) -> None:
        """Cancel the work."""
        self._task.cancel()

    def __repr__(self) -> str:
        return "<started; write `await` before it to get the result>"


class OrderedExecutor:
    """Starts work as tasks of the running loop."""

    def __init__(self) -> None:
        self._pending: list[PendingResult] = []
        self._ordered_tasks: set[asyncio.Task[Any]] = set()

    def __call__(self, work: Work, *, ordered: bool = False) -> PendingResult:
        before = tuple(self._ordered_tasks)

        async def run_after_ordered() -> Any:
            if before:
                await asyncio.wait(before)
            return await work()

        task = asyncio.get_running_loop().create_task(run_after_ordered())
        if ordered:
            self._ordered_tasks.add(task)
            task.add_done_callback(self._ordered_tasks.discard)
        self._pending = [pending for pending in self._pending if not pending.awaited]
        self._pending.append(PendingResult(task))
        return self._pending[-1]

    async def finish(self, cancel: bool) -> None:
        """Await the tasks that were not awaited, and raise their errors; `cancel`: cancel them."""
        for pending in self._pending:
            if not pending.awaited and cancel:
                pending.cancel()
                await asyncio.gather(pending, return_exceptions=True)
            elif not pending.awaited:
                await pending
        self._pending.clear()


async def run_shielded(work: Awaitable[T]) -> T:
    """Finish `work` even if the caller is cancelled: half a fault or repair must not stay."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


# ── The loop thread


class LoopThread:
    """A loop thread: `run` runs work in it and returns the outcome. `close`, or the context, ends
    it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="lab", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run work to its end; returns what it returns, or raises what it raises."""
        outcome: Future[T] = Future()
        tasks: list[asyncio.Task[T]] = []

        def begin() -> None:
            task = self._loop.create_task(work)
            tasks.append(task)
            task.add_done_callback(lambda done: _copy_outcome(done, outcome))

        def cancel() -> None:
            for task in tasks:
                task.cancel()
            if not tasks:  # The interrupt came before the work was handed over.
                work.close()
                outcome.cancel()

        with _interrupts_enabled():
            try:
                self._loop.call_soon_threadsafe(begin)
                _wait(outcome)
                return outcome.result()
            except BaseException:
                while not outcome.done():
                    try:
                        self._loop.call_soon_threadsafe(cancel)
                        _wait(outcome)
                    except KeyboardInterrupt:
                        continue  # A second interrupt: cancel again.
                raise

    def close(self) -> None:
        """End the thread. May be called more than once."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())


@contextmanager
def _interrupts_enabled() -> Iterator[None]:
    """Make interrupts raise KeyboardInterrupt in this block.

    A loop that runs in this thread gets interrupts as callbacks, and it can't call back while the
    thread waits here.
    """
    changed = False
    # Not without a loop, and not outside the main thread, which alone gets signals.
    with suppress(RuntimeError, ValueError):
        asyncio.get_running_loop()
        saved = signal.signal(signal.SIGINT, signal.default_int_handler)
        changed = True
    try:
        yield
    finally:
        if changed:
            signal.signal(signal.SIGINT, saved)


def _wait(outcome: Future[Any]) -> None:
    """Wait for the outcome.

    An interrupt between Python's last check and the lock, or in another thread, does not wake a
    thread that waits for a lock. So the wait is repeated every 0.1 s.
    """
    while not outcome.done():
        wait([outcome], timeout=0.1)


def _copy_outcome(task: asyncio.Task[T], outcome: Future[T]) -> None:
    if task.cancelled():
        outcome.set_exception(asyncio.CancelledError())
    elif error := task.exception():
        outcome.set_exception(error)
    else:
        outcome.set_result(task.result())
