"""What feeds show of a write, compared with what its author sent.

*Misshown*: a post with another title, or a comment with another text, under another post, or with
the wrong verdict. Moderation rejects comments that contain `FORBIDDEN_WORD` and approves all
others, so the right verdict is known when a comment is sent.

*Flickering*: a decided comment that a later feed shows with the opposite verdict, or a pending one
that a later feed with its post does not show. *Later* means: the answer with the first status had
arrived before the other request was sent. (A decided comment that disappears or is pending again is
a violation of monotonic reads: `anomalies.py`.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lab.domain.model import FORBIDDEN_WORD
from lab.load.samples import Sample

PENDING = "pending"


def right_verdict(text: str) -> str:
    """The verdict that a comment with this text must get."""
    return "rejected" if FORBIDDEN_WORD in text else "approved"


class _Shown(NamedTuple):
    status: str
    at_s: float


class ShownContent:
    """Compares the feeds of one variant with its acknowledged writes."""

    def __init__(self) -> None:
        self._writes: dict[str, Sample] = {}
        self._shown: dict[str, _Shown] = {}
        self._pending: dict[str, dict[str, Sample]] = {}  # by post: comments last shown as pending

    def record_acknowledged(self, sample: Sample) -> None:
        self._writes[sample.id] = sample

    def compare(
        self, feed: Sequence[Mapping[str, Any]], sent_at_s: float, at_s: float, degraded: bool
    ) -> None:
        """Increment `misshown` and `flickered` of the writes that this answer shows wrongly.

        `sent_at_s`, `at_s`: when it was requested and received (`perf_counter`).
        """
        for entry in feed:
            post_id = str(entry["id"])
            post = self._writes.get(post_id)
            if post is not None and post.text and entry.get("title") != post.text:
                post.misshown += 1
            comments = {str(comment["id"]): comment for comment in entry["comments"]}
            for comment_id, comment in comments.items():
                sample = self._writes.get(comment_id)
                if sample is not None:
                    self._compare_comment(sample, post_id, comment, sent_at_s, at_s)
            for sample in () if degraded else self._vanished(post_id, comments, sent_at_s):
                sample.flickered += 1

    def prune(self, older_than: str) -> None:
        """Forget the writes to posts older than this id."""
        for write_id, sample in list(self._writes.items()):
            if (sample.post_id or write_id) < older_than:
                del self._writes[write_id]
                self._shown.pop(write_id, None)
                self._pending.pop(write_id, None)

    def _compare_comment(
        self,
        sample: Sample,
        post_id: str,
        comment: Mapping[str, Any],
        sent_at_s: float,
        at_s: float,
    ) -> None:
        status = comment["status"]
        if sample.text:
            sample.misshown += (
                comment.get("content") != sample.text
                or post_id != sample.post_id
                or status not in (PENDING, right_verdict(sample.text))
            )
        before = self._shown.get(sample.id)
        if before is not None and before.at_s < sent_at_s:
            sample.flickered += PENDING not in (before.status, status) and status != before.status
        if before is None or before.status != status:
            self._shown[sample.id] = _Shown(status, at_s)
            pending = self._pending.setdefault(post_id, {})
            if status == PENDING:
                pending[sample.id] = sample
            else:
                pending.pop(sample.id, None)

    def _vanished(
        self, post_id: str, comments: Mapping[str, Any], sent_at_s: float
    ) -> Iterator[Sample]:
        for comment_id, sample in self._pending.get(post_id, {}).items():
            if comment_id not in comments and self._shown[comment_id].at_s < sent_at_s:
                yield sample
