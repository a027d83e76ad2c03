"""What is being done to a blog: begun at once, and awaited; or, without a loop, simply done.

A line that was meant to break something should break it, also when its `await` was forgotten. So
each method begins what it is asked for as a task, and orders (faults, healing) are carried out
before whatever is asked after them. What nobody has awaited is awaited at the end of the blog, so
that no failure goes unheard.

An event loop in a thread of its own, so that plain calls work where a loop runs already.

A notebook's cell runs inside the kernel's loop, and a loop can't be entered twice. So the work goes
to another thread, which has a loop of its own, and the caller waits; nothing of the kernel is
patched. An interrupt still arrives where the caller is, in the main thread: then the work is
cancelled over there, and only when it has taken its faults back and ended its processes does the
interrupt go on its way. A second interrupt meanwhile cancels what is still being tidied up, which
ends every process at once.

The thread is a daemon: a kernel that is told to go need not wait for it. What it had started is
ended from outside then, for all of it hangs on a socket to this process (`lab.cluster.forkserver`).
"""

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from lab.api.display import Shown
from lab.report.html import notebook
from lab.sandbox.fault_controller import Deed

# ── What is being done to a blog: begun at once, and awaited; or, without a loop, simply done.

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, Any]]


class Do(Protocol):
    """Has work done. `order`: what comes later has to wait for it."""

    def __call__(self, work: Work, *, order: bool = False) -> Any: ...


class Broken(Shown):
    """What was done to services, in figures in `deeds`. As a context it is healed at its end."""

    def __init__(self, deeds: Sequence[Deed], heal: Callable[[], Any] | None) -> None:
        self.deeds, self._heal = tuple(deeds), heal

    def heal(self) -> Any:
        """Take it back."""
        return self._heal() if self._heal else None

    def __enter__(self) -> "Broken":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.heal()

    def __repr__(self) -> str:
        return f"<{self._text()}>"

    def _text(self) -> str:
        lines = [f"{one.stack} {one.target}: {one.says}" for one in self.deeds]
        return "\n".join(lines or ["Nothing is broken."])

    def _html(self) -> str:
        if not self.deeds:
            return super()._html()
        rows = [[one.stack, one.target, one.kind, one.state, one.says] for one in self.deeds]
        headings = ["stack", "target", "fault", "is", "what came of it"]
        return notebook.piece(notebook.table("Faults", headings, rows, left=5))


class Doing(Awaitable[Any]):
    """Something that has been begun. `await` gives what comes of it."""

    def __init__(self, task: "asyncio.Task[Any]") -> None:
        self._task, self.heard = task, False

    def __await__(self) -> Generator[Any, None, Any]:
        self.heard = True
        return self._task.__await__()

    async def __aenter__(self) -> Any:
        return await self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        broken = self._task.result()
        if isinstance(broken, Broken):
            await to_its_end(broken.heal())

    def cancel(self) -> None:
        """Break it off."""
        self._task.cancel()

    def __repr__(self) -> str:
        return "<begun; write `await` before it to have what comes of it>"


class InTurn:
    """Begins work in the running loop."""

    def __init__(self) -> None:
        self._begun: list[Doing] = []
        self._orders: set[asyncio.Task[Any]] = set()

    def __call__(self, work: Work, *, order: bool = False) -> Doing:
        before = tuple(self._orders)

        async def in_turn() -> Any:
            if before:
                await asyncio.wait(before)
            return await work()

        task = asyncio.get_running_loop().create_task(in_turn())
        if order:
            self._orders.add(task)
            task.add_done_callback(self._orders.discard)
        self._begun = [one for one in self._begun if not one.heard]
        self._begun.append(Doing(task))
        return self._begun[-1]

    async def finish(self, broken_off: bool) -> None:
        """All that nobody has awaited: to its end, raising what it raises; or broken off."""
        for one in self._begun:
            if not one.heard and broken_off:
                one.cancel()
                await asyncio.gather(one, return_exceptions=True)
            elif not one.heard:
                await one
        self._begun.clear()


async def to_its_end(work: Awaitable[T]) -> T:
    """Also when we are cancelled meanwhile: what is half broken or half mended helps nobody."""
    going_on = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(going_on)
    except asyncio.CancelledError:
        await asyncio.gather(going_on, return_exceptions=True)
        raise


# ── An event loop in a thread of its own, so that plain calls work where a loop runs already.


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
