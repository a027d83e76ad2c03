"""Nothing acknowledged is ever lost, nothing is doubled, and all settles: whoever dies, whenever.

Writers write without a pause while one process after the other is killed with SIGKILL, the bus
among them. What they were told is then compared with what every service holds.
"""

import itertools
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import requests
from laboratory import Blog, Laboratory, eventually

WRITERS = 4
KILLS = 20
SEED = 20


@dataclass
class Told:
    """What the writers were told: 201 (`yes`), surely not done (`no`), or nothing for sure."""

    posts: set[str] = field(default_factory=set)
    comments: dict[str, str] = field(default_factory=dict)  # id by content
    no: set[str] = field(default_factory=set)

    def count(self) -> int:
        return len(self.posts) + len(self.comments)


class Writers:
    """Threads that write posts and comments until they are told to stop."""

    def __init__(self, blog: Blog, seeds: list[str]) -> None:
        self.told = Told()
        self._blog = blog
        self._seeds = seeds
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(n,)) for n in range(WRITERS)]

    def __enter__(self) -> "Writers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _write(self, writer: int) -> None:
        urls = self._blog.stack.urls
        dice = random.Random(SEED + writer)
        with requests.Session() as session:
            session.trust_env = False
            for number in itertools.count():
                if self._over.is_set():
                    return
                text = f"w-{writer}-{number};" + (" orange" if number % 5 == 0 else "")
                if number % 3 == 0:
                    url, body = f"{urls['posts']}/posts", {"title": text}
                else:
                    post = dice.choice(self._seeds)
                    url, body = f"{urls['comments']}/posts/{post}/comments", {"content": text}
                try:
                    response = session.post(url, json=body, timeout=2)
                except requests.RequestException:
                    continue  # nothing for sure
                self._note(text, response)

    def _note(self, text: str, response: requests.Response) -> None:
        assert response.status_code != 500, response.text
        if response.status_code == 201 and "content" in response.json():
            self.told.comments[text] = response.json()["id"]
        elif response.status_code == 201:
            self.told.posts.add(text)
        elif response.json().get("definite"):
            self.told.no.add(text)


@contextmanager
def writing(blog: Blog) -> Iterator[Writers]:
    seeds = [blog.write_post(f"seed {number}")["id"] for number in range(5)]
    with Writers(blog, seeds) as writers:
        yield writers


def kill_and_restart(blog: Blog, writers: Writers, targets: list[str], dice: random.Random) -> None:
    """Kill at a random moment of the writing, wait until the others have gone on, start again."""
    target = dice.choice(targets)
    enough = writers.told.count() + dice.randrange(1, 40)
    eventually(lambda: writers.told.count() >= enough, "some more acknowledged writes")
    blog.kill(target)
    blog.restart(target)


def assert_nothing_is_lost_or_doubled(blog: Blog, told: Told) -> None:
    blog.settle()
    posts = blog.all_of("posts", "/posts")
    feed = blog.all_of("query", "/feed")
    titles = Counter(post["title"] for post in posts)
    assert told.posts <= set(titles)
    assert max(titles.values()) == 1
    assert [(post["id"], post["title"]) for post in posts] == [(e["id"], e["title"]) for e in feed]
    owned = [
        comment
        for start in range(0, len(posts), 100)
        for comment in blog.get(
            "comments", "/comments", post_ids=",".join(p["id"] for p in posts[start : start + 100])
        )
    ]
    contents = Counter(comment["content"] for comment in owned)
    assert set(told.comments) <= set(contents)
    assert max(contents.values()) == 1
    shown = [comment for entry in feed for comment in entry["comments"]]
    assert sorted(shown, key=lambda c: c["id"]) == sorted(owned, key=lambda c: c["id"])
    assert {c["content"]: c["id"] for c in owned if c["content"] in told.comments} == told.comments
    for comment in owned:
        assert comment["status"] == ("rejected" if "orange" in comment["content"] else "approved")
    assert told.no.isdisjoint(titles.keys() | contents.keys())
    assert len(told.posts) > KILLS
    assert len(told.comments) > KILLS


@pytest.fixture
def fresh(request: pytest.FixtureRequest, laboratory: Laboratory) -> Iterator[Blog]:
    """A stack for one test alone."""
    with laboratory.blog(request.param, f"losing-nothing-{request.node.name}") as blog:
        yield blog


@pytest.mark.parametrize("fresh", ["async-bus"], indirect=True)
def test_the_bus_side_loses_nothing_whoever_is_killed_whenever(fresh: Blog) -> None:
    dice = random.Random(SEED)
    targets = ["posts", "comments", "moderation", "query", "event-bus"]
    with writing(fresh) as writers:
        for _ in range(KILLS):
            kill_and_restart(fresh, writers, targets, dice)
    assert_nothing_is_lost_or_doubled(fresh, writers.told)


@pytest.mark.parametrize("fresh", ["async-bus"], indirect=True)
def test_everything_killed_at_once_comes_back_with_all_that_was_acknowledged(fresh: Blog) -> None:
    with writing(fresh) as writers:
        eventually(lambda: writers.told.count() > 200, "200 acknowledged writes")
        for target in ("event-bus", "query", "moderation", "comments", "posts"):
            fresh.kill(target)
        for target in ("event-bus", "posts", "comments", "moderation", "query"):
            fresh.restart(target)
        before = writers.told.count()
        eventually(lambda: writers.told.count() > before + 50, "writing that goes on")
    assert_nothing_is_lost_or_doubled(fresh, writers.told)


@pytest.mark.parametrize("fresh", ["async-bus"], indirect=True)
def test_what_is_written_while_the_bus_is_down_arrives_however_much_it_is(fresh: Blog) -> None:
    post = fresh.write_post()
    longest = "\x01" * 2_000  # 12,000 bytes as JSON
    with fresh.broken("down", "event-bus"):
        for number in range(600):
            fresh.write_comment(post["id"], f"{number:04d}{longest}"[:2_000])
        assert fresh.state("comments")["untold"] == 600
    fresh.settle()
    entry = fresh.feed_entry(post["id"])
    assert entry is not None
    assert [comment["content"][:4] for comment in entry["comments"]] == [
        f"{number:04d}" for number in range(600)
    ]
    assert {comment["status"] for comment in entry["comments"]} == {"approved"}


@pytest.mark.parametrize("fresh", ["sync-chain"], indirect=True)
def test_the_chain_loses_nothing_acknowledged_and_keeps_nothing_refused(fresh: Blog) -> None:
    dice = random.Random(SEED)
    targets = ["posts", "comments", "moderation", "query"]
    with writing(fresh) as writers:
        for _ in range(KILLS):
            kill_and_restart(fresh, writers, targets, dice)
    assert_nothing_is_lost_or_doubled(fresh, writers.told)
    # Posts answers alone; comments can't while somebody it asks is gone.
    assert writers.told.no
