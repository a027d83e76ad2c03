"""The checker: compares the acknowledged writes of a run with what the services store.

It runs after all events have been delivered. Each write carries a token, and `readback.py` counts
this token wherever it should be stored. The idea is that of the set checkers of Jepsen and
Maelstrom. The verdict depends on the response to the client and on what the services store:

    response             stored                       verdict
    2xx                  once, and in the feed        fine
    2xx                  not at its owner             lost
    any                  more than once, moderated    duplicated
                         more than once, or published
                         more than once
    2xx                  at its owner; missing in the unsettled
                         feed, or pending there
    2xx                  in one place, not in another diverged
                         one; or with two statuses
    unknown              the same, and at its owner   diverged
    2xx                  listed before a write that   out of order
                         was acknowledged before this
                         one was sent
    2xx                  in the feed, missing in a    resurrected
                         later feed, and in the feed
                         at the end
    definite refusal     anywhere                     refused but kept
    unknown              anywhere, or nowhere         unknown: both are right
    refusal or unknown   moderated, but not at its    orphaned
                         owner

A write should be stored in these places: at its owner, in the feed and, for a comment, in the
record of `moderation`. The order is checked in the lists of posts, the feed, the comments of a
post, and the log of the bus if it keeps one. In the log, a comment must also come after its post,
a moderation after its comment, and an update after its moderation. Two writes may have either
order if neither was acknowledged before the other was sent.

Of an external system only the feed can be read. There, a write is lost if it was acknowledged and
is not in the feed; verdicts that compare two places are not measured (None).
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
"""By event type: the type of the event that must come before it in the log."""


def check(samples: Iterable[Sample], held: Holdings) -> Data:
    """Count the verdicts on one variant's writes. Pure: the same input gives the same counts."""
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
    """Whether a write is stored in one place and missing in another, or has two statuses."""
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
    """The tokens of acknowledged writes that a list or the log places too early."""
    by_token = {sample.token: sample for sample in acknowledged}
    orders = [
        *held.orders,
        tokens_of(held.log, "PostCreated"),
        tokens_of(held.log, "CommentCreated"),
    ]
    overtaking = {token for order in orders for token in _overtaking(order, by_token)}
    return overtaking | (by_token.keys() & set(_told_too_early(held.log)))


def _overtaking(order: Sequence[str], by_token: Mapping[str, Sample]) -> Iterator[str]:
    """The tokens of writes that a list (oldest first) places before a write that was acknowledged
    before they were sent. One pass from the end: of the later entries, only the earliest
    acknowledgement counts."""
    writes = [by_token[token] for token in dict.fromkeys(order) if token in by_token]
    earliest_s = inf
    for write in reversed(writes):
        if earliest_s < write.intended_s + write.lag_ms / 1_000:
            yield write.token
        earliest_s = min(earliest_s, write.intended_s + (write.latency_ms or 0.0) / 1_000)


def _told_too_early(log: Sequence[Told]) -> Iterator[str]:
    """The tokens of events that the log has before the event that caused them."""
    first: dict[tuple[str, str], int] = {}
    for place, told in enumerate(log):
        first.setdefault((told.type, told.id), place)
    for place, told in enumerate(log):
        # If the log lacks the other event, or no longer keeps it, there is no order to check.
        if first.get((_BEHIND.get(told.type, ""), told.id), 0) > place:
            yield told.token
        if told.post_id and first.get(("PostCreated", told.post_id), 0) > place:
            yield told.token
