"""Own database, no reaching in: what is seen of it from outside, and who is turned away."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from lab.cluster import databases
from lab.cluster.databases import owners, reach_in
from lab.cluster.program import Program
from lab.cluster.topology import ARRANGEMENTS
from lab.report.cells import Look
from lab.report.databases import databases as table_of
from lab.scenarios.figures import ExpressionError, known_path, measured
from lab.scenarios.result import Expectation, Result, Variant
from lab.scenarios.scenario import Scenario
from lab.scenarios.timeline import Phase
from tests.support.laboratory import Blog

TWO = {"posts": ["posts.db"], "comments": ["comments.db"], "query": []}


def result_of(**keys: object) -> Result:
    variant = Variant.model_validate({"name": "mine", "arrangement": "sync-chain", **keys})
    expected = Expectation(says="", that="mine.databases.files == 1", verdict="holds")
    return Result(scenario="x", seed=7, started="", variants=[variant], expectations=[expected])


def figures(**keys: object) -> dict[str, float | None]:
    names = ("files", "owned", "shared", "foreign", "reached_in", "refused")
    return {name: measured(f"mine.databases.{name}", result_of(**keys)) for name in names}


def tables(database: Path) -> set[str]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return {name for (name,) in rows}


def program(blog: Blog, service: str) -> Program:
    name = blog.stack.program(service)
    return next(one for one in blog.stack.programs if one.name == name)


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_a_stack_knows_which_process_has_which_database_open(
    blogs: dict[str, Blog], arrangement: str
) -> None:
    stack = blogs[arrangement].stack
    seen = stack.open_databases()
    asks = stack.arrangement.ask_by is not None
    assert seen == {
        part: [] if part == "query" and asks else [f"{part}.db"] for part in stack.arrangement.parts
    }


def test_a_process_that_is_down_has_nothing_open(bus_blog: Blog) -> None:
    bus_blog.kill("moderation")
    assert bus_blog.stack.open_databases()["moderation"] == []
    bus_blog.restart("moderation")
    assert bus_blog.stack.open_databases()["moderation"] == ["moderation.db"]


def test_the_owner_of_a_database_stands_in_the_database(bus_blog: Blog) -> None:
    data = bus_blog.stack.data
    parts = bus_blog.stack.arrangement.parts
    assert owners(data) == {f"{part}.db": part for part in parts}
    (data / "kept.db").write_bytes(b"no database")
    assert owners(data)["kept.db"] == "kept"
    (data / "kept.db").unlink()


def test_who_reaches_in_is_refused_while_the_owner_runs_and_when_it_is_gone(
    bus_blog: Blog,
) -> None:
    laboratory, data = bus_blog.laboratory, bus_blog.stack.data
    before = tables(data / "posts.db")
    who, died = program(bus_blog, "comments"), laboratory.supervisor.unexpected_exits()
    running = laboratory.run(reach_in(laboratory.supervisor, who, "posts", data, "running"))
    assert running.refused
    assert running.says.startswith("posts.db is open in another process")
    bus_blog.kill("posts")
    gone = laboratory.run(reach_in(laboratory.supervisor, who, "posts", data, "gone"))
    assert gone.refused
    assert gone.says.startswith("posts.db belongs to /async-bus/posts, not to /async-bus/comments")
    bus_blog.restart("posts")
    assert tables(data / "posts.db") == before
    assert laboratory.supervisor.unexpected_exits() == died
    assert bus_blog.write_comment(bus_blog.write_post()["id"])["status"] == "pending"


def test_who_reaches_in_and_is_not_refused_is_ended_and_told_of(
    bus_blog: Blog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "GIVEN_UP_AFTER_S", 1.0)
    laboratory, data = bus_blog.laboratory, bus_blog.stack.data
    who = program(bus_blog, "comments")
    tried = laboratory.run(reach_in(laboratory.supervisor, who, "nobody", data, "gone"))
    assert not tried.refused
    assert not laboratory.supervisor.alive(f"{who.name}-in-nobody")
    (data / "nobody.db").unlink()


def test_each_service_with_its_own_file_breaks_no_rule() -> None:
    own = {"posts.db": "posts", "comments.db": "comments"}
    assert figures(databases=TWO, database_owners=own) == {
        **{"files": 2, "owned": 2, "shared": 0, "foreign": 0, "reached_in": 0, "refused": 0}
    }


def test_a_file_that_two_have_open_is_shared_and_foreign_to_one_of_them() -> None:
    both = {**TWO, "query": ["posts.db"]}
    seen = figures(databases=both, database_owners={"posts.db": "posts", "comments.db": "comments"})
    assert (seen["files"], seen["owned"], seen["shared"], seen["foreign"]) == (2, 1, 1, 1)


def test_a_file_that_only_a_stranger_has_open_is_foreign_and_not_shared() -> None:
    seen = figures(databases={"query": ["posts.db"]}, database_owners={"posts.db": "posts"})
    assert (seen["owned"], seen["shared"], seen["foreign"]) == (0, 0, 1)


def test_an_attempt_counts_as_refused_only_if_it_was() -> None:
    tried = {"who": "comments", "into": "posts", "owner": "running", "says": ""}
    reached = [{**tried, "refused": True}, {**tried, "refused": False}]
    seen = figures(databases=TWO, reached_in=reached)
    assert (seen["reached_in"], seen["refused"]) == (2, 1)


def test_what_was_not_looked_at_is_not_measured() -> None:
    assert set(figures().values()) == {None}


def test_a_figure_of_the_databases_that_there_is_not_is_told_with_what_was_meant() -> None:
    known_path("mine.databases.foreign", ["mine"], ["before"], False)
    with pytest.raises(ExpressionError, match="Did you mean 'shared'"):
        known_path("mine.databases.share", ["mine"], ["before"], False)


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ({"who": "comment", "into": "posts"}, "Did you mean 'comments'"),
        ({"who": "comments", "into": "event-bus"}, "there is no service 'event-bus'"),
        ({"who": "posts", "into": "posts"}, "may open its own database"),
    ],
)
def test_only_one_service_can_reach_into_another_one(wish: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Scenario.model_validate(
            {"name": "mine", "title": "Mine", "variants": {"sync-chain": {}}, "reach_in": [wish]}
        )


def test_the_look_is_taken_in_the_middle_of_during_and_else_of_the_first_phase() -> None:
    from lab.scenarios.databases import middle_s

    before, after = Phase("before", 3), Phase("after", 2)
    assert middle_s([before, Phase("during", 4), after]) == 5
    assert middle_s([before, Phase("posts down", 4), after]) == 1.5


def test_the_table_names_the_owner_of_a_file_that_is_in_the_wrong_hands() -> None:
    import io

    from rich.console import Console

    seen = result_of(
        databases={"query": ["posts.db"]},
        database_owners={"posts.db": "posts"},
        reached_in=[{"who": "query", "into": "posts", "owner": "gone", "refused": False}],
    )
    out = Console(file=io.StringIO(), width=80)
    for block in table_of(seen, Look.of(out)):
        out.print(block)
    assert isinstance(out.file, io.StringIO)
    assert "posts.db (of posts)" in out.file.getvalue()
    assert "NOT REFUSED" in out.file.getvalue()
    seen.expectations = []
    assert list(table_of(seen, Look.of(out))) == []
