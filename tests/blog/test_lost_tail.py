"""A truncated log is detected by every service that has more events, and completed again.

The log's file is replaced by an old copy or by an empty one under a running blog. Afterwards every
service must hold what it acknowledged, once and in order, and must have raised an alert; a plain
restart must raise none.
"""

import json
import shutil
import sqlite3
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.blog.conftest import BlogWith
from tests.support.laboratory import RunningBlog, eventually
from tests.support.nats_lab import needs_nats

BUS = "event-bus"
PUBLISHERS = ("posts", "comments", "moderation")
CONSUMERS = ("comments", "moderation", "query")


@pytest.fixture
def blog(blog_with: BlogWith) -> Iterator[RunningBlog]:
    with blog_with("async-bus") as blog:
        yield blog


# ── The accident


def log_file(blog: RunningBlog) -> Path:
    return blog.stack.data / "event-bus.db"


def copy_log(blog: RunningBlog) -> Path:
    """An old copy of the log, taken like a backup while no process has the file open."""
    copy = blog.stack.data / "old-copy.db"
    blog.kill(BUS)
    with closing(sqlite3.connect(log_file(blog))) as log, closing(sqlite3.connect(copy)) as old:
        log.backup(old)
    blog.restart(BUS)
    return copy


def replace_log(blog: RunningBlog, copy: Path | None) -> None:
    """Kill the bus and start it on another file: a copy, or none at all."""
    blog.kill(BUS)
    for end in ("", "-wal", "-shm"):
        Path(f"{log_file(blog)}{end}").unlink(missing_ok=True)
    if copy is not None:
        log_file(blog).write_bytes(copy.read_bytes())
    blog.restart(BUS)


def write(blog: RunningBlog, name: str, posts: int, comments: int) -> None:
    """Write posts, and comments on the first of them, without waiting for consumers."""
    made = [
        blog.ask("POST", "posts", "/posts", json={"title": f"{name} {number}"}).json()["id"]
        for number in range(posts)
    ]
    eventually(lambda: blog.comment(made[0], f"{name} first").ok, "a post that comments knows")
    for number in range(comments):
        orange = " orange" if number % 3 == 0 else ""
        blog.write_comment(made[0], f"{name} {number}{orange}")


# ── What must hold afterwards


def read_alerts(blog: RunningBlog, *services: str) -> dict[str, list[str]]:
    return {name: blog.state(name)["alarms"] for name in services}


def wait_for_alerts(blog: RunningBlog, *services: str) -> None:
    eventually(lambda: all(read_alerts(blog, *services).values()), f"alarms of {services}")
    for name in services:
        assert "ALARM: " in blog.log(name)


def read_head(blog: RunningBlog) -> int:
    return int(blog.get(BUS, "/head")["sequence"])


def read_events(blog: RunningBlog) -> list[dict[str, Any]]:
    return [json.loads(line) for line in blog.ask("GET", BUS, "/events").iter_lines()]


def assert_complete(blog: RunningBlog, posts: int, comments: int) -> None:
    """Assert that every copy has everything once and decided, and the log too, in publishing order.

    `comments` does not count the first one of each `write`.
    """
    owned_posts = blog.all_of("posts", "/posts")
    ids = ",".join(post["id"] for post in owned_posts)
    told = posts + 3 * len(blog.get("comments", "/comments", post_ids=ids))
    # A publisher that has not noticed the loss yet looks settled.
    eventually(lambda: len(read_events(blog)) >= told, "a log with everything in it")
    blog.settle()
    feed = blog.all_of("query", "/feed")
    assert len(owned_posts) == len({post["title"] for post in owned_posts}) == posts
    assert [{"id": one["id"], "title": one["title"]} for one in feed] == owned_posts
    owned = blog.get("comments", "/comments", post_ids=ids)
    written = [one["content"] for one in owned if not one["content"].endswith("first")]
    assert len(written) == len(set(written)) == comments
    for one in owned:
        assert one["status"] == ("rejected" if "orange" in one["content"] else "approved")
    shown = [one for entry in feed for one in entry["comments"]]
    assert sorted(shown, key=lambda one: one["id"]) == sorted(owned, key=lambda one: one["id"])
    assert Counter(read_all_verdicts(blog)) == Counter(one["content"] for one in owned)
    order: defaultdict[str, list[str]] = defaultdict(list)
    for event in read_events(blog):
        order[event["source"]].append(event["id"])
    assert sum(map(len, order.values())) == told
    for by_one in order.values():
        assert by_one == sorted(set(by_one))


def read_all_verdicts(blog: RunningBlog) -> list[str]:
    judged: list[str] = []
    while page := blog.get("moderation", "/verdicts", limit=100, after=len(judged)):
        judged += [one["content"] for one in page]
    return judged


# ── Whole blogs


def copy_log_then_write(blog: RunningBlog, posts: int, comments: int) -> Path:
    """Copy a log of 2 posts and 3 comments; then write what the copy does not hold."""
    write(blog, "old", posts=2, comments=3)
    blog.settle()
    copy = copy_log(blog)
    write(blog, "lost", posts, comments)
    blog.settle()
    return copy


def test_a_log_put_back_from_an_old_copy_is_made_whole(blog: RunningBlog) -> None:
    copy = copy_log_then_write(blog, posts=4, comments=6)
    replace_log(blog, copy)
    wait_for_alerts(blog, "posts", *CONSUMERS)
    write(blog, "new", posts=2, comments=3)
    assert_complete(blog, posts=8, comments=12)
    noted = blog.laboratory.run(blog.stack.alerts())  # as a run saves it in its result
    assert any(line.startswith("query: The log is not the one that was read") for line in noted)


