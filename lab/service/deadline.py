"""The deadline of a request, passed on from hop to hop.

When a caller has given up, it never reads the response, and work on it takes time from callers that
still wait. So a request says how long its sender will still wait, each hop passes on what remains,
and a request whose deadline has passed is refused before any work is done. The model is gRPC's
`grpc-timeout` header (grpc.io/docs/guides/deadlines). The header gives a duration, not a point in
time, because the clocks of two machines may differ.
"""

import contextvars
import time

from lab.domain import headers
from lab.domain.errors import DeadlineExceeded, Invalid

_MAX_DIGITS = 8  # the limit of grpc-timeout; in milliseconds, more than a day

_current_at_s: contextvars.ContextVar[float | None] = contextvars.ContextVar(
    "give_up_at_s", default=None
)


def parse_header(header: str | None) -> float | None:
    """The deadline in a header, in seconds of `perf_counter`; None without a header.

    Raises Invalid unless the header is a whole number of milliseconds.
    """
    if header is None:
        return None
    if not (header.isascii() and header.isdigit() and len(header) <= _MAX_DIGITS):
        raise Invalid(
            "expected whole milliseconds, at most 8 digits, as 2000.",
            field=headers.DEADLINE,
        )
    return time.perf_counter() + int(header) / 1_000


def set_current(deadline_at_s: float | None) -> None:
    """Set the deadline of the current request, in seconds of `perf_counter`; None sets none."""
    _current_at_s.set(deadline_at_s)


def check() -> None:
    """Raise DeadlineExceeded if the deadline of the current request has passed."""
    if expired():
        raise DeadlineExceeded("The caller has stopped waiting: nothing was done.")


def remaining_s() -> float | None:
    """Seconds until the deadline, negative after it; None without a deadline."""
    deadline_at_s = _current_at_s.get()
    return None if deadline_at_s is None else deadline_at_s - time.perf_counter()


def expired() -> bool:
    """Whether the deadline has passed; False without a deadline."""
    remaining = remaining_s()
    return remaining is not None and remaining <= 0


def cap(timeout_s: float) -> float:
    """`timeout_s`, shortened to the time that is left.

    Returns at least 1 ms, because a timeout of 0 would mean "at once".
    """
    remaining = remaining_s()
    return timeout_s if remaining is None else max(0.001, min(timeout_s, remaining))
