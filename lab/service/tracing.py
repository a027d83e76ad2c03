"""Tracing: one JSON line, a span, for each request and for each event applied.

The W3C `traceparent` header (w3.org/TR/trace-context) connects the spans of a trace: every call
passes it on as a header, every event carries it as a field. So a trace follows a comment through a
chain of calls as well as through a bus. `tracestate`, in which tracing tools keep notes of their
own, is passed on unchanged.

`at` is this machine's time of day, so spans of different processes share one clock. If the clock is
set during a request, the spans shift against each other; their durations stay correct, because a
monotonic clock measures them.
"""

import contextvars
import json
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import getrandbits
from typing import Any

_FLUSH_AFTER_S = 0.2
_MAX_WAITING_BYTES = 64 * 1024
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}"
)


_STATE_VALUE = r"[ -+\--<>-~]{0,255}[!-+\--<>-~]"
_STATE_MEMBER = re.compile(rf"[a-z0-9][a-z0-9_*/@-]{{0,255}}={_STATE_VALUE}")
_MAX_STATE_MEMBERS = 32


def _checked_state(tracestate: str) -> str:
    """The `tracestate` to pass on; "" for one that breaks the standard: it comes from outside."""
    members = [one for part in tracestate.split(",") if (one := part.strip(" \t"))]
    keys = {member.partition("=")[0] for member in members}
    valid = len(keys) == len(members) <= _MAX_STATE_MEMBERS
    return ",".join(members) if valid and all(map(_STATE_MEMBER.fullmatch, members)) else ""


@dataclass(frozen=True, slots=True)
class SpanContext:
    """A span's place in its trace: `trace_id` has 32 hex digits, each of the others 16."""

    trace_id: str
    span_id: str
    parent_id: str = ""

    @classmethod
    def child_of(cls, traceparent: str | None) -> "SpanContext":
        """The child of the span in `traceparent`, or the first span of a new trace.

        A header that breaks the standard starts a new trace: it comes from outside, and would be
        passed on to other services.
        """
        match = _TRACEPARENT.fullmatch(traceparent or "")
        trace_id, parent_id = match.groups() if match else (f"{getrandbits(128):032x}", "")
        return cls(trace_id, f"{getrandbits(64):016x}", parent_id)

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-01"


SpanRecord = dict[str, Any]
"""A span as it is written to the file: see `SpanLog.span`."""

_current: contextvars.ContextVar[SpanRecord | None] = contextvars.ContextVar("span", default=None)


def trace_headers() -> dict[str, str]:
    """What a call or an event passes on: `traceparent`, and `tracestate` if the trace has one.
    Empty outside any span."""
    span = _current.get()
    if span is None:
        return {}
    found = {"traceparent": f"00-{span['trace']}-{span['span']}-01"}
    return found | {"tracestate": span["state"]} if "state" in span else found


@contextmanager
def record_call(callee: str, request: str) -> Iterator[None]:
    """Record a call in the current span: the callee, the request, and how long the response takes.

    The record is part of the caller's span, not a span: that takes 3 µs instead of 6 for each call.
    It exists with every transport, also when the callee never responds.
    """
    span = _current.get()
    if span is None:
        yield
        return
    call: SpanRecord = {"whom": callee, "what": request, "at": time.time()}
    begun = time.perf_counter()
    try:
        yield
    except Exception as error:
        call["failed"] = type(error).__name__
        raise
    finally:
        call["ms"] = round((time.perf_counter() - begun) * 1_000, 3)
        span.setdefault("asked", []).append(call)


class SpanLog:
    """Appends spans to a file; with `path` None it writes nothing.

    A disk that takes no spans harms no request: spans are left out until there is space again.
    Raises OSError when the file cannot be opened.
    """

    def __init__(self, path: Path | None, service: str) -> None:
        self._path = path
        self._file = path.open("ab", buffering=0) if path else None
        self._service = service
        self._lock = threading.Lock()
        self._waiting = bytearray()
        self._flushed_at_s = 0.0
        self._disk_failed = False

    @contextmanager
    def span(
        self, name: str, kind: str, parent: str | None, tracestate: str = ""
    ) -> Iterator[SpanRecord]:
        """Time one step of a trace; the caller may add fields to the yielded dict.

        `kind` is OpenTelemetry's: `server` for a request, `consumer` for an event. The line's `at`
        is in seconds since 1970, its `ms` in milliseconds of a monotonic clock. `parent` and
        `tracestate` are the W3C headers; the second means nothing without a valid first.
        """
        context = SpanContext.child_of(parent)
        record: SpanRecord = {
            "trace": context.trace_id,
            "span": context.span_id,
            "parent": context.parent_id,
            "service": self._service,
            "kind": kind,
            "name": name,
            "at": time.time(),
        }
        if tracestate and context.parent_id and (state := _checked_state(tracestate)):
            record["state"] = state
        begun = time.perf_counter()
        token = _current.set(record)
        try:
            yield record
        finally:
            _current.reset(token)
            record["ms"] = round((time.perf_counter() - begun) * 1_000, 3)
            self._write(record)

    def _write(self, record: SpanRecord) -> None:
        if self._file is None:
            return
        with self._lock:
            self._waiting += json.dumps(record).encode() + b"\n"
            now = time.perf_counter()
            if now - self._flushed_at_s > _FLUSH_AFTER_S or len(self._waiting) > _MAX_WAITING_BYTES:
                self._flushed_at_s = now
                self._flush()

    def _flush(self) -> None:
        if self._file is None:
            return
        try:
            while self._waiting:
                written = self._file.write(self._waiting)
                del self._waiting[:written]
            self._disk_failed = False
        except OSError as error:
            # The beginning of the first line may be in the file already.
            del self._waiting[self._waiting.index(b"\n") + 1 :]
            if not self._disk_failed:
                self._disk_failed = True
                sys.stderr.write(
                    f"{self._path} can't be written ({error.strerror}): spans are left out until "
                    "it can. Free space on that disk, or give another --spans.\n"
                )
                sys.stderr.flush()

    def flush(self) -> None:
        """Make all spans written so far readable in the file."""
        with self._lock:
            self._flush()

    def close(self) -> None:
        self.flush()
        if self._file:
            self._file.close()
