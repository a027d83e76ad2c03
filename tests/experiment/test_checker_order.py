"""The checker detects wrong order, and rows that appear, disappear, and come back."""

import random
from dataclasses import replace

import pytest

from lab.experiment.checker import check
from lab.experiment.readback import LoggedEvent, StoredState
from lab.load.anomalies import FeedRequest, MonotonicReads
from lab.load.samples import Sample, make_token

SEED, RUNS = 7, 200


def write(
    number: int, sent_s: float, acknowledged_s: float, endpoint: str = "create_post"
) -> Sample:
    """A write that was sent at `sent_s` and acknowledged at `told_s`."""
    return Sample(
        "x", "before", endpoint, sent_s, 0.0, (acknowledged_s - sent_s) * 1_000, 201, ok=True,
        token=make_token(0, number), id=f"id-{number}",
    )  # fmt: skip


def sequential_writes(count: int) -> list[Sample]:
    return [write(number, number, number + 0.5) for number in range(count)]


def count_out_of_order(writes: list[Sample], *numbers: int) -> int:
    """The checker's count if a copy shows the writes in this order, oldest first."""
    return check(
        writes, StoredState(ordered_lists=[[make_token(0, number) for number in numbers]])
    ).out_of_order


@pytest.mark.parametrize(
    ("shown", "count"),
    [
        ((0, 1, 2, 3), 0),
        ((0, 2, 1, 3), 1),
        ((3, 0, 1, 2), 1),
        ((3, 2, 1, 0), 3),
        ((0, 3), 0),
        ((), 0),
        ((0, 99, 1), 0),
    ],
    ids=str,
)
def test_each_write_shown_before_an_earlier_one_counts_once(
    shown: tuple[int, ...], count: int
) -> None:
    assert count_out_of_order(sequential_writes(4), *shown) == count


def test_concurrent_writes_may_be_shown_in_any_order() -> None:
    together = [write(0, 0.0, 1.0), write(1, 0.5, 0.7), write(2, 0.7, 2.0)]
    assert count_out_of_order(together, 2, 1, 0) == count_out_of_order(together, 0, 2, 1) == 0
    later = [*together, write(3, 1.5, 3.0)]
    assert count_out_of_order(later, 3, 2, 1, 0) == 1


def test_only_what_was_acknowledged_proves_an_order() -> None:
    refused = replace(write(0, 0.0, 0.5), ok=False, error="timeout")
    assert count_out_of_order([refused, write(1, 1.0, 1.5)], 1, 0) == 0


def test_order_is_judged_as_by_comparing_all_pairs() -> None:
    chance = random.Random(SEED)
    found = 0
    for _ in range(RUNS):
        starts = [chance.random() for _ in range(30)]
        writes = [write(n, at, at + chance.random() / 5) for n, at in enumerate(starts)]
        order = chance.sample(range(30), 30) if chance.random() < 0.3 else sorted(
            range(30), key=lambda n: starts[n] + chance.random() / 5
        )  # fmt: skip
        late = {
            before
            for place, before in enumerate(order)
            for behind in order[place:]
            if writes[behind].intended_s + (writes[behind].latency_ms or 0) / 1_000
            < writes[before].intended_s
        }
        assert count_out_of_order(writes, *order) == len(late)
        found += bool(late)
    assert 50 < found < RUNS


def logged_events(*events: tuple[str, int]) -> list[LoggedEvent]:
    """The log: events about post 0 and comments on it."""
    names = {"C": "CommentCreated", "M": "CommentModerated", "U": "CommentUpdated"}
    return [
        LoggedEvent("PostCreated", "", "id-0", "")
        if kind == "P"
        else LoggedEvent(names[kind], make_token(0, number), f"id-{number}", "id-0")
        for kind, number in events
    ]


