"""Tools for the mutants' bugs: a transaction that is not atomic, work that is done too late."""

import functools
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from zlib import crc32

from lab.service.store import Store, Transaction

TOO_LATE_S = 0.4
"""Seconds during which a kill exposes the bug: long enough that a kill hits them."""


class Later:
    """Runs work in order, each piece `after_s` seconds after it was handed in."""

    def __init__(self, after_s: float = TOO_LATE_S) -> None:
        self._after_s = after_s
        self._waiting: queue.Queue[tuple[float, Callable[[], None]]] = queue.Queue()
        threading.Thread(target=self._run, daemon=True).start()

    def __call__(self, work: Callable[[], None]) -> None:
        self._waiting.put((time.perf_counter() + self._after_s, work))

    def _run(self) -> None:
        while True:
            due_s, work = self._waiting.get()
            time.sleep(max(0.0, due_s - time.perf_counter()))
            work()


class Divided:
    """A false transaction: records the calls named in `notes`, and executes all others at once."""

    def __init__(self, change: Transaction, notes: Sequence[str]) -> None:
        self._change, self._notes = change, notes
        self.noted: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        if name not in self._notes:
            return getattr(self._change, name)

        def note(*values: Any) -> Any:
            self.noted.append((name, values))
            # `insert_unseen` returns the ids that are new: here, all of them.
            return set(values[0]) if name == "insert_unseen" else None

        return note

    def do(self, change: Transaction) -> None:
        for name, values in self.noted:
            getattr(change, name)(*values)


def divide_transactions(
    notes: Sequence[str], do_later: Callable[[Callable[[], None]], None]
) -> None:
    """Commit every transaction of this process without the calls named in `notes`; `do_later` gets
    a second transaction with those calls."""
    whole = Store.transaction

    @contextmanager
    def transaction(store: Store) -> Iterator[Any]:
        with whole(store) as change:
            first_part = Divided(change, notes)
            yield first_part

        def second_part() -> None:
            with whole(store) as change:
                first_part.do(change)

        if first_part.noted:
            do_later(second_part)

    Store.transaction = transaction  # type: ignore[method-assign,assignment]


def one_in(count: int, text: str) -> bool:
    """Whether a bug that hits one in `count` hits this text: the same texts each time."""
    return crc32(text.encode()) % count == 0


def break_handler(
    service: Any, method: str, path: str, wrong: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> None:
    """Replace the handler of a route by `wrong(handler)`."""
    for at, route in enumerate(service.routes):
        if (route.method, route.path) == (method, path):
            handler = functools.wraps(route.handler)(wrong(route.handler))
            service.routes[at] = replace(route, handler=handler)
            return
    raise LookupError(f"There is no {method} {path} to be broken.")


def break_listener(
    service: Any, kind: type, wrong: Callable[[Callable[..., None]], Callable[..., None]]
) -> None:
    """Replace the listener of one event type by `wrong(listener)`."""
    service.listeners[kind] = wrong(service.listeners[kind])
