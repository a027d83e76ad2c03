"""An answer that is less than it should be says so itself, in a header.

`Feed-Degraded: comments` is a feed without its comments, served because nobody could be asked for
them. Without the mark a reader, a cache or a checker would take it for the whole truth.
"""

import contextvars

HEADER = "Feed-Degraded"

_without: contextvars.ContextVar[str] = contextvars.ContextVar("without", default="")


def mark(whom: str) -> None:
    """The answer to the present request is made without what `whom` knows."""
    _without.set(whom)


def marked() -> str:
    """Whom the present answer is made without; "" when it is whole."""
    return _without.get()
