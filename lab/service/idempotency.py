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

from pydantic_core import to_json

from lab.domain import headers
from lab.domain.errors import IdempotencyKeyReused, Invalid
from lab.service.store import Store

TABLE = """
CREATE TABLE IF NOT EXISTS answers (
    key    TEXT PRIMARY KEY,
    asked  TEXT NOT NULL,
    answer TEXT NOT NULL
) WITHOUT ROWID;
"""
_MAX_KEY_LENGTH = 255

_key: ContextVar[str | None] = ContextVar("idempotency_key", default=None)
answer_key: ContextVar[tuple[str, str] | None] = ContextVar("answer_key", default=None)
"""The key under which the current handler has to store its answer, and the request it belongs to;
None when the answer is not to be stored."""


def add_argument(parser: ArgumentParser) -> None:
    """Add the switch to a program's command line."""
    parser.add_argument(
        "--idempotency",
        action="store_true",
        help=f"answer a repeated {headers.IDEMPOTENCY_KEY} with the first answer",
    )


@contextmanager
def use_key(key: str) -> Iterator[None]:
    """Handle a request with this key. Raises Invalid for a malformed key."""
    if not (0 < len(key) <= _MAX_KEY_LENGTH and key.isprintable()):
        raise Invalid(
            f"expected 1 to {_MAX_KEY_LENGTH} printable characters.", field=headers.IDEMPOTENCY_KEY
        )
    token = _key.set(key)
    try:
        yield
    finally:
        _key.reset(token)


class IdempotencyFilter:
    """Answers repeated keys of one service.

    `store` returns the service's database, which contains TABLE.
    """

    def __init__(self, store: Callable[[], Store]) -> None:
        self._store = store
        self._in_progress: set[str] = set()
        self._finished = threading.Condition()

    def wrap(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a handler so that a key runs it once; the handler has to store its answer.

        The wrapped handler raises IdempotencyKeyReused when another request had this key.
        """

        @wraps(handler)
        def wrapper(**arguments: Any) -> Any:
            key = _key.get()
            if key is None:
                return handler(**arguments)
            request = f"{handler.__name__} {to_json(arguments).decode()}"
            with self._hold_key(key):
                for row in self._store().rows("SELECT * FROM answers WHERE key = ?", key):
                    if row["asked"] != request:
                        raise IdempotencyKeyReused(
                            f"This {headers.IDEMPOTENCY_KEY} came with another request before."
                        )
                    return json.loads(row["answer"])
                token = answer_key.set((key, request))
                try:
                    return handler(**arguments)
                finally:
                    answer_key.reset(token)

        return wrapper

    @contextmanager
    def _hold_key(self, key: str) -> Iterator[None]:
        """Wait until no other request with this key is in progress."""
        with self._finished:
            self._finished.wait_for(lambda: key not in self._in_progress)
            self._in_progress.add(key)
        try:
            yield
        finally:
            with self._finished:
                self._in_progress.remove(key)
                self._finished.notify_all()
