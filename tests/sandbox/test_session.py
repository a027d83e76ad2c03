"""A lab that is up: what it prints can be used as printed, it breaks and mends on request, and of
its end nothing is left."""

import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from lab.byhand import control
from lab.byhand.control import ControlError
from lab.byhand.notes import notes, running_labs
from lab.byhand.up import run_up, welcome
from lab.cluster.errors import PortTaken
from lab.cluster.ports import reserve
from lab.cluster.topology import ARRANGEMENTS
from lab.domain.directory import BY_HAND_PORTS, SERVICES, by_hand_url
from tests.programs.labs import WITHIN_S
from tests.programs.ups import Up, assert_refused, get, printed_commands, run_as_printed, up


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Notes of labs that run elsewhere on this machine are none of ours, nor ours theirs."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("XDG_RUNTIME_DIR", str(home))
        yield home


@pytest.fixture(scope="module")
def both(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("both")) as running:
        yield running


@pytest.fixture
def blogs(both: Up) -> Iterator[Up]:
    yield both
    control.heal(both.lab)


def test_what_is_printed_fits_80_columns() -> None:
    urls = {
        stack: {target: by_hand_url(stack, of.home(target)) for target in of.targets}
        for stack, of in ARRANGEMENTS.items()
    }
    lines = list(welcome(urls, Path("/home/someone/runs/by-hand")))
    assert max(map(len, lines)) <= 80
    assert any("http://127.0.0.1:4005" in line for line in lines)


@pytest.mark.parametrize("stack", ["sync-chain", "async-bus"])
def test_the_printed_commands_do_what_they_say(blogs: Up, stack: str) -> None:
    post, comment, feed, *events = printed_commands(blogs)[stack]
    created = run_as_printed(post)
    assert created.status_code == 201
    identity = created.json()["id"]
    deadline = time.perf_counter() + WITHIN_S
    # On the bus, comments hears of the post a little later.
    while (answered := run_as_printed(comment.replace("ID", identity))).status_code != 201:
        assert time.perf_counter() < deadline, answered.text
    while [c["status"] for c in run_as_printed(feed).json()[0]["comments"]] != ["approved"]:
        assert time.perf_counter() < deadline
    assert bool(events) == (stack == "async-bus")
    for command in events:
        seen = [json.loads(line)["type"] for line in run_as_printed(command).text.splitlines()]
        assert {"PostCreated", "CommentCreated"} <= set(seen)


def test_a_fault_acts_on_each_stack_and_brings_its_evidence_when_healed(blogs: Up) -> None:
    lines = control.put_fault(blogs.lab, "latency", "posts", {"ms": 20})
    assert [line.split(":")[0] for line in lines] == ["sync-chain posts", "async-bus posts"]
    assert control.faults(blogs.lab) == [
        "sync-chain posts: latency (ms 20) is on.",
        "async-bus posts: latency (ms 20) is on.",
    ]
    for _ in range(3):
        assert get(f"{blogs.url('sync-chain', 'posts')}/posts").ok
    chain, bus = control.heal(blogs.lab)
    assert "hit 3 of 3 visitors, for" in chain
    assert "NOBODY" in bus
    assert control.faults(blogs.lab) == ["No fault is on."]


def test_a_fault_on_one_named_stack_leaves_the_other_alone(blogs: Up) -> None:
    control.put_fault(blogs.lab, "error", "posts", {"status": 418}, stack="sync-chain")
    assert get(f"{blogs.url('sync-chain', 'posts')}/posts").status_code == 418
    assert get(f"{blogs.url('async-bus', 'posts')}/posts").status_code == 200
    assert control.heal(blogs.lab, stack="async-bus") == [
        "Nothing was broken there, so there was nothing to heal."
    ]
    assert get(f"{blogs.url('sync-chain', 'posts')}/posts").status_code == 418


def test_a_service_that_is_down_refuses_until_it_is_healed(blogs: Up) -> None:
    control.put_fault(blogs.lab, "down", "comments")
    for stack in blogs.lab.stacks:
        assert_refused(blogs.url(stack, "comments"))
    for line in control.heal(blogs.lab, "comments", "down"):
        assert "a probe: refused" in line
        assert re.search(r"Process (\d+) was away .* It is process (?!\1 )\d+ now\.", line)
    for stack in blogs.lab.stacks:
        assert get(f"{blogs.url(stack, 'comments')}/health").status_code == 200


