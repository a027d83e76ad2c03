"""The order of posts whose ids do not tell it: derived from what was observed first."""

import random
from collections.abc import Sequence

from lab.load.anomalies import MARGIN, FeedRequest, MonotonicReads, PostOrder
from lab.load.samples import Sample


def some_ids(count: int) -> list[str]:
    chance = random.Random(7)
    return [f"{chance.getrandbits(32):08x}" for _ in range(count)]


def a_post(post_id: str) -> Sample:
    return Sample("x", "before", "create_post", 0.0, 0.0, ok=True, id=post_id)


def test_ids_of_the_lab_are_their_own_keys() -> None:
    order = PostOrder()
    order.observe(["c", "b"])
    assert [order.key(one) for one in ("b", "a")] == ["b", "a"]
    assert order.oldest_complete_key(["c", "b"]) == "b"


def test_other_ids_are_ordered_by_when_they_were_met() -> None:
    order, ids = PostOrder(by_id=False), some_ids(6)
    order.key(ids[0])
    order.observe([ids[3], ids[2], ids[1]])
    order.observe([ids[4], ids[3], ids[0]])
    order.key(ids[5])
    assert sorted(ids, key=order.key) == ids


def record_posts(order: PostOrder, ids: Sequence[str]) -> tuple[MonotonicReads, list[Sample]]:
    reads, posts = MonotonicReads(order), [a_post(one) for one in ids]
    for one in posts:
        reads.record_shown(one, 1.0)
    return reads, posts


def page(ids: Sequence[str]) -> dict[str, set[str]]:
    """A page of the feed, newest first."""
    return {one: set[str]() for one in reversed(ids)}


def test_a_post_missing_from_a_full_page_is_missed() -> None:
    ids = some_ids(40)
    shown, posts = record_posts(PostOrder(by_id=False), ids)
    without_one = [*ids[18:38], ids[39]]
    shown.compare(FeedRequest(2.0, limit=21), page(without_one), 21)
    assert [one.id for one in posts if one.went_back] == [ids[38]]


def test_near_the_end_of_a_page_no_post_is_missed() -> None:
    ids = some_ids(40)
    shown, posts = record_posts(PostOrder(by_id=False), ids)
    otherwise = [ids[15], *ids[20:]]  # with one that we assume is older than those left out
    shown.compare(FeedRequest(2.0, limit=21), page(otherwise), 21)
    assert not any(one.went_back for one in posts)
    assert MARGIN < 21


def test_a_short_page_is_the_whole_feed() -> None:
    ids = some_ids(5)
    shown, posts = record_posts(PostOrder(by_id=False), ids)
    shown.compare(FeedRequest(2.0, limit=20), page(ids[1:]), 4)
    assert [one.id for one in posts if one.went_back] == [ids[0]]
