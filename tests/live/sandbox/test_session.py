"""A running `lab up`: its printed commands work, faults act and heal, and it leaves nothing."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from lab.cluster.arrangements import ARRANGEMENTS
from lab.cluster.errors import PortTaken
from lab.cluster.ports import reserve
from lab.domain.services import BY_HAND_PORTS, SERVICES, by_hand_url
from lab.live.sandbox import control_client
from lab.live.sandbox.control_client import ControlError
from lab.live.sandbox.instances import find_running_labs, read_instance_files
from lab.live.sandbox.session import run_up, welcome_lines
from tests.programs.ups import Up, assert_refused, assert_well, do_as_printed, get, posts_status, up


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the instance files of these tests apart from those of other labs."""
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
    control_client.heal(both.lab)


def test_the_welcome_fits_80_columns() -> None:
    urls = {
        stack: {target: by_hand_url(stack, of.process_of(target)) for target in of.targets}
        for stack, of in ARRANGEMENTS.items()
    }
    lines = list(welcome_lines(urls, Path("/home/someone/runs/by-hand")))
    assert max(map(len, lines)) <= 80
    assert any("http://127.0.0.1:4005" in line for line in lines)


@pytest.mark.parametrize("stack", ["sync-chain", "async-bus"])
def test_the_printed_commands_do_what_they_say(blogs: Up, stack: str) -> None:
    do_as_printed(blogs, stack)


def test_a_healed_fault_brings_its_evidence_from_each_stack(blogs: Up) -> None:
    lines = control_client.inject_fault(blogs.lab, "latency", "posts", {"ms": 20})
    assert [line.split(":")[0] for line in lines] == ["sync-chain posts", "async-bus posts"]
    assert control_client.list_faults(blogs.lab) == [
        "sync-chain posts: latency (ms 20) is on.",
        "async-bus posts: latency (ms 20) is on.",
    ]
    for _ in range(3):
        assert posts_status(blogs, "sync-chain") == 200
    chain, bus = control_client.heal(blogs.lab)
    assert "hit 3 of 3 requests, for" in chain
    assert "hit NOTHING" in bus
    assert control_client.list_faults(blogs.lab) == ["No fault is on."]


def test_a_fault_on_one_named_stack_leaves_the_other_alone(blogs: Up) -> None:
    control_client.inject_fault(blogs.lab, "error", "posts", {"status": 418}, stack="sync-chain")
    assert posts_status(blogs, "sync-chain") == 418
    assert posts_status(blogs, "async-bus") == 200
    assert control_client.heal(blogs.lab, stack="async-bus") == [
        "Nothing was broken there, so there was nothing to heal."
    ]
    assert posts_status(blogs, "sync-chain") == 418


def test_a_downed_service_refuses_until_it_is_healed(blogs: Up) -> None:
    control_client.inject_fault(blogs.lab, "down", "comments")
    for stack in blogs.lab.stacks:
        assert_refused(blogs.url(stack, "comments"))
    for line in control_client.heal(blogs.lab, "comments", "down"):
        assert "a probe: refused" in line
        assert re.search(r"Process (\d+) was away .* It is process (?!\1 )\d+ now\.", line)
    for stack in blogs.lab.stacks:
        assert_well(blogs, stack, "comments")


def test_a_hanging_service_takes_connections_and_never_answers(blogs: Up) -> None:
    control_client.inject_fault(blogs.lab, "hang", "query", stack="async-bus")
    with pytest.raises(requests.ReadTimeout):
        get(f"{blogs.url('async-bus', 'query')}/health", read_within_s=0.05)
    (line,) = control_client.heal(blogs.lab, "query")
    assert "a probe: timeout" in line
    assert_well(blogs, "async-bus", "query")


def test_a_whole_downed_stack_is_healed_at_once(blogs: Up) -> None:
    for target in BY_HAND_PORTS["async-bus"]:
        control_client.inject_fault(blogs.lab, "down", target, stack="async-bus")
    assert len(control_client.heal(blogs.lab)) == 5
    assert_well(blogs, "async-bus", "query")
    assert blogs.process.poll() is None


@pytest.mark.parametrize("kind", ["down", "hang"])
def test_a_broken_process_is_not_broken_again(blogs: Up, kind: str) -> None:
    control_client.inject_fault(blogs.lab, kind, "posts", stack="sync-chain")
    for wish in (("down", {}), ("hang", {}), ("latency", {"ms": 1})):
        with pytest.raises(ControlError, match="posts of sync-chain") as caught:
            control_client.inject_fault(blogs.lab, wish[0], "posts", wish[1])
        assert caught.value.exit_code == 3
    # The other stack was not touched either, though it could have been.
    assert [line.split()[0] for line in control_client.list_faults(blogs.lab)] == ["sync-chain"]


def test_a_fault_at_the_door_is_replaced_and_accounted_for(blogs: Up) -> None:
    control_client.inject_fault(blogs.lab, "error", "posts", {"status": 500}, stack="sync-chain")
    control_client.inject_fault(blogs.lab, "error", "posts", {"status": 502}, stack="sync-chain")
    assert control_client.list_faults(blogs.lab) == ["sync-chain posts: error (status 502) is on."]
    assert posts_status(blogs, "sync-chain") == 502
    healed, broken = control_client.inject_fault(blogs.lab, "down", "posts", stack="sync-chain")
    assert "error is healed." in healed
    assert "hit 1 of 1 requests" in healed
    assert "down is on" in broken


