"""Each service has its own database, checked from outside; other programs are refused."""

import io
import sqlite3
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from lab.cluster import databases
from lab.cluster.arrangements import ARRANGEMENTS
from lab.cluster.databases import read_owners, try_foreign_open
from lab.cluster.errors import StartFailed
from lab.cluster.program import Program
from lab.report import sections
from lab.report.formatting import TextFormat
from lab.report.terminal.writer import to_rich
from lab.results.paths import ExpressionError, check_figure_path, lookup
from lab.results.result import Expectation, RunResult, VariantResult
from lab.results.timeline import ScenarioPhase, Timeline
from lab.scenarios.scenario import Scenario
from tests.blog.conftest import BlogWith
from tests.support.laboratory import PATIENCE_S, RunningBlog

TWO = {"posts": ["posts.db"], "comments": ["comments.db"], "query": []}


def result_of(**keys: object) -> RunResult:
    variant = VariantResult.model_validate({"name": "mine", "arrangement": "sync-chain", **keys})
    expected = Expectation(says="", that="mine.databases.files == 1", verdict="holds")
    return RunResult(scenario="x", seed=7, started="", variants=[variant], expectations=[expected])


def read_figures(**keys: object) -> dict[str, float | None]:
    names = ("files", "owned", "shared", "foreign", "reached_in", "refused")
    return {name: lookup(f"mine.databases.{name}", result_of(**keys)) for name in names}


def read_tables(database: Path) -> set[str]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return {name for (name,) in rows}


def find_program(blog: RunningBlog, service: str) -> Program:
    name = blog.stack.program_name(service)
    return next(one for one in blog.stack.programs if one.name == name)


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_each_service_has_its_own_database_open_and_no_other(
    blogs: dict[str, RunningBlog], arrangement: str
) -> None:
    blog = blogs[arrangement]
    blog.comment(blog.write_post()["id"])
    blog.settle()
    of = blog.stack.arrangement
    # A `query` that calls others has no database. The monolith has one for all services.
    owners = {part: not (part == "query" and of.ask_by is not None) for part in of.processes}
    for part, owns in owners.items():
        files = psutil.Process(blog.pid(part)).open_files()
        opened = {Path(file.path).name for file in files if ".db" in Path(file.path).name}
        assert opened == ({f"{part}.db", f"{part}.db-wal", f"{part}.db-shm"} if owns else set())
        if of.has_bus and part in ("posts", "comments", "moderation") and not of.ask_by:
            assert blog.state(part)["untold"] == 0, "its outbox runs empty"
    assert blog.stack.open_databases() == {
        part: [f"{part}.db"] if owns else [] for part, owns in owners.items()
    }


def test_a_service_does_not_start_on_another_ones_file(blog_with: BlogWith) -> None:
    with blog_with("async-bus") as blog:
        blog.kill("query")
        for suffix in ("", "-wal", "-shm"):
            (blog.stack.data / f"query.db{suffix}").unlink(missing_ok=True)
        with closing(sqlite3.connect(blog.stack.data / "posts.db")) as posts:
            posts.execute("VACUUM INTO ?", (str(blog.stack.data / "query.db"),))
        wrong = "belongs to /async-bus/posts, not to /async-bus/query"
        with pytest.raises(StartFailed, match=wrong):
            blog.restart("query")


def test_a_database_names_its_owner(bus_blog: RunningBlog) -> None:
    data = bus_blog.stack.data
    parts = bus_blog.stack.arrangement.processes
    assert read_owners(data) == {f"{part}.db": part for part in parts}
    (data / "kept.db").write_bytes(b"no database")
    assert read_owners(data)["kept.db"] == "kept"
    (data / "kept.db").unlink()


