"""Compares what was acknowledged with what is held: the judge of every run.

After everything has settled, each write's token is counted wherever it should be (`holdings.py`).
The idea is that of the set checkers of Jepsen and Maelstrom; what a write became is decided by what
its client was told:

    told                 found                        verdict
    yes (2xx)            once, and in the feed        fine
    yes                  not with its owner           lost
    any                  more than once, judged more  duplicated
                         than once, or the same was
                         told of it more than once
    yes                  not in the feed, or pending  unsettled
    yes                  by one who should have it,   diverged
                         not by another; or with one
                         status here, another there
    nothing for sure     the same, where its owner    diverged
                         has it
    yes                  shown as older than one that out of order
                         was acknowledged before this
                         one was sent
    yes                  in the feed, not in a later  resurrected
                         answer of it, and in the end
    surely no            anywhere                     refused but kept
    nothing for sure     anywhere, or nowhere         unknown: both are right
    no, or nothing       judged, though its owner     orphaned
                         does not have it

*Who should have it*: its owner, the feed and, for a comment, moderation's record. *Shown*: in the
lists that say what is newer, that is posts and the feed (newest first), the comments of a post
(oldest first) and, where there is one, the bus's log, which besides promises that a comment comes
behind its post, a verdict behind its comment, and an update behind its verdict. Writes of which
neither was acknowledged before the other was sent may stand either way round.

Of somebody else's services only the feed can be asked. There lost is what was acknowledged and is
not in the feed, and what would need a second teller is not measured.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf

from lab.experiment.readback import CannotCheck, Holdings, Told, read_holdings, tokens_of
from lab.load.metrics import visible_ms
from lab.load.samples import WRITES, Sample
from lab.results.result import Data, Visible

__all__ = ["CannotCheck", "Holdings", "check", "read_holdings"]

_BEHIND = {"CommentModerated": "CommentCreated", "CommentUpdated": "CommentModerated"}
"""What the log tells of a comment, and what it must have told of it before."""


def check(samples: Iterable[Sample], held: Holdings) -> Data:
    """The verdict on one variant's writes. Pure: from the same samples, the same verdict."""
    writes = [sample for sample in samples if sample.endpoint in WRITES and not sample.dropped]
    yes = [sample for sample in writes if sample.ok]
    no = [sample for sample in writes if not sample.ok and sample.definite]
    unknown = [sample for sample in writes if not sample.ok and not sample.definite]

    def found(sample: Sample) -> int:
        return max(held.owned[sample.token], held.shown[sample.token])

    told = Counter((one.type, one.token) for one in held.log)
    told_again = {token for (_, token), times in told.items() if times > 1}

    def is_double(sample: Sample) -> bool:
        return found(sample) > 1 or held.judged[sample.token] > 1 or sample.token in told_again

    seen_by_all = not held.only_the_feed
    owned_unknown = [sample for sample in unknown if held.owned[sample.token]]
    seen = visible_ms(yes)
    return Data(
        acknowledged=len(yes),
        visible=sum(held.decided[sample.token] > 0 for sample in yes),
        lost=sum(not held.owned[sample.token] for sample in yes),
        duplicated=sum(map(is_double, writes)),
        diverged=sum(_diverged(sample, held) for sample in (*yes, *owned_unknown))
        if seen_by_all
        else None,
        unsettled=sum(
            held.owned[sample.token] > 0 and not held.decided[sample.token] for sample in yes
        ),
        undecided=sum(held.pending[sample.token] > 0 for sample in yes) if seen_by_all else None,
        out_of_order=len(_out_of_order(yes, held)) if seen_by_all else None,
        resurrected=sum(one.went_back > 0 and held.decided[one.token] > 0 for one in yes),
        refused_kept=sum(found(sample) > 0 for sample in no),
        unknown=len(unknown),
        unknown_kept=sum(found(sample) > 0 for sample in unknown),
        orphaned=sum(
            held.judged[sample.token] > 0 and not held.owned[sample.token]
            for sample in (*no, *unknown)
        )
        if seen_by_all
        else None,
        visible_ms=Visible(**seen),
    )


def _diverged(write: Sample, held: Holdings) -> bool:
    """Whether those who should have it don't all have it, or don't say the same of it."""
    token = write.token
    tellers = [held.owned[token] > 0, held.shown[token] > 0]
    if write.endpoint != "create_post" and held.status_owned.get(token) != "pending":
        tellers.append(held.judged[token] > 0)
    statuses = {
        of[token]
        for of in (held.status_owned, held.status_shown, held.status_judged)
        if token in of
    }
    return (any(tellers) and not all(tellers)) or len(statuses) > 1


def _out_of_order(acknowledged: Sequence[Sample], held: Holdings) -> set[str]:
    """The tokens of acknowledged writes that stand before something that came before them."""
    by_token = {sample.token: sample for sample in acknowledged}
    orders = [
        *held.orders,
        tokens_of(held.log, "PostCreated"),
        tokens_of(held.log, "CommentCreated"),
    ]
    overtaking = {token for order in orders for token in _overtaking(order, by_token)}
    return overtaking | (by_token.keys() & set(_told_too_early(held.log)))


def _overtaking(order: Sequence[str], by_token: Mapping[str, Sample]) -> Iterator[str]:
    """Of a list, oldest first: each write behind which one stands that was acknowledged before it
    was sent. One pass from the end, for all that counts is the earliest acknowledgement behind."""
    writes = [by_token[token] for token in dict.fromkeys(order) if token in by_token]
    earliest_s = inf
    for write in reversed(writes):
        if earliest_s < write.intended_s + write.lag_ms / 1_000:
            yield write.token
        earliest_s = min(earliest_s, write.intended_s + (write.latency_ms or 0.0) / 1_000)


def _told_too_early(log: Sequence[Told]) -> Iterator[str]:
    """The tokens of events that the log has before the event they follow from."""
    first: dict[tuple[str, str], int] = {}
    for place, told in enumerate(log):
        first.setdefault((told.type, told.id), place)
    for place, told in enumerate(log):
        # What the log does not have at all (any more) is in no order.
        if first.get((_BEHIND.get(told.type, ""), told.id), 0) > place:
            yield told.token
        if told.post_id and first.get(("PostCreated", told.post_id), 0) > place:
            yield told.token
