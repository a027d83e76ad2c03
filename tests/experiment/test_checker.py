"""Tests the checker: it finds every kind of error, and none where there is none.

A checker that finds nothing looks just like a system without errors. So every state of a write must
be judged as the checker's table says, and one wrong write must change only its own figure.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, cast

import pytest

from lab.cluster.arrangements import ARRANGEMENTS
from lab.cluster.control_client import ControlResponse
from lab.cluster.stack import Stack
from lab.domain.services import BUS, SERVICES
from lab.experiment.checker import CannotCheck, StoredState, check, read_stored_state
from lab.load.samples import Sample, make_token, read_samples, write_samples
from lab.results.result import CheckerCounts

PAGE = 100


def write(
    number: int, answer: str = "yes", endpoint: str = "create_comment", **more: Any
) -> Sample:
    """A write whose client got `yes`, `no` (definitely not), or `nothing` as answer."""
    outcomes: dict[str, dict[str, Any]] = {
        "yes": {"ok": True, "status": 201, "latency_ms": 5.0, "visible_ms": 10.0},
        "no": {"status": 404, "error": "http_404", "definite": True, "latency_ms": 3.0},
        "nothing": {"error": "timeout", "latency_ms": 2_000.0},
    }
    sample = Sample(
        "sync-chain", "during", endpoint, 1.0 + number, 0.1, token=make_token(0, number)
    )
    return replace(sample, **{**outcomes[answer], **more})


def stored_state(*numbers: int, pending: Sequence[int] = ()) -> StoredState:
    """The state without errors: each write at its owner, in the feed, decided except `pending`."""
    tokens = [make_token(0, number) for number in numbers]
    undecided = {make_token(0, number) for number in pending}
    return StoredState(
        by_owner=Counter(tokens),
        in_feed=Counter(tokens),
        decided_in_feed=Counter(one for one in tokens if one not in undecided),
        by_moderation=Counter(set(tokens) - {make_token(0, 0)}),  # number 0 is the post
    )


WRITES = [write(0, endpoint="create_post"), write(1), write(2), write(3, "no"), write(4, "nothing")]
CLEAN = check(WRITES, stored_state(0, 1, 2))


def count_differences(found: CheckerCounts) -> dict[str, int]:
    """The difference of each count from that of the clean run."""
    return {
        key: value - getattr(CLEAN, key)
        for key, value in found
        if isinstance(value, int) and value != getattr(CLEAN, key)
    }


def test_a_clean_run_is_found_clean() -> None:
    counts = {key: value for key, value in CLEAN if value and key != "visible_ms"}
    assert counts == {"acknowledged": 3, "visible": 3, "unknown": 1}
    assert (CLEAN.visible_ms.p50, CLEAN.visible_ms.max) == (10.0, 10.0)


STATUSES = (
    {"owner_status": "rejected", "feed_status": "approved"},
    {"moderation_status": "rejected", "owner_status": "approved", "feed_status": "approved"},
)


@pytest.mark.parametrize("statuses", STATUSES, ids=str)
def test_two_statuses_of_one_comment_are_a_divergence(statuses: dict[str, str]) -> None:
    stored = stored_state(0, 1, 2)
    for place, status in statuses.items():
        getattr(stored, place)[make_token(0, 1)] = status
    assert count_differences(check(WRITES, stored)) == {"diverged": 1}


def test_a_post_twice_counts_a_write_of_others_not() -> None:
    assert count_differences(check(WRITES, stored_state(0, 0, 1, 2))) == {"duplicated": 1}
    assert count_differences(check(WRITES, stored_state(0, 1, 2, 99))) == {}


def test_an_unknown_write_that_was_done_twice_is_a_duplicate() -> None:
    stored = stored_state(0, 1, 2, 4, 4)
    assert count_differences(check(WRITES, stored)) == {"duplicated": 1, "unknown_kept": 1}


def test_what_may_still_appear_is_not_missing() -> None:
    stored = stored_state(0, 1, 2, pending=[2])
    settled, moving = check(WRITES, stored), check(WRITES, stored, on_its_way=True)
    assert (settled.unsettled, settled.missing) == (1, 1)
    assert (moving.unsettled, moving.missing) == (1, None)
    assert check(WRITES, stored_state(0, 1, 2), on_its_way=True).missing == 0


def test_reads_and_what_was_never_sent_are_not_judged() -> None:
    others = [
        write(5, endpoint="read_feed", token=""),
        write(6, "nothing", dropped=True),
        write(7, "nothing", error="interrupted", latency_ms=None),
    ]
    assert count_differences(check([*WRITES, *others], stored_state(0, 1, 2))) == {"unknown": 1}


def test_the_warm_up_is_judged_though_it_is_not_timed() -> None:
    early = write(5, phase="warm_up", visible_ms=9_999.0)
    found = check([*WRITES, early], stored_state(0, 1, 2))
    assert count_differences(found) == {"acknowledged": 1, "lost": 1}
    assert found.visible_ms.max == 10.0


def test_the_verdict_is_the_same_from_the_kept_samples(tmp_path: Path) -> None:
    write_samples(tmp_path / "samples.csv", WRITES)
    assert check(
        read_samples(tmp_path / "samples.csv"), stored_state(0, 2, 3, pending=[2])
    ) == check(WRITES, stored_state(0, 2, 3, pending=[2]))


def expected_figures(
    answer: str, at_owner: int, in_feed: int, decided: int, at_moderation: int
) -> set[str]:
    """The figures in which a comment counts, as the rows of the checker's table say. The owner's
    copy is as decided as the feed's."""
    found = {"yes": {"acknowledged"}, "no": set[str](), "nothing": {"unknown"}}[answer]
    presence = {at_owner > 0, in_feed > 0} | (
        {at_moderation > 0} if decided or not at_owner else set()
    )
    if max(at_owner, in_feed, at_moderation) > 1:
        found.add("duplicated")
    if answer == "yes":
        found |= {"visible"} if decided else set()
        found |= {"unsettled", "missing"} if at_owner and not decided else set()
        found |= set() if at_owner else {"lost"}
        found |= {"undecided"} if at_owner and not decided else set()
    elif at_owner or in_feed:
        found.add("refused_kept" if answer == "no" else "unknown_kept")
    if answer != "yes" and at_moderation and not at_owner:
        found.add("orphaned")
    if answer == "yes" or (answer == "nothing" and at_owner):
        found |= {"diverged"} if len(presence) > 1 else set()
    return found