def test_reaching_into_another_database_is_refused(
    bus_blog: RunningBlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "GIVEN_UP_AFTER_S", PATIENCE_S)
    laboratory, data = bus_blog.laboratory, bus_blog.stack.data
    before = read_tables(data / "posts.db")
    who, died = find_program(bus_blog, "comments"), laboratory.supervisor.unexpected_exits()
    running = laboratory.run(try_foreign_open(laboratory.supervisor, who, "posts", data, "running"))
    assert running.refused
    assert running.says.startswith("posts.db is open in another process")
    bus_blog.kill("posts")
    assert bus_blog.stack.open_databases()["posts"] == []
    gone = laboratory.run(try_foreign_open(laboratory.supervisor, who, "posts", data, "gone"))
    assert gone.refused
    assert gone.says.startswith("posts.db belongs to /async-bus/posts, not to /async-bus/comments")
    bus_blog.restart("posts")
    assert read_tables(data / "posts.db") == before
    assert laboratory.supervisor.unexpected_exits() == died
    assert bus_blog.write_comment(bus_blog.write_post()["id"])["status"] == "pending"


def test_a_service_that_reaches_in_unrefused_is_ended_and_reported(
    bus_blog: RunningBlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "GIVEN_UP_AFTER_S", 1.0)
    laboratory, data = bus_blog.laboratory, bus_blog.stack.data
    who = find_program(bus_blog, "comments")
    tried = laboratory.run(try_foreign_open(laboratory.supervisor, who, "nobody", data, "gone"))
    assert not tried.refused
    assert not laboratory.supervisor.alive(f"{who.name}-in-nobody")
    (data / "nobody.db").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("opened", "owned_by", "wanted"),
    [
        (TWO, {"posts.db": "posts", "comments.db": "comments"}, (2, 2, 0, 0)),
        (
            {**TWO, "query": ["posts.db"]},
            {"posts.db": "posts", "comments.db": "comments"},
            (2, 1, 1, 1),
        ),
        ({"query": ["posts.db"]}, {"posts.db": "posts"}, (1, 0, 0, 1)),
    ],
    ids=["each its own", "shared by two", "in a stranger's hands only"],
)
def test_files_are_counted_as_owned_shared_and_foreign(
    opened: dict[str, list[str]], owned_by: dict[str, str], wanted: tuple[int, ...]
) -> None:
    seen = read_figures(databases=opened, database_owners=owned_by)
    assert tuple(seen[name] for name in ("files", "owned", "shared", "foreign")) == wanted
    assert (seen["reached_in"], seen["refused"]) == (0, 0)


def test_figures_tell_refused_from_unrefused_attempts() -> None:
    tried = {"who": "comments", "into": "posts", "owner": "running", "says": ""}
    reached = [{**tried, "refused": True}, {**tried, "refused": False}]
    seen = read_figures(databases=TWO, reached_in=reached)
    assert (seen["reached_in"], seen["refused"]) == (2, 1)
    assert set(read_figures().values()) == {None}, "without a look nothing is measured"
    check_figure_path("mine.databases.foreign", ["mine"], ["before"], False)
    with pytest.raises(ExpressionError, match="Did you mean 'shared'"):
        check_figure_path("mine.databases.share", ["mine"], ["before"], False)


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


def test_databases_are_looked_at_in_the_middle_of_a_phase() -> None:
    before = ScenarioPhase("before", 0.5, 3)
    for name, phase in (("during", "during"), ("posts down", "before")):
        timeline = Timeline((before, ScenarioPhase(name, 3.5, 4), ScenarioPhase("after", 7.5, 2)))
        assert timeline.main_phase.name == phase


def test_the_table_names_the_owner_of_a_foreign_file() -> None:
    seen = result_of(
        databases={"query": ["posts.db"]},
        database_owners={"posts.db": "posts"},
        reached_in=[{"who": "query", "into": "posts", "owner": "gone", "refused": False}],
    )
    out = Console(file=io.StringIO(), width=80)
    for block in to_rich(sections.databases(seen), TextFormat.for_console(out)):
        out.print(block)
    assert isinstance(out.file, io.StringIO)
    assert "posts.db (of posts)" in out.file.getvalue()
    assert "NOT REFUSED" in out.file.getvalue()
    seen.expectations = []
    assert list(sections.databases(seen)) == []
