"""What feeds show of a write, compared with what its author sent."""

from collections.abc import Mapping
from typing import Any

import pytest

from lab.load.content import ShownContent
from lab.load.samples import Sample


def a_post() -> Sample:
    return Sample("v", "during", "create_post", 1.0, 0.0, ok=True, id="p", text="post w-0-000000;")


def a_comment(text: str = "comment w-0-000001;") -> Sample:
    return Sample(
        "v", "during", "create_comment", 1.0, 0.0, ok=True, id="c", post_id="p", text=text
    )


def shown_in(*feeds: tuple[str, list[Mapping[str, str]]], sample: Sample) -> Sample:
    """The sample after the feeds, one a second: the title of its post, and the comments of it."""
    content = ShownContent()
    content.record_acknowledged(sample)
    for second, (title, comments) in enumerate(feeds):
        feed = [{"id": "p", "title": title, "comments": comments}]
        content.compare(feed, second, second + 0.5, degraded=False)
    return sample


def as_status(*statuses: str, text: str = "comment w-0-000001;") -> Sample:
    """A comment after feeds that show it with these statuses; "" for a feed without it."""
    feeds: list[tuple[str, list[Mapping[str, str]]]] = [
        ("post", [{"id": "c", "content": text, "status": status}] if status else [])
        for status in statuses
    ]
    return shown_in(*feeds, sample=a_comment(text))


def test_a_post_with_another_title_is_misshown() -> None:
    assert shown_in(("post w-0-000000;", []), sample=a_post()).misshown == 0
    assert shown_in(("LIES w-0-000000;", []), sample=a_post()).misshown == 1


def test_a_comment_with_another_text_is_misshown() -> None:
    comment = {"id": "c", "content": "SPAM w-0-000001;", "status": "approved"}
    assert shown_in(("post", [comment]), sample=a_comment()).misshown == 1


def test_a_comment_under_another_post_is_misshown() -> None:
    content, comment = ShownContent(), a_comment()
    content.record_acknowledged(comment)
    row = {"id": "c", "content": comment.text, "status": "approved"}
    content.compare([{"id": "q", "title": "", "comments": [row]}], 1.0, 2.0, degraded=False)
    assert comment.misshown == 1


@pytest.mark.parametrize(
    ("text", "status", "misshown"),
    [
        ("an orange", "rejected", 0),
        ("an orange", "pending", 0),
        ("an orange", "approved", 1),
        ("an apple", "approved", 0),
        ("an apple", "rejected", 1),
    ],
)
def test_a_wrong_verdict_is_misshown(text: str, status: str, misshown: int) -> None:
    assert as_status(status, text=text).misshown == misshown


@pytest.mark.parametrize(
    ("statuses", "flickered"),
    [
        (("pending", "approved", "approved"), 0),
        (("", "pending", "approved"), 0),
        (("approved", "rejected"), 1),
        (("approved", "rejected", "approved"), 2),
        (("pending", "", "pending", "", "approved"), 2),
        (("approved", ""), 0),  # a violation of monotonic reads, counted as `went_back`
        (("approved", "pending"), 0),  # and that, too
    ],
)
def test_a_status_that_comes_and_goes_flickers(statuses: tuple[str, ...], flickered: int) -> None:
    assert as_status(*statuses).flickered == flickered


def test_concurrent_answers_may_differ() -> None:
    content, comment = ShownContent(), a_comment()
    content.record_acknowledged(comment)
    for status in ("approved", "rejected"):
        row: dict[str, Any] = {"id": "c", "content": comment.text, "status": status}
        feed = [{"id": "p", "title": "", "comments": [row]}]
        content.compare(feed, 1.0, 2.0, degraded=False)
    assert comment.flickered == 0


def test_a_degraded_feed_withdraws_nothing() -> None:
    content, comment = ShownContent(), a_comment()
    content.record_acknowledged(comment)
    row = {"id": "c", "content": comment.text, "status": "pending"}
    content.compare([{"id": "p", "title": "", "comments": [row]}], 1.0, 1.5, degraded=False)
    content.compare([{"id": "p", "title": "", "comments": []}], 2.0, 2.5, degraded=True)
    assert comment.flickered == 0


def test_an_older_file_without_texts_is_not_compared() -> None:
    assert (
        shown_in(("anything", []), sample=Sample("v", "d", "create_post", 0, 0, id="p")).misshown
        == 0
    )