@pytest.mark.parametrize(
    ("log", "count"),
    [
        ("P0 C1 C2 M1 M2 U2 U1", 0),
        ("P0 C2 C1", 1),
        ("P0 M1 C1 U1", 1),
        ("P0 C1 U1 M1 C2 U2", 1),
        ("C1 P0 C2 M2 U2 M1", 1),
        ("U1 M1 C1 U2 M2 C2 P0", 2),
        ("M1 U1 C2", 0),
    ],
)
def test_the_log_has_an_event_behind_what_caused_it(log: str, count: int) -> None:
    writes = [write(number, number, number + 0.5, "create_comment") for number in (1, 2)]
    events = logged_events(*((event[0], int(event[1])) for event in log.split()))
    assert check(writes, StoredState(log=events)).out_of_order == count


def test_a_write_twice_in_the_log_is_a_duplicate() -> None:
    writes = [write(number, number, number + 0.5, "create_comment") for number in (1, 2)]
    once = logged_events(("P", 0), ("C", 1), ("M", 1), ("U", 1), ("C", 2))
    assert check(writes, StoredState(log=once)).duplicated == 0
    assert check(writes, StoredState(log=[*once, *logged_events(("U", 1))])).duplicated == 1


# ── A feed that takes back what it has shown


def reads_that_showed(*writes: Sample, at_s: float = 1.0) -> MonotonicReads:
    shown = MonotonicReads()
    for one in writes:
        shown.record_shown(one, at_s)
    return shown


def a_comment(number: int, post_id: str) -> Sample:
    return replace(write(number, 0.0, 0.5, "create_comment"), post_id=post_id)


LATER = FeedRequest(2.0, limit=3)


def test_a_later_answer_that_lacks_what_was_shown_is_counted() -> None:
    post, comment = write(1, 0.0, 0.5), a_comment(5, "id-1")
    shown = reads_that_showed(post, comment)
    shown.compare(LATER, {"id-1": {"id-5"}}, 1)
    assert (post.went_back, comment.went_back) == (0, 0)
    shown.compare(LATER, {"id-1": set()}, 1)
    assert (post.went_back, comment.went_back) == (0, 1)
    shown.compare(LATER, {}, 0)
    assert (post.went_back, comment.went_back) == (1, 2)


@pytest.mark.parametrize(
    ("asked", "posts", "missing"),
    [
        (LATER, (1, 3, 5), [2, 4]),
        (FeedRequest(2.0, limit=4), (3, 4, 5), [0, 1, 2]),
        (FeedRequest(2.0, limit=3, before="id-4"), (1, 3), [0, 2]),
        (FeedRequest(2.0, limit=2, before="id-4"), (1, 3), [2]),
        (FeedRequest(2.0, limit=2, before="id-0"), (), []),
        (FeedRequest(1.0, limit=3), (), []),  # requested before they were shown
    ],
    ids=str,
)
def test_only_what_the_page_reaches_back_to_is_missed(
    asked: FeedRequest, posts: tuple[int, ...], missing: list[int]
) -> None:
    known = [write(number, 0.0, 0.5) for number in (0, 1, 2, 3, 4, 5)]
    page = {f"id-{number}": set[str]() for number in posts}
    reads_that_showed(*known).compare(asked, page, len(page))
    assert [n for n, one in enumerate(known) if one.went_back] == missing


def test_only_what_a_reader_saw_itself_is_gone_for_that_reader() -> None:
    post = write(1, 0.0, 0.5)
    shown = reads_that_showed(post)
    shown.record_reader(3, {"id-1": set()}, 1.0)
    for reader, went_back, reader_went_back in ((2, 1, 0), (3, 2, 1)):
        shown.compare(FeedRequest(2.0, limit=3, reader=reader), {}, 0)
        assert (post.went_back, post.reader_went_back) == (went_back, reader_went_back)
    shown.compare(FeedRequest(1.0, limit=3, reader=3), {}, 0)
    assert post.reader_went_back == 1, "requested before the reader saw it"


@pytest.mark.parametrize(("went_back", "decided", "resurrected"), [(0, 1, 0), (2, 1, 1), (2, 0, 0)])
def test_only_what_went_and_came_back_is_resurrected(
    went_back: int, decided: int, resurrected: int
) -> None:
    sample = replace(write(1, 0.0, 0.5), went_back=went_back)
    stored = StoredState()
    stored.decided_in_feed[sample.token] = decided
    assert check([sample], stored).resurrected == resurrected
