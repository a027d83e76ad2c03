"""In a running stack: every service has a database of its own, and its hands on no other."""

import sqlite3
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from lab.cluster.errors import StartFailed
from lab.cluster.topology import ARRANGEMENTS
from tests.support.laboratory import Blog, eventually


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_each_service_has_its_own_database_open_and_no_other(
    blogs: dict[str, Blog], arrangement: str
) -> None:
    blog = blogs[arrangement]
    blog.comment(blog.write_post()["id"])
    blog.settle()
    for part in blog.stack.arrangement.parts:
        opened = {
            Path(file.path).name
            for file in psutil.Process(blog.pid(part)).open_files()
            if ".db" in Path(file.path).name
        }
        # Where query asks, it owns nothing, and so it has none. The monolith has one for all.
        owns_nothing = part == "query" and blog.stack.arrangement.ask_by is not None
        own = set() if owns_nothing else {f"{part}.db", f"{part}.db-wal", f"{part}.db-shm"}
        assert opened == own


def test_no_service_of_the_bus_side_starts_on_another_ones_file(bus_blog: Blog) -> None:
    folder = bus_blog.laboratory.folder / "data" / bus_blog.stack.name
    bus_blog.kill("query")
    (folder / "query.db").rename(folder / "kept.db")
    for suffix in ("-wal", "-shm"):
        (folder / f"query.db{suffix}").rename(folder / f"kept.db{suffix}")
    with closing(sqlite3.connect(folder / "posts.db")) as posts:
        posts.execute("VACUUM INTO ?", (str(folder / "query.db"),))
    with pytest.raises(StartFailed, match="belongs to /async-bus/posts, not to /async-bus/query"):
        bus_blog.restart("query")


@pytest.mark.parametrize("target", ["posts", "comments", "moderation"])
def test_the_outboxes_of_a_running_stack_run_empty(blogs: dict[str, Blog], target: str) -> None:
    blog = blogs["async-bus"]
    blog.comment(blog.write_post()["id"])
    eventually(lambda: blog.state(target)["untold"] == 0, "an empty outbox")
