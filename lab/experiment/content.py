"""Compares the content of each stored copy of a write with what its author sent.

    stored                                                verdict
    with another text                                     altered
    a comment under another post                          misplaced
    a comment with the wrong verdict                      misjudged
    a post or comment that no one wrote                   phantom
    shown to readers with other content, while it ran     misshown
    shown to readers with one verdict, then the other;    flickered
    or as pending, and then not at all
    shown to a reader, and not in a later feed of this    unmonotonic
    reader

Each write counts once in each figure, in however many places it is wrong. Acknowledged writes are
compared, and those with an unknown outcome. A sample without a text (in an older file) is not.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence

from lab.cluster.fixtures import is_history_id
from lab.experiment.readback import StoredCopy, StoredState
from lab.load.content import PENDING, right_verdict
from lab.load.samples import Sample

_SUBJECTS = {
    "PostCreated": "post",
    "CommentCreated": "comment",
    "CommentModerated": "comment",
    "CommentUpdated": "comment",
}


def content_counts(
    writes: Sequence[Sample],
    sent_tokens: Collection[str],
    stored: StoredState,
    seed_posts: Collection[str] | None,
) -> dict[str, int | None]:
    """The figures about content. `writes`: those to compare; `sent_tokens`: of all that were sent.

    `seed_posts`: the ids of the posts from before the load. None: unknown, so a post or comment
    without a token is not taken for a phantom.
    """
    copies = [*stored.copies, *_logged_copies(stored)]
    by_token: dict[str, list[StoredCopy]] = {}
    for copy in copies:
        by_token.setdefault(copy.token, []).append(copy)
    compared = [(sample, copy) for sample in writes for copy in by_token.get(sample.token, ())]
    known = [(sample, copy) for sample, copy in compared if sample.text]
    return {
        "altered": _writes_of(
            (sample, copy) for sample, copy in known if copy.text not in ("", sample.text)
        ),
        "misplaced": _writes_of(
            (sample, copy)
            for sample, copy in compared
            if copy.post_id and copy.post_id != sample.post_id
        ),
        "misjudged": _writes_of(
            (sample, copy)
            for sample, copy in known
            if copy.status not in ("", PENDING, right_verdict(sample.text))
        ),
        # An external system may contain posts from before the run.
        "phantoms": None
        if stored.feed_only
        else len(set(_phantoms(copies, sent_tokens, seed_posts))),
        "misshown": sum(sample.misshown > 0 for sample in writes),
        "flickered": sum(sample.flickered > 0 for sample in writes),
        "unmonotonic": sum(sample.reader_went_back > 0 for sample in writes),
    }


def _writes_of(pairs: Iterable[tuple[Sample, StoredCopy]]) -> int:
    return len({sample.token for sample, _ in pairs})


def _logged_copies(stored: StoredState) -> Iterator[StoredCopy]:
    for event in stored.log:
        yield StoredCopy(
            kind=_SUBJECTS.get(event.type, ""),
            token=event.token,
            id=event.id,
            post_id=event.post_id,
            text=event.text,
            status=event.status,
        )


def _phantoms(
    copies: Iterable[StoredCopy], sent_tokens: Collection[str], seed_posts: Collection[str] | None
) -> Iterator[str]:
    """The token, id or text of each post and comment that no one wrote."""
    for copy in copies:
        if copy.token:
            if copy.token not in sent_tokens:
                yield copy.token
        elif copy.kind and copy.text and not _may_be_from_before(copy, seed_posts):
            yield copy.id or copy.text


def _may_be_from_before(copy: StoredCopy, seed_posts: Collection[str] | None) -> bool:
    if seed_posts is None:
        return True
    return copy.kind == "post" and (copy.id in seed_posts or is_history_id(copy.id))