@pytest.mark.parametrize(
    ("order", "named", "teaches"),
    [
        ("inject_fault", {"kind": "latncy", "options": {"ms": 1}}, "Did you mean 'latency'"),
        ("inject_fault", {"target": "coments"}, "Did you mean 'comments'"),
        ("inject_fault", {"kind": "latency", "options": {"sm": 1}}, "Did you mean 'ms'"),
        ("inject_fault", {"kind": "latency"}, "needs 'ms'"),
        ("inject_fault", {"kind": "latency", "options": {"ms": "x"}}, "can't have ms = 'x'"),
        ("inject_fault", {"stack": "sync-chian"}, "Did you mean 'sync-chain'"),
        ("inject_fault", {"target": "event-bus", "stack": "sync-chain"}, "there is no 'event-bus'"),
        ("inject_fault", {"target": "1"}, "there is no '1'"),
        ("heal", {"target": "post"}, "'posts'"),
        ("heal", {"kind": "hung"}, "'hang'"),
        ("heal", {"stack": "bus"}, "'async-"),
    ],
)
def test_a_senseless_order_is_answered_with_a_sensible_one(
    blogs: Up, order: str, named: dict[str, Any], teaches: str
) -> None:
    whole = {"kind": "down", "target": "posts", **named} if order == "inject_fault" else named
    with pytest.raises(ControlError, match=re.escape(teaches)) as caught:
        getattr(control_client, order)(blogs.lab, **whole)
    assert caught.value.exit_code == 2
    assert control_client.list_faults(blogs.lab) == ["No fault is on."]


def test_a_service_that_ends_unasked_is_named_and_restarted(blogs: Up) -> None:
    control_client.inject_fault(blogs.lab, "error", "moderation", stack="sync-chain")
    blogs.process_of("sync-chain", "moderation").kill()
    lines = blogs.lines_until("starts it again")
    assert "! sync-chain moderation was ended by signal 9, without being stopped." in lines
    with pytest.raises(ControlError, match="has ended by itself") as caught:
        control_client.inject_fault(blogs.lab, "down", "moderation")
    assert caught.value.exit_code == 3
    line = "sync-chain moderation: It has ended by itself. Heal it: that starts it again."
    assert control_client.list_faults(blogs.lab)[-1] == line
    lost, restarted = control_client.heal(blogs.lab)
    assert "error ended with its process, and so did its proof" in lost
    line = "sync-chain moderation: moderation had ended by itself, and is started again."
    assert restarted == line
    assert control_client.list_faults(blogs.lab) == ["No fault is on."]
    assert_well(blogs, "sync-chain", "moderation")


def test_breaking_one_service_of_the_monolith_breaks_all(tmp_path: Path) -> None:
    with up(tmp_path / "run", "monolith") as running:
        do_as_printed(running, "monolith")
        (line,) = control_client.inject_fault(running.lab, "down", "comments")
        assert "down is on" in line
        for target in SERVICES:
            assert_refused(running.url("monolith", target))
        with pytest.raises(ControlError, match="Heal posts first"):
            control_client.inject_fault(running.lab, "hang", "posts")
        (line,) = control_client.heal(running.lab, "posts")
        assert "down is healed" in line
        running.process_of("monolith", "posts").kill()
        running.lines_until("starts it again")
        (line,) = control_client.heal(running.lab)
        assert line == "monolith monolith: monolith had ended by itself, and is started again."
        assert_well(running, "monolith", "query")


def test_ctrl_c_ends_everything_while_services_are_broken(tmp_path: Path) -> None:
    with up(tmp_path / "run", "request-reply") as running:
        do_as_printed(running, "request-reply")
        control_client.inject_fault(running.lab, "hang", "comments")
        control_client.inject_fault(running.lab, "down", "query")
        control_client.inject_fault(running.lab, "timeout", "posts")
        assert running.end(signal.SIGINT) == 130
        running.assert_nothing_is_left()
        assert all(note.lab != running.lab for note in read_instance_files())


def test_a_killed_lab_leaves_no_process_and_no_note(tmp_path: Path) -> None:
    with up(tmp_path / "run", "sync-chain") as running:
        control_client.inject_fault(running.lab, "hang", "comments")
        assert running.end(signal.SIGKILL) == -signal.SIGKILL
        running.assert_nothing_is_left()
    (stale,) = [
        note for note in read_instance_files() if note.path.stem == str(running.process.pid)
    ]
    assert stale.lab is None
    assert running.lab not in find_running_labs()
    assert not stale.path.exists()
    with pytest.raises(ControlError, match="does not answer") as caught:
        control_client.heal(running.lab)
    assert caught.value.exit_code == 3


def test_without_its_fork_server_the_lab_ends_and_says_why(tmp_path: Path) -> None:
    with up(tmp_path / "run", "monolith") as running:
        psutil.Process(running.process.pid).children()[0].kill()
        assert running.wait() == 1
        assert "ForkServerLost: The lab's fork server" in running.errors
        running.assert_nothing_is_left()
        assert all(note.lab != running.lab for note in read_instance_files())


async def test_a_taken_port_is_named_and_nothing_starts(tmp_path: Path) -> None:
    lines: list[str] = []
    before = psutil.Process().children()
    with reserve() as taken:
        ports = {"async-bus": {"query": taken.port}}
        with pytest.raises(PortTaken, match=str(taken.port)):
            await run_up("both", tmp_path, lines.append, ports=ports)
    assert lines == []
    assert psutil.Process().children() == before


async def test_only_what_exists_can_be_started(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sync-chain, async-bus, request-reply, monolith, both"):
        await run_up("async", tmp_path, lambda line: None)