def test_a_log_grown_again_beyond_a_consumer_does_not_deceive_it(blog: RunningBlog) -> None:
    copy = copy_log_then_write(blog, posts=4, comments=6)
    heard = blog.state("query")["offset"]
    blog.kill("query")
    replace_log(blog, copy)
    write(blog, "new", posts=20, comments=20)
    eventually(lambda: read_head(blog) > heard, "a log that has grown again")
    blog.restart("query")
    wait_for_alerts(blog, *PUBLISHERS, "query")
    assert_complete(blog, posts=26, comments=29)


def test_an_empty_log_is_told_everything_again(blog: RunningBlog) -> None:
    write(blog, "old", posts=5, comments=10)
    blog.settle()
    replace_log(blog, None)
    write(blog, "new", posts=2, comments=3)
    wait_for_alerts(blog, *PUBLISHERS, "query")
    assert_complete(blog, posts=7, comments=13)


def test_a_consumer_that_missed_the_lost_tail_hears_it_later(blog: RunningBlog) -> None:
    write(blog, "old", posts=2, comments=3)
    blog.settle()
    copy = copy_log(blog)
    blog.kill("query")
    write(blog, "lost", posts=3, comments=4)
    eventually(lambda: read_head(blog) == 2 + 3 + 3 * (3 + 4 + 2), "everything told, but to query")
    eventually(lambda: not any(blog.state(name)["untold"] for name in PUBLISHERS), "and noted so")
    replace_log(blog, copy)
    wait_for_alerts(blog, *PUBLISHERS)
    blog.restart("query")
    assert_complete(blog, posts=5, comments=7)
    assert read_alerts(blog, "query") == {"query": []}  # it had no newer offset to compare


def test_a_tail_lost_while_all_services_are_down_comes_back(blog: RunningBlog) -> None:
    copy = copy_log_then_write(blog, posts=4, comments=5)
    services = ("posts", "comments", "moderation", "query")
    for name in services:
        blog.kill(name)
    replace_log(blog, copy)
    for name in reversed(services):
        blog.restart(name)
    write(blog, "new", posts=1, comments=2)
    assert_complete(blog, posts=7, comments=10)
    wait_for_alerts(
        blog, *CONSUMERS
    )  # A publisher may be killed before it stores that it has published.


@needs_nats
def test_a_nats_stream_put_back_from_an_old_copy_is_made_whole(blog_with: BlogWith) -> None:
    with blog_with("async-bus", bus="nats") as blog:
        storage, copy = blog.stack.data / "nats", blog.stack.data / "old-copy"
        write(blog, "old", posts=2, comments=3)
        blog.settle()
        blog.kill(BUS)
        shutil.copytree(storage, copy)
        blog.restart(BUS)
        write(blog, "lost", posts=3, comments=4)
        blog.settle()
        heard = blog.state("query")["offset"]
        blog.kill("query")
        blog.kill(BUS)
        shutil.rmtree(storage)
        copy.rename(storage)
        blog.restart(BUS)
        write(blog, "new", posts=20, comments=10)
        eventually(lambda: read_head(blog) > heard, "a log that has grown again")
        blog.restart("query")
        wait_for_alerts(blog, *PUBLISHERS, "query")
        assert_complete(blog, posts=25, comments=17)


@contextmanager
def write_in_background(blog: RunningBlog, counts: Counter[str]) -> Iterator[None]:
    """Two threads that write without a pause."""
    over = threading.Event()

    def write_on(name: str, write_one: Callable[[int], object]) -> None:
        while not over.is_set():
            write_one(counts[name])
            counts[name] += 1

    seed = blog.write_post("seed")["id"]
    writers: dict[str, Callable[[int], object]] = {
        "posts": lambda number: blog.ask("POST", "posts", "/posts", json={"title": f"{number}"}),
        "comments": lambda number: blog.write_comment(seed, f"said {number}"),
    }
    threads = [threading.Thread(target=write_on, args=one) for one in writers.items()]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_tails_lost_repeatedly_under_writing_come_back(blog: RunningBlog) -> None:
    counts: Counter[str] = Counter()

    def wait_for_writes(more: int) -> None:
        enough = counts.total() + more
        eventually(lambda: counts.total() >= enough, "some more writes")

    with write_in_background(blog, counts):
        for _ in range(3):
            wait_for_writes(20)
            copy = copy_log(blog)
            kept = read_head(blog)
            wait_for_writes(60)
            eventually(lambda: read_head(blog) > kept, "an event that will be lost")  # noqa: B023
            replace_log(blog, copy)
        wait_for_writes(20)
    assert_complete(blog, posts=counts["posts"] + 1, comments=counts["comments"])
    assert any(read_alerts(blog, *PUBLISHERS, "query").values())


def test_a_plain_restart_raises_no_alarm(blog: RunningBlog) -> None:
    write(blog, "old", posts=2, comments=3)
    for name in (BUS, "query", "posts", "comments", "moderation", BUS):
        blog.kill(name)
        blog.restart(name)
    write(blog, "new", posts=2, comments=3)
    assert_complete(blog, posts=4, comments=6)
    assert not any(read_alerts(blog, *PUBLISHERS, "query").values())


def test_questions_by_events_are_answered_again_on_a_new_log(blog_with: BlogWith) -> None:
    with blog_with("request-reply") as blog:
        post = blog.write_post()["id"]
        replace_log(blog, None)
        eventually(lambda: blog.comment(post, "said").status_code == 201, "an answer to a question")
