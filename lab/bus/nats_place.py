"""Whether a JetStream stream is still the one that somebody told to, or heard from.

The mark of a place is the moment at which the server stored the event there. A stream that lost
its tail and was told it again may hold the same event under the same number, but not since then;
and whatever stands before an event has stood there longer.
"""

from collections.abc import Sequence
from datetime import datetime

from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError

from lab.bus.base import LostTail, NoLongerKept
from lab.domain.events import Envelope

_ROUNDING_US = 5  # nanoseconds, which came through a float


async def is_held(stream: JetStreamContext, name: str, sequence: int, event_id: str) -> bool:
    """Whether event `sequence` is that one, or was deleted for its age. Raises as the client."""
    kept = await _kept(stream, name, sequence)
    if kept is None:
        return sequence < max(1, (await stream.stream_info(name)).state.first_seq)
    return Envelope.from_json(kept.data or b"").id == event_id


async def check_place(stream: JetStreamContext, name: str, after: int, mark: str) -> None:
    """Raise LostTail or NoLongerKept where one can't read on behind `after`."""
    state = (await stream.stream_info(name)).state
    first = max(1, state.first_seq)
    kept = await _kept(stream, name, after) if mark and after >= first else None
    stored = _microsecond(kept.time) if kept and kept.time else 0
    if after > state.last_seq or (kept and abs(stored - int(mark)) > _ROUNDING_US):
        raise LostTail(
            f"The stream ends at {state.last_seq}, and event {after} was never in it as it was "
            "heard: a tail is lost.",
            first - 1,
        )
    if after + 1 < first:
        raise NoLongerKept(
            f"Events {after + 1} to {first - 1} are not kept any more: the stream begins later."
        )


def mark_of(messages: Sequence[Msg]) -> str:
    """The mark of the place behind these events; "" when there is none among them."""
    return str(_microsecond(messages[-1].metadata.timestamp)) if messages else ""


async def _kept(stream: JetStreamContext, name: str, sequence: int) -> RawStreamMsg | None:
    try:
        return await stream.get_msg(name, sequence) if sequence else None
    except NotFoundError:
        return None


def _microsecond(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)
