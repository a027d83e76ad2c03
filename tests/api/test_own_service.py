"""A user's own service next to a running blog: it consumes, gets faults, is replaced and removed.

It may also be faulty: it crashes, hangs, floods its log, is never ready. Then there is one clear
message, and the blog goes on.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import requests

import lab
from lab.api import own_service
from lab.api.blogs import Blog
from lab.api.own_service import OwnServiceFailed
from lab.cluster.arrangements import ARRANGEMENTS, with_engine
from lab.domain.errors import Conflict, Invalid
from tests.programs.unhurried import PATIENCE_S
from tests.support.bad_programs import ANSWERING_PROGRAM, COMMON_MISTAKES, FaultyProgram
from tests.support.handed_in import give_up_after_first_output
from tests.support.laboratory import eventually
from tests.support.small import find_processes

TITLES = """
from lab.async_bus.stack import BusService, Change, program
from lab.domain.events import PostCreated

service = BusService("whatever", "CREATE TABLE IF NOT EXISTS titles (id PRIMARY KEY, title)")


@service.get("/titles")
def titles() -> list[str]:
    return [row["title"] for row in service.store.rows("SELECT title FROM titles ORDER BY id")]


@service.on(PostCreated)
def know(post: PostCreated, change: Change) -> None:
    change.execute("INSERT INTO titles VALUES (?, ?)", post.id, post.title)


main = program(service)
"""
ASKS = """
import os, subprocess, sys
from lab.sync_chain.stack import ChainService, program

service = ChainService("likes")
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
with open(os.path.join(os.path.dirname(__file__), "pid"), "w") as note:
    note.write(str(subprocess.Popen(sleep, start_new_session=True).pid))


@service.get("/likes/{post_id}")
def likes(post_id: str) -> str:
    return service.ask("posts", "GET", f"/posts/{post_id}")["title"]


main = program(service)
"""


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Blog]:
    before = running_pids()
    with lab.up("async-bus", keep=tmp_path_factory.mktemp("own")) as stacks:
        yield stacks["async-bus"]
    eventually(lambda: running_pids() <= before, "the end of what it started")


@pytest.fixture
def titles(bus: Blog, tmp_path: Path) -> str:
    """The service's address; it has an empty database when it starts."""
    url: str = bus.add(write_file(tmp_path, TITLES, "titles.py"), empty=True)
    return url


def write_file(folder: Path, text: str, name: str = "mine.py") -> Path:
    (folder / name).write_text(text)
    return folder / name


def running_pids() -> set[int]:
    """The processes of all blogs that these tests have started."""
    return {one.pid for one in find_processes(os.getpid())}


def get_json(url: str, path: str = "/titles") -> Any:
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(url + path, timeout=PATIENCE_S)
    assert answer.status_code == 200, answer.text
    return answer.json()


# ── Next to the blog


def test_it_knows_what_was_told_before_it_and_since(bus: Blog, tmp_path: Path) -> None:
    bus.post("Before")
    bus.settle(PATIENCE_S)
    url = bus.add(write_file(tmp_path, TITLES, "titles.py"), empty=True)
    assert "Before" in get_json(url)
    assert bus.urls["titles"] == url
    bus.post("Since")
    assert bus.settle(PATIENCE_S)
    assert get_json(url)[-1] == "Since"
    assert "titles" in {step.service for step in bus.trace("post").story.steps}


def test_it_goes_on_when_its_source_is_dead(bus: Blog, titles: str) -> None:
    bus.post("From posts")
    bus.settle(PATIENCE_S)
    with bus.fault("down", "posts"):
        assert get_json(titles)[-1] == "From posts"


def test_after_a_kill_it_hears_what_it_missed(bus: Blog, titles: str) -> None:
    with bus.fault("down", "titles"):
        post = bus.post("Missed")
        with pytest.raises(requests.ConnectionError):
            get_json(titles)
        eventually(lambda: post["id"] in [one["id"] for one in bus.feed(limit=1)])
    assert get_json(titles)[-1] == "Missed"