def test_each_way_to_find_a_comment_is_judged_as_documented() -> None:
    seen: Counter[str] = Counter()
    counts = [range(3)] * 4
    for answer, at_owner, in_feed, decided, moderated in product(("yes", "no", "nothing"), *counts):
        if decided > in_feed:
            continue
        sample, stored = write(1, answer), StoredState()
        stored.by_owner[sample.token] = at_owner
        stored.in_feed[sample.token] = in_feed
        stored.by_moderation[sample.token] = moderated
        stored.decided_in_feed[sample.token] = decided
        stored.pending_at_owner[sample.token] = at_owner if not decided else 0
        if at_owner:
            stored.owner_status[sample.token] = "approved" if decided else "pending"
        found = {key for key, value in check([sample], stored) if value and key != "visible_ms"}
        case = (answer, at_owner, in_feed, decided, moderated)
        assert found == expected_figures(*case), case
        seen.update(found)
    assert min(seen.values()) > 5
    assert len(seen) == 12


def test_with_only_the_feed_nothing_else_is_measured() -> None:
    stored = stored_state(0, 1, 2)
    stored.feed_only = True
    found = check(WRITES, stored)
    unmeasured = {key for key, value in found if value is None}
    assert unmeasured == {"diverged", "undecided", "out_of_order", "orphaned", "phantoms"}


def test_what_is_still_on_its_way_is_neither_lost_nor_diverged() -> None:
    stored = stored_state(0, 1, 2, pending=[2])
    for place in (stored.in_feed, stored.decided_in_feed):
        del place[make_token(0, 1)]
    stored.owner_status[make_token(0, 2)] = "approved"
    stored.feed_status[make_token(0, 2)] = "pending"
    late = check(WRITES, stored, on_its_way=True)
    assert (late.lost, late.diverged, late.unfinished) == (0, 0, 2)
    assert (check(WRITES, stored).diverged, check(WRITES, stored).unfinished) == (2, 0)
    stored.feed_status[make_token(0, 2)] = "rejected"
    assert check(WRITES, stored, on_its_way=True).diverged == 1, "two verdicts do not arrive later"
    stored.by_owner[make_token(0, 0)] = 0
    assert check(WRITES, stored, on_its_way=True).lost == 1, "an owner stores before it answers"
    stored.feed_only, stored.by_owner = True, stored.in_feed
    assert check(WRITES, stored, on_its_way=True).lost == 0