def test_a_service_that_hangs_takes_connections_and_answers_when_healed(blogs: Up) -> None:
    control.put_fault(blogs.lab, "hang", "query", stack="async-bus")
    with pytest.raises(requests.ReadTimeout):
        get(f"{blogs.url('async-bus', 'query')}/health", timeout_s=0.05)
    (line,) = control.heal(blogs.lab, "query")
    assert "a probe: timeout" in line
    assert get(f"{blogs.url('async-bus', 'query')}/health").status_code == 200


def test_a_whole_stack_that_is_down_is_healed_at_once(blogs: Up) -> None:
    for target in BY_HAND_PORTS["async-bus"]:
        control.put_fault(blogs.lab, "down", target, stack="async-bus")
    assert len(control.heal(blogs.lab)) == 5
    assert get(f"{blogs.url('async-bus', 'query')}/health").status_code == 200
    assert blogs.process.poll() is None


@pytest.mark.parametrize("kind", ["down", "hang"])
def test_what_is_broken_already_is_not_broken_again(blogs: Up, kind: str) -> None:
    control.put_fault(blogs.lab, kind, "posts", stack="sync-chain")
    for wish in (("down", {}), ("hang", {}), ("latency", {"ms": 1})):
        with pytest.raises(ControlError, match="posts of sync-chain") as caught:
            control.put_fault(blogs.lab, wish[0], "posts", wish[1])
        assert caught.value.exit_code == 3
    # The other stack was not touched either, though it could have been.
    assert [line.split()[0] for line in control.faults(blogs.lab)] == ["sync-chain"]


def test_a_fault_at_the_door_accounts_for_itself_before_the_process_is_broken(blogs: Up) -> None:
    control.put_fault(blogs.lab, "error", "posts", stack="sync-chain")
    get(f"{blogs.url('sync-chain', 'posts')}/posts")
    healed, broken = control.put_fault(blogs.lab, "down", "posts", stack="sync-chain")
    assert "error is healed." in healed
    assert "hit 1 of 1 visitors" in healed
    assert "down is on" in broken


def test_a_second_fault_of_a_kind_takes_the_place_of_the_first(blogs: Up) -> None:
    control.put_fault(blogs.lab, "error", "posts", {"status": 500}, stack="sync-chain")
    control.put_fault(blogs.lab, "error", "posts", {"status": 502}, stack="sync-chain")
    assert get(f"{blogs.url('sync-chain', 'posts')}/posts").status_code == 502
    assert control.faults(blogs.lab) == ["sync-chain posts: error (status 502) is on."]


@pytest.mark.parametrize(
    ("kind", "target", "options", "stack", "teaches"),
    [
        ("latncy", "posts", {"ms": 1}, None, "Did you mean 'latency'"),
        ("latency", "coments", {"ms": 1}, None, "Did you mean 'comments'"),
        ("latency", "posts", {"sm": 1}, None, "Did you mean 'ms'"),
        ("latency", "posts", {}, None, "needs 'ms'"),
        ("latency", "posts", {"ms": "much"}, None, "can't have ms = 'much'"),
        ("down", "posts", {}, "sync-chian", "Did you mean 'sync-chain'"),
        ("down", "event-bus", {}, "sync-chain", "sync-chain: there is no 'event-bus'"),
        ("down", "1", {}, None, "there is no '1'"),
    ],
)
def test_an_order_that_makes_no_sense_says_what_would(
    blogs: Up, kind: str, target: str, options: dict[str, Any], stack: str | None, teaches: str
) -> None:
    with pytest.raises(ControlError, match=re.escape(teaches)) as caught:
        control.put_fault(blogs.lab, kind, target, options, stack)
    assert caught.value.exit_code == 2
    assert control.faults(blogs.lab) == ["No fault is on."]


@pytest.mark.parametrize(
    ("named", "teaches"),
    [({"target": "post"}, "'posts'"), ({"kind": "hung"}, "'hang'"), ({"stack": "bus"}, "'async-")],
)
def test_a_healing_that_makes_no_sense_says_what_would(
    blogs: Up, named: dict[str, str], teaches: str
) -> None:
    with pytest.raises(ControlError, match=teaches) as caught:
        control.heal(blogs.lab, **named)
    assert caught.value.exit_code == 2


def test_a_service_that_ends_by_itself_is_told_and_healing_starts_it_again(blogs: Up) -> None:
    blogs.process_of("sync-chain", "moderation").kill()
    said = blogs.lines_until("starts it again")
    assert "! sync-chain moderation was ended by signal 9, and nobody had told it to." in said
    with pytest.raises(ControlError, match="has ended by itself") as caught:
        control.put_fault(blogs.lab, "down", "moderation")
    assert caught.value.exit_code == 3
    (line,) = control.faults(blogs.lab)
    assert line == "sync-chain moderation: It has ended by itself. Heal it: that starts it again."
    (line,) = control.heal(blogs.lab)
    assert line == "sync-chain moderation: moderation had ended by itself, and is started again."
    assert get(f"{blogs.url('sync-chain', 'moderation')}/health").status_code == 200


