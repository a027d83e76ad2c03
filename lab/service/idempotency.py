"""Idempotency keys: the service does a write once, even when the client sends it twice.

A client whose request timed out does not know whether it was done. If the client sends it again, it
may be done twice; if not, it may never be done. Only the client knows that the second request *is*
the first one, so it has to say so: both carry the same key
(draft-ietf-httpapi-idempotency-key-header). A service that supports keys stores its answer under
the key, **in the transaction of the rows**, and sends the stored answer whenever the key comes
again:

- a crash leaves both or neither: no row without its answer, no answer without its row;
- two requests with the same key at the same time take turns, so the second gets the answer of the
  first (the draft prefers a 409, which leaves a third try to the client);
- a failed request stores nothing, and is done when it comes again.

The guarantee ends at the service's own database: if a handler fails after a call to another service
and before the commit, the repeated request makes that call again. Stored answers never expire here;
in other systems they do.
"""

import json
import threading
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_json

from lab.domain import headers
from lab.domain.errors import Invalid, KeyReused
from lab.service.store import Store, Transaction

TABLE = """
CREATE TABLE IF NOT EXISTS answers (
    key    TEXT PRIMARY KEY,
    asked  TEXT NOT NULL,
    answer TEXT NOT NULL
) WITHOUT ROWID;
"""
_LONGEST = 255

_key: ContextVar[str | None] = ContextVar("idempotency_key", default=None)
_kept_under: ContextVar[tuple[str, str] | None] = ContextVar("kept_under", default=None)


def argument(parser: ArgumentParser) -> None:
    """Add the switch to a program's command line."""
    parser.add_argument(
        "--idempotency",
        action="store_true",
        help=f"answer who sends the same {headers.IDEMPOTENCY_KEY} again with the first answer",
    )


def hear(header: str | None) -> None:
    """Set the key of the current request, or None. Raises Invalid for a malformed key."""
    if header is not None and not (0 < len(header) <= _LONGEST and header.isprintable()):
        raise Invalid(
            f"expected 1 to {_LONGEST} printable characters.", field=headers.IDEMPOTENCY_KEY
        )
    _key.set(header)


def keep(change: Transaction, answer: BaseModel) -> None:
    """Store the answer in the rows' own transaction, if the request has a key."""
    if (under := _kept_under.get()) is not None:
        insert = "INSERT INTO answers VALUES (?, ?, ?)"
        change.execute(insert, *under, answer.model_dump_json())


class Repeats:
    """Answers repeated keys of one service.

    `store` returns the service's database, which contains TABLE.
    """

    def __init__(self, store: Callable[[], Store]) -> None:
        self._store = store
        self._under_way: set[str] = set()
        self._one_is_done = threading.Condition()

    def once(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a handler so that a key runs it once; the handler has to store its answer.

        The wrapped handler raises KeyReused when the key came with another request before.
        """

        @wraps(handler)
        def answered(**arguments: Any) -> Any:
            key = _key.get()
            if key is None:
                return handler(**arguments)
            asked = f"{handler.__name__} {to_json(arguments).decode()}"
            with self._turn(key):
                for row in self._store().rows("SELECT * FROM answers WHERE key = ?", key):
                    if row["asked"] != asked:
                        raise KeyReused(
                            f"This {headers.IDEMPOTENCY_KEY} came with another request before."
                        )
                    return json.loads(row["answer"])
                before = _kept_under.set((key, asked))
                try:
                    return handler(**arguments)
                finally:
                    _kept_under.reset(before)

        return answered

    @contextmanager
    def _turn(self, key: str) -> Iterator[None]:
        """Wait until no other request with this key is in progress."""
        with self._one_is_done:
            self._one_is_done.wait_for(lambda: key not in self._under_way)
            self._under_way.add(key)
        try:
            yield
        finally:
            with self._one_is_done:
                self._under_way.remove(key)
                self._one_is_done.notify_all()