class ReadbackStack:
    """A stack with scripted content, page by page; `refuses`: a service that returns errors."""

    name = "fake"
    urls = {name: name for name in (*SERVICES, BUS)}  # noqa: RUF012
    arrangement = ARRANGEMENTS["async-bus"]
    history_length = 0

    def __init__(self, posts: int, refuses: str = "") -> None:
        ids = [f"id-{number:04d}" for number in range(posts)]
        self._refuses, self.request_counts = refuses, Counter[str]()
        self._posts = [
            {"id": one, "title": f"post {make_token(0, n)}"} for n, one in enumerate(ids)
        ]
        self._comments = {one: _comment(one, posts + n) for n, one in enumerate(ids)}

    async def call(self, method: str, url: str, path: str) -> ControlResponse:
        self.request_counts[url] += 1
        if url == self._refuses:
            return ControlResponse(503, "", {"title": "not now"})
        if url == BUS:
            lines = "".join(f"{json.dumps(event)}\n" for event in self._logged_events())
            return ControlResponse(200, "", None, lines.encode())
        _, _, query = path.partition("?")
        given = dict(part.split("=") for part in query.split("&"))
        if url == "moderation":
            return ControlResponse(
                200, "", self._moderation_records(int(given["after"]), int(given["limit"]))
            )
        if url == "comments":
            return ControlResponse(
                200, "", [self._comments[one] for one in given["post_ids"].split(",")]
            )
        page = [one for one in reversed(self._posts) if one["id"] < given["before"]]
        page = page[: int(given["limit"])]
        if url == "query":
            return ControlResponse(
                200, "", [{**one, "comments": [self._comments[one["id"]]]} for one in page]
            )
        return ControlResponse(200, "", page)

    def _logged_events(self) -> list[dict[str, Any]]:
        return [
            *({"type": "PostCreated", "data": post} for post in self._posts),
            *({"type": "CommentCreated", "data": one} for one in self._comments.values()),
            {"type": "Poison", "data": {}},
        ]

    def _moderation_records(self, after: int, limit: int) -> list[dict[str, Any]]:
        contents = [one["content"] for one in self._comments.values()]
        verdicts = [
            {"number": n, "content": content, "status": "approved"}
            for n, content in enumerate(contents, 1)
        ]
        return verdicts[after : after + limit]


def _comment(post_id: str, number: int) -> dict[str, str]:
    status = "pending" if number % 2 else "approved"
    return {
        "id": f"c-{number}",
        "post_id": post_id,
        "content": make_token(0, number),
        "status": status,
    }


@pytest.mark.parametrize("posts", [0, 1, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE])
async def test_everything_is_read_however_many_pages_it_has(posts: int) -> None:
    stack = ReadbackStack(posts)
    stored = await read_stored_state(cast(Stack, stack))
    everything = Counter(make_token(0, number) for number in range(2 * posts))
    pending = {make_token(0, number) for number in range(posts, 2 * posts) if number % 2}
    assert (stored.by_owner, stored.in_feed) == (everything, everything)
    assert stored.by_moderation == Counter(
        make_token(0, number) for number in range(posts, 2 * posts)
    )
    assert stored.decided_in_feed == {one: 1 for one in everything if one not in pending}
    written = [make_token(0, number) for number in range(2 * posts)]
    oldest_first, *of_each_post = stored.ordered_lists[: posts + 1]
    assert oldest_first == written[:posts]
    assert sorted(of_each_post) == [[one] for one in written[posts:]]
    assert stored.ordered_lists[-1] == written[:posts], "the feed says so, too"
    assert [event.token for event in stored.log] == [*written, ""]


@pytest.mark.parametrize("refuses", [*SERVICES, BUS])
async def test_a_service_that_hides_its_writes_is_named(refuses: str) -> None:
    with pytest.raises(CannotCheck, match=rf"fake's {refuses} did not return its data"):
        await read_stored_state(cast(Stack, ReadbackStack(3, refuses)))
