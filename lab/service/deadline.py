"""How long the one who asks will still wait, passed on from hop to hop.

Who has given up will never read the answer; to go on working on it only takes time from those who
still wait. So a request says how long its sender has patience, each hop passes on what is left of
it, and what is asked too late is refused before any work is done. The model is gRPC's
`grpc-timeout` header (grpc.io/docs/guides/deadlines): it tells a length of time and not a moment,
because two machines need not agree on what time it is.
"""

import contextvars
import time

from lab.domain import headers
from lab.domain.errors import GivenUp, Invalid

_MOST_DIGITS = 8  # as grpc-timeout has at most: more than a day is no patience

_give_up_at_s: contextvars.ContextVar[float | None] = contextvars.ContextVar(
    "give_up_at_s", default=None
)


def moment(header: str | None) -> float | None:
    """The moment (of `perf_counter`) up to which a sender waits; None when it doesn't say.

    Raises Invalid for what is no number of milliseconds.
    """
    if header is None:
        return None
    if not (header.isascii() and header.isdigit() and len(header) <= _MOST_DIGITS):
        raise Invalid(
            "expected whole milliseconds, at most 8 digits, as 2000.",
            field=headers.DEADLINE,
        )
    return time.perf_counter() + int(header) / 1_000


def keep(give_up_at_s: float | None) -> None:
    """From here on, everything in this request is done under this deadline.

    Raises GivenUp when it has passed already.
    """
    _give_up_at_s.set(give_up_at_s)
    if give_up_at_s is not None and time.perf_counter() >= give_up_at_s:
        raise GivenUp("Whoever asked has stopped waiting: nothing was done.")


def left_s() -> float | None:
    """The seconds that are left (negative once they are over); None without a deadline."""
    give_up_at_s = _give_up_at_s.get()
    return None if give_up_at_s is None else give_up_at_s - time.perf_counter()


def is_over() -> bool:
    """Whether nobody waits any more for what this request is about."""
    left = left_s()
    return left is not None and left <= 0


def at_most(timeout_s: float) -> float:
    """A timeout that is no longer than what is left: never 0, which would mean "at once"."""
    left = left_s()
    return timeout_s if left is None else max(0.001, min(timeout_s, left))
