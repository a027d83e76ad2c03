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
    2xx                  the same, and no event is on    missing
                         its way any more
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

The content of the copies is compared as well: `content.py` has the verdicts.

If events were still on their way when the time to settle was over, what is missing may only be
late. Then a write that its owner has, and that other places lack or show as pending, is
*unfinished*: neither missing nor diverged. Of an external system, a write that the feed lacks is
unfinished, and not lost.

A write should be stored in these places: at its owner, in the feed and, for a comment, in the
record of `moderation`. The order is checked in the lists of posts, the feed, the comments of a
post, and the log of the bus if it keeps one. In the log, a comment must also come after its post,
a moderation after its comment, and an update after its moderation. Two writes may have either
order if neither was acknowledged before the other was sent.

Of an external system only the feed can be read. There, a write is lost if it was acknowledged and
is not in the feed; verdicts that compare two places are not measured (None).
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from math import inf

from lab.experiment.content import content_counts
from lab.experiment.readback import (
    CannotCheck,
    LoggedEvent,
    StoredState,
    read_stored_state,
    tokens_of,
)
from lab.load.content import PENDING
from lab.load.metrics import visibility_spread
from lab.load.samples import WRITES, Sample
from lab.results.result import CheckerCounts, VisibilityLatency

__all__ = ["CannotCheck", "StoredState", "check", "read_stored_state"]

_CAUSED_BY = {"CommentModerated": "CommentCreated", "CommentUpdated": "CommentModerated"}
"""By event type: the type of the event that must come before it in the log."""


def check(
    samples: Iterable[Sample],
    stored: StoredState,
    *,
    on_its_way: bool = False,
    seed_posts: Collection[str] | None = None,
) -> CheckerCounts:
    """Count the verdicts on one variant's writes. Pure: the same input gives the same counts.

    `on_its_way`: events were still being delivered, so what is missing may appear later.
    `seed_posts`: the ids of the posts from before the load; None if unknown.
    """
    writes = [sample for sample in samples if sample.endpoint in WRITES and not sample.dropped]
    acknowledged = [sample for sample in writes if sample.ok]
    refused = [sample for sample in writes if not sample.ok and sample.definite]
    unknown = [sample for sample in writes if not sample.ok and not sample.definite]

    def copies(sample: Sample) -> int:
        return max(stored.by_owner[sample.token], stored.in_feed[sample.token])

    publications = Counter((event.type, event.token) for event in stored.log)
    published_twice = {token for (_, token), times in publications.items() if times > 1}

    def is_duplicated(sample: Sample) -> bool:
        return (
            copies(sample) > 1
            or stored.by_moderation[sample.token] > 1
            or sample.token in published_twice
        )

    all_places_read = not stored.feed_only
    stored_unknown = [sample for sample in unknown if stored.by_owner[sample.token]]
    lost = [sample for sample in acknowledged if not stored.by_owner[sample.token]]
    unsettled = [
        sample
        for sample in acknowledged
        if stored.by_owner[sample.token] and not stored.decided_in_feed[sample.token]
    ]
    incomplete = [
        sample for sample in (*acknowledged, *stored_unknown) if _is_incomplete(sample, stored)
    ]
    diverged = [
        sample for sample in (*acknowledged, *stored_unknown) if _has_two_verdicts(sample, stored)
    ]
    unfinished: list[Sample] = []
    if on_its_way:
        unfinished = [*unsettled, *(incomplete if all_places_read else lost)]
        lost = lost if all_places_read else []
    else:
        diverged += incomplete
    visibility = visibility_spread(acknowledged)
    return CheckerCounts(
        acknowledged=len(acknowledged),
        visible=sum(stored.decided_in_feed[sample.token] > 0 for sample in acknowledged),
        lost=len(lost),
        duplicated=sum(map(is_duplicated, writes)),
        diverged=len(_tokens(diverged)) if all_places_read else None,
        unsettled=len(unsettled),
        missing=None if on_its_way and unsettled else len(unsettled),
        undecided=sum(stored.pending_at_owner[sample.token] > 0 for sample in acknowledged)
        if all_places_read
        else None,
        unfinished=len(_tokens(unfinished) - _tokens(lost)),
        out_of_order=len(_out_of_order(acknowledged, stored)) if all_places_read else None,
        resurrected=sum(
            sample.went_back > 0 and stored.decided_in_feed[sample.token] > 0
            for sample in acknowledged
        ),
        refused_kept=sum(copies(sample) > 0 for sample in refused),
        unknown=len(unknown),
        unknown_kept=sum(copies(sample) > 0 for sample in unknown),
        orphaned=sum(
            stored.by_moderation[sample.token] > 0 and not stored.by_owner[sample.token]
            for sample in (*refused, *unknown)
        )
        if all_places_read
        else None,
        visible_ms=VisibilityLatency(**visibility),
        **content_counts(
            [*acknowledged, *unknown], {sample.token for sample in writes}, stored, seed_posts
        ),
    )


def _tokens(writes: Iterable[Sample]) -> set[str]:
    return {write.token for write in writes}


def _is_incomplete(write: Sample, stored: StoredState) -> bool:
    """Whether a write is stored in one place and missing in another, or decided in one of them and
    pending in another."""
    token = write.token
    presence = [stored.by_owner[token] > 0, stored.in_feed[token] > 0]
    if write.endpoint != "create_post" and stored.owner_status.get(token) != PENDING:
        presence.append(stored.by_moderation[token] > 0)
    statuses = _statuses(write, stored)
    return (any(presence) and not all(presence)) or (PENDING in statuses and len(statuses) > 1)


def _has_two_verdicts(write: Sample, stored: StoredState) -> bool:
    return len(_statuses(write, stored) - {PENDING}) > 1


def _statuses(write: Sample, stored: StoredState) -> set[str]:
    return {
        by_token[write.token]
        for by_token in (stored.owner_status, stored.feed_status, stored.moderation_status)
        if write.token in by_token
    }


def _out_of_order(acknowledged: Sequence[Sample], stored: StoredState) -> set[str]:
    """The tokens of acknowledged writes that a list or the log places too early."""
    by_token = {sample.token: sample for sample in acknowledged}
    lists = [
        *stored.ordered_lists,
        tokens_of(stored.log, "PostCreated"),
        tokens_of(stored.log, "CommentCreated"),
    ]
    overtaking = {token for order in lists for token in _overtaking(order, by_token)}
    return overtaking | (by_token.keys() & set(_logged_too_early(stored.log)))


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


def _logged_too_early(log: Sequence[LoggedEvent]) -> Iterator[str]:
    """The tokens of events that the log has before the event that caused them."""
    first_position: dict[tuple[str, str], int] = {}
    for position, event in enumerate(log):
        first_position.setdefault((event.type, event.id), position)
    for position, event in enumerate(log):
        # If the log lacks the other event, or no longer keeps it, there is no order to check.
        if first_position.get((_CAUSED_BY.get(event.type, ""), event.id), 0) > position:
            yield event.token
        if event.post_id and first_position.get(("PostCreated", event.post_id), 0) > position:
            yield event.token