def test_a_fault_at_the_door_of_a_process_that_ended_is_told_as_lost(blogs: Up) -> None:
    control.put_fault(blogs.lab, "error", "moderation", stack="sync-chain")
    blogs.process_of("sync-chain", "moderation").kill()
    blogs.lines_until("starts it again")
    lost, restarted = control.heal(blogs.lab)
    assert "error ended with its process, and so did its proof" in lost
    assert "started again" in restarted
    assert control.faults(blogs.lab) == ["No fault is on."]
    assert get(f"{blogs.url('sync-chain', 'moderation')}/health").status_code == 200


def test_ctrl_c_leaves_nothing_while_services_are_broken(tmp_path: Path) -> None:
    with up(tmp_path / "run", "async-bus") as running:
        control.put_fault(running.lab, "hang", "comments")
        control.put_fault(running.lab, "down", "query")
        control.put_fault(running.lab, "timeout", "posts")
        assert running.end(signal.SIGINT) == 130
        running.assert_nothing_is_left()
        assert all(note.lab != running.lab for note in notes())


@pytest.mark.parametrize("which", ["request-reply", "monolith"])
def test_the_other_arrangements_can_be_up_as_well(tmp_path: Path, which: str) -> None:
    with up(tmp_path / "run", which) as running:
        post, comment, feed, *events = printed_commands(running)[which]
        identity = run_as_printed(post).json()["id"]
        assert run_as_printed(comment.replace("ID", identity)).status_code == 201
        (entry,) = run_as_printed(feed).json()
        assert [comment["status"] for comment in entry["comments"]] == ["approved"]
        assert bool(events) == (which == "request-reply")
        for command in events:
            seen = [json.loads(line)["type"] for line in run_as_printed(command).text.splitlines()]
            assert set(seen) == {"Asked", "Answered"}
        assert running.end(signal.SIGINT) == 130
        running.assert_nothing_is_left()


def test_who_breaks_a_service_of_the_monolith_breaks_them_all_and_heals_them_all(
    tmp_path: Path,
) -> None:
    with up(tmp_path / "run", "monolith") as running:
        (line,) = control.put_fault(running.lab, "down", "comments")
        assert "down is on" in line
        for target in SERVICES:
            assert_refused(running.url("monolith", target))
        with pytest.raises(ControlError, match="Heal posts first"):
            control.put_fault(running.lab, "hang", "posts")
        (line,) = control.heal(running.lab, "posts")
        assert "down is healed" in line
        running.process_of("monolith", "posts").kill()
        running.lines_until("starts it again")
        (line,) = control.heal(running.lab)
        assert line == "monolith monolith: monolith had ended by itself, and is started again."
        assert get(f"{running.url('monolith', 'query')}/feed").json() == []


def test_a_killed_lab_leaves_no_process_and_its_note_does_not_count(tmp_path: Path) -> None:
    with up(tmp_path / "run", "sync-chain") as running:
        control.put_fault(running.lab, "hang", "comments")
        assert running.end(signal.SIGKILL) == -signal.SIGKILL
        running.assert_nothing_is_left()
    (stale,) = [note for note in notes() if note.path.stem == str(running.process.pid)]
    assert stale.lab is None
    assert running.lab not in running_labs()
    assert not stale.path.exists()
    with pytest.raises(ControlError, match="does not answer") as caught:
        control.heal(running.lab)
    assert caught.value.exit_code == 3


def test_without_its_nursery_the_lab_ends_and_says_why(tmp_path: Path) -> None:
    with up(tmp_path / "run", "sync-chain") as running:
        psutil.Process(running.process.pid).children()[0].kill()
        assert running.wait() == 1
        assert "NurseryLost: The lab's nursery" in running.errors
        running.assert_nothing_is_left()
        assert all(note.lab != running.lab for note in notes())


async def test_a_port_that_is_taken_is_named_and_nothing_is_started(tmp_path: Path) -> None:
    said: list[str] = []
    before = psutil.Process().children()
    with reserve() as taken:
        ports = {"async-bus": {"query": taken.port}}
        with pytest.raises(PortTaken, match=str(taken.port)):
            await run_up("both", tmp_path, said.append, ports=ports)
    assert said == []
    assert psutil.Process().children() == before


async def test_only_what_exists_can_be_started(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sync-chain, async-bus, request-reply, monolith, both"):
        await run_up("async", tmp_path, lambda line: None)
