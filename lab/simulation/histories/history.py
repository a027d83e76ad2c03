"""A history: what was done to a blog, what happened in it, and what came of it, as plain values.

Times are virtual milliseconds from the start of the history. A *lifeline* is a participant:
`client`, a service, or `event-bus`. Nothing here depends on the search; a drawing needs only this
file.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

CLIENT = "client"

DeedKind = Literal[
    "post",  # a client writes a post
    "comment",  # a client writes a comment on an earlier post
    "read",  # a client reads the feed
    "crash",  # the target's process is killed; its disk stays
    "restart",  # it is started again
    "restore",  # the bus goes on with an old copy of its log, which lacks all that is newer
    "power cut",  # the target crashes, and what it did not sync to its disk is gone
    "full disk",  # the target's disk refuses its `count`-th change or commit from now, once
    "clock",  # the target's clock goes back by `ms`
    "repeat",  # the client of `write` sends it again, under the same Idempotency-Key
    "partition",  # what the target and the peer send to each other does not arrive
    "heal",  # it arrives again
    "slow",  # what the target sends and receives takes `ms` longer, until `heal`
    "duplicate",  # the target receives its next `count` events twice
    "drop",  # the target's next `count` events are lost on their way
    "reorder",  # the next event overtakes the one that arrives now
]
WRITES: tuple[DeedKind, ...] = ("post", "comment")


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing that is done to the blog.

    `target`: a service or `event-bus`; "" for `heal`. `peer`: the other side
    of a partition; "" for all. `point` (`crash`): where in its work the target crashes: `now`,
    `before commit` or `after commit` (its `count`-th from now; after a commit, nothing has been
    published or answered yet). `write`: the number of the write, from 1; 0 for a deed that is about
    none. `post`: the number of the write that a comment belongs to; 0 for the post from before, -1
    for one that does not exist. `forbidden`: moderation rejects it.
    """

    at_ms: float
    kind: DeedKind
    target: str = ""
    peer: str = ""
    point: str = ""
    count: int = 1
    ms: float = 0.0
    write: int = 0
    post: int = 0
    forbidden: bool = False


MessageKind = Literal["request", "reply", "publish", "acknowledgement", "event"]


@dataclass(frozen=True, slots=True)
class Message:
    """What one lifeline sent to another. `received_ms`: None when it never arrived; `lost` then
    says why (`partition`, `down`, `drop`). `write`: the write it is about; 0 for none. `label`: as
    `GET /feed`, `503`, `CommentCreated`."""

    kind: MessageKind
    sender: str
    receiver: str
    sent_ms: float
    received_ms: float | None
    label: str
    write: int = 0
    lost: str = ""


MomentKind = Literal[
    "commit",  # a transaction was committed
    "acknowledged",  # the client has a 2xx for its write
    "refused",  # the client knows that nothing was done
    "unknown",  # the client knows nothing: a timeout, or a broken connection
    "feed",  # the client has received a feed; `holds` says what it shows
    "crash",
    "start",
    "fault",  # a fault begins at this lifeline; `label` names it
    "healed",  # it ends
]


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened at one lifeline. `writes`: the numbers of the writes it is about."""

    at_ms: float
    kind: MomentKind
    lifeline: str
    label: str = ""
    writes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Holding:
    """From `from_ms` on, a lifeline holds a write. `status`: `pending`, `approved` or `rejected`;
    "" for a post, and for an event in the log (then `lifeline` is `event-bus`)."""

    from_ms: float
    lifeline: str
    write: int
    status: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the goal was reached, in one sentence. `figures`: the checker's counts by name, with
    `stale_s` and `stuck`; None where not measured. `writes`: the writes that the goal is about."""

    goal: str
    reached: bool
    sentence: str
    figures: Mapping[str, float | None] = field(default_factory=dict)
    writes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class History:
    """One history, complete. `arrangement` and `options`: the variant; `seed`: as a text, which
    `lab search --seed` accepts. `settled_ms`: when everything was mended; `end_ms`: when nothing
    happened any more."""

    arrangement: str
    options: Mapping[str, Any]
    seed: str
    deeds: tuple[Deed, ...]
    messages: tuple[Message, ...]
    moments: tuple[Moment, ...]
    holdings: tuple[Holding, ...]
    verdict: Verdict
    lifelines: tuple[str, ...]
    settled_ms: float
    end_ms: float

    def to_json(self) -> str:
        """One JSON document; the same history gives the same text, byte for byte."""
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "History":
        """Raises ValueError, KeyError or TypeError for another document."""
        fields = json.loads(text)
        moments = [{**one, "writes": tuple(one["writes"])} for one in fields["moments"]]
        verdict = fields["verdict"]
        return cls(
            **fields
            | {
                "deeds": tuple(Deed(**one) for one in fields["deeds"]),
                "messages": tuple(Message(**one) for one in fields["messages"]),
                "moments": tuple(Moment(**one) for one in moments),
                "holdings": tuple(Holding(**one) for one in fields["holdings"]),
                "verdict": Verdict(**verdict | {"writes": tuple(verdict["writes"])}),
                "lifelines": tuple(fields["lifelines"]),
            }
        )
