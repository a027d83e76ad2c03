"""An event loop in a thread of its own, so that plain calls work where a loop runs already.

A notebook's cell runs inside the kernel's loop, and a loop can't be entered twice. So the work goes
to another thread, which has a loop of its own, and the caller waits; nothing of the kernel is
patched. An interrupt still arrives where the caller is, in the main thread: then the work is
cancelled over there, and only when it has taken its faults back and ended its processes does the
interrupt go on its way. A second interrupt meanwhile cancels what is still being tidied up, which
ends every process at once.

The thread is a daemon: a kernel that is told to go need not wait for it. What it had started is
ended from outside then, for all of it hangs on a socket to this process (`lab.cluster.nursery`).
"""

import asyncio
import signal
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")


class OwnLoop:
    """`do` brings work to the loop and its outcome back. Ended by `close`, or by its context."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="lab", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it to its end and return what it returns, or raise what it raises."""
        outcome: Future[T] = Future()
        tasks: list[asyncio.Task[T]] = []

        def begin() -> None:
            task = self._loop.create_task(work)
            tasks.append(task)
            task.add_done_callback(lambda done: _hand_over(done, outcome))

        def cancel() -> None:
            for task in tasks:
                task.cancel()
            if not tasks:  # The interrupt came before the work could even be handed over.
                work.close()
                outcome.cancel()

        with _interrupts_heard():
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
                        continue  # Impatient: cancelled once more.
                raise

    def close(self) -> None:
        """End the thread. More than once is fine."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())


@contextmanager
def _interrupts_heard() -> Iterator[None]:
    """Where a loop runs in this thread, its way of hearing an interrupt is a callback; and as long
    as we wait here, it calls nobody back. So interrupts are exceptions meanwhile."""
    changed = False
    # Neither without a loop nor outside the main thread, which alone hears them.
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
    """Until it is there. An interrupt that comes between Python's last look for one and the lock,
    or in another thread, does not wake who waits for a lock; so we look up from it now and then."""
    while not outcome.done():
        wait([outcome], timeout=0.1)


def _hand_over(task: asyncio.Task[T], outcome: Future[T]) -> None:
    if task.cancelled():
        outcome.set_exception(asyncio.CancelledError())
    elif error := task.exception():
        outcome.set_exception(error)
    else:
        outcome.set_result(task.result())
