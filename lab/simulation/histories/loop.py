"""An asyncio event loop with virtual time: nothing waits, and the same program runs the same way.

The real loops of the services (relay, consumer, group commit) run on it unchanged. When nothing is
ready, the clock jumps to the next timer. Work for a thread runs as a callback of its own, so one
thread does everything.

Each callback belongs to the process whose context it was created in. What belongs to a process that
was killed never runs again: that is a crash.
"""

import asyncio
import contextvars
import inspect
import itertools
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from heapq import heapify, heappop, heappush
from math import inf
from typing import Any

MOST_STEPS = 100_000
"""Callbacks in one history; a usual one has some hundreds. More are a loop without an end."""


class ProcessState:
    """Whether a process is running; `PROCESS` has it in every context of that process."""

    alive = True
    clock_back_s = 0.0


PROCESS: contextvars.ContextVar[ProcessState | None] = contextvars.ContextVar(
    "process", default=None
)


class Crash(BaseException):
    """The process that is running now is killed here."""


class Callback(list[Any]):
    """A callback that waits for its turn: `[call, args, context, when_s]`; `call` is None when it
    was cancelled. A list, because a history creates thousands."""

    __slots__ = ()

    def cancel(self) -> None:
        self[0] = None

    def cancelled(self) -> bool:
        return self[0] is None

    def when(self) -> float:
        return self[3]  # type: ignore[no-any-return]


class VirtualLoop(asyncio.AbstractEventLoop):
    """`on_crash` is called when a callback raised Crash. `errors`: what tasks left unhandled."""

    def __init__(self, on_crash: Callable[[ProcessState | None], None]) -> None:
        self._ready: deque[Callback] = deque()
        self._timers: list[tuple[float, int, Callback]] = []
        self._numbers = itertools.count()
        self._on_crash = on_crash
        self.now_s = 0.0
        self.tasks: list[asyncio.Task[Any]] = []
        self.errors: list[str] = []
        self._steps = 0

    # ── What asyncio calls

    def time(self) -> float:
        return self.now_s

    def call_soon(  # type: ignore[override]
        self,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Callback:
        context = copy_context() if context is None else context
        handle = Callback((callback, args, context, self.now_s))
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Callback:
        context = copy_context() if context is None else context
        handle = Callback((callback, args, context, when))
        heappush(self._timers, (when, next(self._numbers), handle))
        return handle

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Callback:
        context = copy_context() if context is None else context
        when = self.now_s + delay
        handle = Callback((callback, args, context, when))
        heappush(self._timers, (when, next(self._numbers), handle))
        return handle

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
        **_: Any,
    ) -> "asyncio.Task[Any]":
        task = asyncio.Task(coro, loop=self, context=context)
        self.tasks.append(task)
        return task

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, function: Callable[..., Any], *args: Any
    ) -> "asyncio.Future[Any]":
        future = self.create_future()

        def work() -> None:
            try:
                result = function(*args)
            except Exception as error:
                if not future.done():
                    future.set_exception(error)
            else:
                if not future.done():
                    future.set_result(result)

        self.call_soon(work)
        return future

    get_debug = staticmethod(bool)  # False, without a call of Python code

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    # ── What a world calls

    def start(self, state: ProcessState, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Start a task of a process, in a context of its own."""
        context = contextvars.Context()
        context.run(PROCESS.set, state)
        return self.create_task(work, context=context)

    def run(self, is_done: Callable[[], bool], until_s: float = inf) -> bool:
        """Run callbacks until `is_done`, which is asked after each; returns whether it is.

        Returns False when it is `until_s`, when nothing is left to do, or after MOST_STEPS. May be
        called by a callback: a handler that blocks lets the others run meanwhile.
        """
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        ready, timers, process_of = self._ready, self._timers, PROCESS
        try:
            while not is_done():
                if ready:
                    call, args, context, _ = ready.popleft()
                    self._steps += 1
                    if self._steps > MOST_STEPS:
                        return False
                elif not timers or timers[0][0] > until_s:
                    self.now_s = max(self.now_s, min(until_s, 1e12))
                    return False
                else:
                    when_s, _, (call, args, context, _) = heappop(timers)
                    if call is not None and when_s > self.now_s:
                        self.now_s = when_s
                if call is None:
                    continue
                state = context.get(process_of)
                if state is not None and not state.alive:
                    continue
                try:
                    context.run(call, *args)
                except Crash:
                    self._on_crash(state)
            return True
        finally:
            asyncio._set_running_loop(outer)

    def skip(self, seconds: float) -> None:
        """Let time pass in which nothing happens: all timers but those that end then move on."""
        until_s = self.now_s + seconds
        for index, (when_s, number, handle) in enumerate(self._timers):
            later_s = when_s if when_s >= until_s else when_s + seconds
            self._timers[index] = (later_s, number, handle)
        heapify(self._timers)
        self.now_s = until_s

    def next_timer_s(self) -> float:
        """When the next callback is due: now, or the time of a timer."""
        if self._ready:
            return self.now_s
        while self._timers and self._timers[0][2].cancelled():
            heappop(self._timers)
        return self._timers[0][0] if self._timers else inf

    def close(self) -> None:
        """End every task, also those of killed processes."""
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            self._timers.clear()
            self._ready.clear()
            for task in self.tasks:
                if task.done():
                    continue
                coroutine = task.get_coro()
                if inspect.iscoroutine(coroutine) and (
                    inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED
                ):
                    coroutine.close()
                task.cancel()
            while self._ready:
                call, args, context, _ = self._ready.popleft()
                if call is not None:
                    context.run(call, *args)
        finally:
            self.tasks.clear()
            asyncio._set_running_loop(outer)
