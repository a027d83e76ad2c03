"""The doctor finds problems, repairs what it can, says what to try, and never raises."""

import os
import socket
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import pytest

from lab.cluster import process_tree
from lab.cluster.forkserver_client import LAB_RUN
from lab.commands import doctor
from lab.commands.doctor import Diagnosis, exit_code, run_checks
from lab.live.sandbox.instances import RunningLab, registered_instance
from tests.programs.labs import ROOT, assert_ended

Partition = namedtuple("Partition", "mountpoint fstype")


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Hide instance files, ports and left-over processes of other labs: the doctor sees only the
    processes whose pids are in this list."""
    mine: list[int] = []
    every = process_tree.find_leftovers
    monkeypatch.setattr(
        process_tree, "find_leftovers", lambda: [found for found in every() if found.pid in mine]
    )
    monkeypatch.setattr(doctor, "BY_HAND_PORTS", {"sync-chain": {"posts": _free_port()}})
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return mine


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def find_only(text: str, findings: list[Diagnosis]) -> Diagnosis:
    """The only finding that contains this text."""
    (found,) = [finding for finding in findings if text in finding.message]
    return found


def test_a_sound_machine_has_nothing_bad(tmp_path: Path) -> None:
    findings = run_checks(folder=tmp_path / "not" / "yet" / "runs")
    assert [finding for finding in findings if finding.level == "bad"] == []
    assert exit_code(findings) == 0
    assert len(findings) >= len(doctor.CHECKS) - 1  # There need be no instance file.
    assert all(finding.hint for finding in findings if finding.level != "ok")
    assert doctor._commit_ms(tmp_path) > 0
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def left_behind(alone: list[int]) -> Iterator[psutil.Process]:
    """A process that was started by a lab that has ended."""
    lab = subprocess.Popen([sys.executable, "-c", ""])
    lab.wait()
    process = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); import signal; signal.pause()"],
        env=os.environ | {LAB_RUN: f"{lab.pid}:{time.time() - 60:.2f}"},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    alone.append(process.pid)
    yield psutil.Process(process.pid)
    process.kill()
    process.communicate()


def test_a_left_over_process_ends_only_with_fix(left_behind: psutil.Process) -> None:
    findings = run_checks()
    found = find_only(f"process {left_behind.pid}", findings)
    assert (found.level, found.hint) == ("bad", "lab doctor --fix ends it.")
    assert exit_code(findings) == 3
    assert left_behind.status() != psutil.STATUS_ZOMBIE
    assert find_only(f"process {left_behind.pid}", run_checks(fix=True)).level == "ok"
    assert_ended(left_behind)
    assert find_only("No process of an earlier lab", run_checks()).level == "ok"


def test_a_suspended_left_over_process_is_ended_too(left_behind: psutil.Process) -> None:
    left_behind.suspend()
    assert "ended now" in find_only(f"process {left_behind.pid}", run_checks(fix=True)).message
    assert_ended(left_behind)


def test_a_stale_instance_file_is_removed_only_with_fix() -> None:
    with registered_instance(_running_lab({})) as path:
        assert find_only("A lab runs", run_checks()).level == "ok"
        path.write_text("{}")
        assert find_only(str(path), run_checks()).level == "warn"
        assert path.exists()
        assert find_only(str(path), run_checks(fix=True)).level == "ok"
        assert not path.exists()


def _running_lab(stacks: dict[str, dict[str, str]]) -> RunningLab:
    return RunningLab(0, 0.0, "http://127.0.0.1:1", "secret", stacks, Path("/nowhere"))


def test_a_taken_port_is_bad_and_its_holder_is_named() -> None:
    port = doctor.BY_HAND_PORTS["sync-chain"]["posts"]
    assert "Free for" in find_only(str(port), run_checks()).message
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", port))
        holder.listen()
        findings = run_checks()
        found = find_only(f"Port {port} (posts of sync-chain) is in use", findings)
        assert found.level == "bad"
        assert f"pid {os.getpid()}" in found.message or "another user" in found.message
        assert exit_code(findings) == 3
        # A port that belongs to a running lab is all right.
        with registered_instance(
            _running_lab({"sync-chain": {"posts": f"http://127.0.0.1:{port}"}})
        ):
            found = find_only(f"Port {port}", run_checks())
            assert (found.level, "running lab" in found.message) == ("ok", True)


def test_a_missing_and_an_old_package_are_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"aiohttp": "3.14.3", "pydantic": "2.11.0", "pytest": "0.1"}

    def version(name: str) -> str:
        if name == "rich":
            raise metadata.PackageNotFoundError(name)
        return versions.get(name, "999")

    monkeypatch.setattr(metadata, "version", version)
    findings = run_checks()
    assert (
        find_only("aiohttp 3.14.3 is installed: the lab needs aiohttp>=", findings).level == "bad"
    )
    assert find_only("rich is not installed", findings).hint.endswith("pip install -e .")
    assert "pydantic 2.11.0" in find_only("Installed:", findings).message
    assert not [finding for finding in findings if "pytest" in finding.message]  # an extra


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "9p", "fuse.sshfs"])
def test_a_folder_on_a_network_file_system_is_bad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    mounts = [Partition("/", "ext4"), Partition(str(tmp_path), "ext4")]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: mounts)
    assert find_only("ext4", run_checks(folder=tmp_path / "runs")).level == "ok"
    # A later mount on the same folder covers the earlier; one on a sibling does not matter.
    mounts += [Partition(str(tmp_path), kind), Partition(str(tmp_path) + "-other", "ext4")]
    assert find_only(kind, run_checks(folder=tmp_path / "runs")).level == "bad"


@pytest.mark.parametrize("name", ["OneDrive - University", "Dropbox", "iCloud Drive"])
def test_a_folder_that_is_synchronised_is_bad(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    assert find_only(repr(name), run_checks(folder=tmp_path / name / "runs")).level == "bad"


def test_a_folder_in_which_nothing_can_be_written_is_bad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "runs"
    file.write_text("")
    findings = run_checks(folder=file)
    assert find_only("not writable", findings).level == "bad"
    assert find_only("disk: the check failed", findings).level == "warn"


@pytest.mark.parametrize(
    ("what", "value", "part"),
    [
        ("lab.commands.doctor._commit_ms", lambda place: 21.0, "takes 21.0 ms"),
        ("os.getloadavg", lambda: (99.0, 0.0, 0.0), "99.0 processes"),
        ("resource.getrlimit", lambda which: (256, 4096), "each process: 256"),
        ("os.sched_getaffinity", lambda pid: {0}, "Cores: 1"),
    ],
)
def test_what_would_be_in_the_figures_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, what: str, value: Any, part: str
) -> None:
    monkeypatch.setattr(what, value, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    findings = run_checks()
    assert find_only(part, findings).level == "warn"
    assert exit_code(findings) == 0


def test_a_check_that_fails_keeps_what_it_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def _eyes(fix: bool, folder: Path) -> Iterator[Diagnosis]:
        yield Diagnosis("ok", "One is fine.")
        raise ModuleNotFoundError("No module named 'glasses'")

    monkeypatch.setattr(doctor, "CHECKS", (_eyes,))
    assert [finding.level for finding in run_checks()] == ["ok", "warn"]
    assert "glasses" in find_only("eyes: the check failed", run_checks()).message


def test_the_doctor_can_be_loaded_without_any_package() -> None:
    code = (
        "import sys; sys.path[:] = [p for p in sys.path if 'site-packages' not in p]\n"
        "from lab.commands.doctor import run_checks\n"
        "print([f.message for f in run_checks() if f.level == 'bad'])"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "packaging is not installed." in printed.stdout