def test_faults_act_at_its_door_and_prove_it(bus: Blog, titles: str) -> None:
    bus.fault("latency", "titles", ms=30)
    get_json(titles)
    (healed,) = bus.heal("titles").deeds
    assert healed.evidence["acted"] >= 1
    bus.fault("duplicate", "titles")
    bus.post("Told twice")
    assert bus.settle(PATIENCE_S)
    (healed,) = bus.heal("titles").deeds
    assert healed.evidence["acted"] >= 1
    assert get_json(titles).count("Told twice") == 1


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        ("poison", {"type": "PostCreated"}, "does not know what titles consumes"),
        ("new_version", {"version": 2}, "titles has no other version"),
        ("partition", {"from_": "query"}, "query never calls titles"),
        ("latncy", {}, "Did you mean 'latency'"),
    ],
)
def test_a_fault_that_could_not_act_on_it_is_refused(
    bus: Blog, titles: str, kind: str, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(Invalid, match=re.escape(says)):
        bus.fault(kind, "titles", **options)


def test_added_again_it_starts_from_its_present_file(
    bus: Blog, titles: str, tmp_path: Path
) -> None:
    """With the copy that it had, or rebuilt from the log if that is thrown away."""
    bus.post("On the log")
    bus.settle(PATIENCE_S)
    known = get_json(titles)
    file = write_file(tmp_path, TITLES.replace("post.title)", "post.title[::-1])"), "titles.py")
    assert bus.add(file) == titles
    assert get_json(titles) == known
    bus.add(file, empty=True)
    assert get_json(titles) == [one[::-1] for one in known]


def test_it_is_not_started_anew_while_it_is_broken(bus: Blog, titles: str, tmp_path: Path) -> None:
    with (
        bus.fault("hang", "titles"),
        pytest.raises(Conflict, match=r"already hangs\. Heal titles first"),
    ):
        bus.add(tmp_path / "titles.py")
    bus.add(tmp_path / "titles.py")


def test_what_it_has_started_ends_with_the_chain(tmp_path: Path) -> None:
    file = write_file(tmp_path, ASKS, "likes.py")
    before = running_pids()
    with lab.up("sync-chain", keep=tmp_path) as stacks:
        chain = stacks["sync-chain"]
        url = chain.add(file)
        post = chain.post("Liked")
        assert get_json(url, f"/likes/{post['id']}") == "Liked"
        elsewhere = psutil.Process(int((tmp_path / "pid").read_text()))
        assert elsewhere.is_running()
    eventually(lambda: not elsewhere.is_running() or elsewhere.status() == psutil.STATUS_ZOMBIE)
    eventually(lambda: running_pids() <= before, "the end of what it started")


# ── Faulty services

BAD = {
    **{case: COMMON_MISTAKES[case] for case in ("crashes", "hangs", "floods its output")},
    "is never ready": FaultyProgram(
        TITLES.replace("change.execute", "change.no_such_method"),
        "was not ready in time: it says it waits for",
        "no_such_method",
    ),
    "belongs to the other side": FaultyProgram(ASKS, "is a service of sync-chain"),
    "stands in no shell": FaultyProgram(
        ANSWERING_PROGRAM % "pass", "it does not run in the lab's server"
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_one_that_does_not_come_up_is_one_message(
    bus: Blog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    bad, before = BAD[case], running_pids()
    monkeypatch.setattr(own_service, "READY_WITHIN_S", PATIENCE_S)
    give_up_after_first_output(monkeypatch)
    bus.post("An event at least")
    assert bus.settle(PATIENCE_S)
    with pytest.raises(OwnServiceFailed) as failed:
        # Empty: the database of another test's service would have all events applied already.
        bus.add(write_file(tmp_path, bad.program), empty=True)
    said = str(failed.value)
    assert said.startswith("mine.py ")
    assert bad.message.replace("in time", f"within {PATIENCE_S:g} s") in said
    assert bad.log_tail in said
    assert max(map(len, said.splitlines())) <= 300
    eventually(lambda: running_pids() <= before, "the end of what it started")
    assert "mine" not in bus.urls
    assert bus.settle(PATIENCE_S)


def test_one_that_is_mended_comes_up_at_the_second_try(bus: Blog, tmp_path: Path) -> None:
    with pytest.raises(OwnServiceFailed):
        bus.add(write_file(tmp_path, TITLES.replace("main =", "man =")))
    assert get_json(bus.add(write_file(tmp_path, TITLES))) is not None


# ── Invalid arguments


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("posts.py", "posts exists already"),
        ("event-bus.py", "event-bus exists already"),
        ("My Search.py", "the file gives the service its name"),
        ("search.txt", "and .py at the end"),
        ("nowhere.py", "nowhere.py"),
    ],
)
def test_a_file_that_can_not_be_added_is_refused(
    bus: Blog, tmp_path: Path, name: str, says: str
) -> None:
    if name != "nowhere.py":
        write_file(tmp_path, TITLES, name)
    with pytest.raises(Invalid, match=re.escape(says)):
        bus.add(tmp_path / name)


@pytest.mark.parametrize(
    ("arrangement", "options", "says"),
    [
        ("monolith", {}, "monolith is one process"),
        ("async-bus", {"bus": "course"}, "a service that starts later gets none"),
    ],
)
def test_a_blog_that_no_service_can_join_is_named(
    arrangement: str, options: dict[str, Any], says: str
) -> None:
    of = with_engine(ARRANGEMENTS[arrangement], options)
    with pytest.raises(Invalid, match=says):
        own_service._service_name(
            Path("search.py"), SimpleNamespace(name=arrangement, arrangement=of)
        )
