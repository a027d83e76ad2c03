"""How another terminal finds a lab: by an instance file, valid only while the lab runs."""

import json
import os
import socket
import stat
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from lab.live.sandbox import control_client
from lab.live.sandbox.control_client import ControlError
from lab.live.sandbox.instances import (
    RunningLab,
    find_running_labs,
    read_instance_files,
    registered_instance,
)
from lab.support.process_identity import process_identity


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder in which no lab has ever run."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "gone"))
    return tmp_path


def make_lab(folder: Path) -> RunningLab:
    return RunningLab(0, 0.0, "http://127.0.0.1:1", "secret", {"sync-chain": {}}, folder)


def test_a_note_is_for_its_user_alone_and_goes_with_its_lab(alone: Path) -> None:
    with registered_instance(make_lab(alone)) as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        (found,) = find_running_labs()
        assert (found.pid, found.token, found.folder) == (os.getpid(), "secret", alone)
        assert "secret" not in repr(found)
        assert control_client.find_lab() == control_client.find_lab(os.getpid()) == found
    assert not path.exists()
    assert find_running_labs() == []


def test_without_a_lab_it_is_said_how_to_start_one(alone: Path) -> None:
    with pytest.raises(ControlError, match="start one with `lab up` in another terminal") as caught:
        control_client.find_lab()
    assert caught.value.exit_code == 3


def test_of_several_labs_one_must_be_chosen(alone: Path) -> None:
    with registered_instance(make_lab(alone)) as path:
        other = json.loads(path.read_text())
        parent = psutil.Process().parent()
        assert parent is not None
        other |= {"pid": parent.pid, "identity": process_identity(parent.pid)}
        (path.parent / f"{parent.pid}.json").write_text(json.dumps(other))
        with pytest.raises(ControlError, match=f"pid {parent.pid}: sync-chain") as caught:
            control_client.find_lab()
        assert caught.value.exit_code == 2
        assert control_client.find_lab(parent.pid).pid == parent.pid
        with pytest.raises(ControlError, match="No lab runs as process 1"):
            control_client.find_lab(1)


@pytest.mark.parametrize(
    "change", [{"identity": ""}, {"identity": "x/1"}, {"pid": 2**22 + 1}, {"more": 1}]
)
def test_a_note_that_fits_no_living_lab_is_stale_and_removed(
    alone: Path, change: dict[str, Any]
) -> None:
    with registered_instance(make_lab(alone)) as path:
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
        assert [note.lab for note in read_instance_files()] == [None]
        assert find_running_labs() == []
        assert not path.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a start time is stored for good")
@pytest.mark.parametrize("step_s", [-3_600, -5, 10, 3_600])
def test_a_step_of_the_clock_hides_no_running_lab(
    alone: Path, monkeypatch: pytest.MonkeyPatch, step_s: int
) -> None:
    boot_time_s = psutil.boot_time()
    with registered_instance(make_lab(alone)) as path:
        monkeypatch.setattr("psutil._pslinux.boot_time", lambda: boot_time_s + step_s)
        assert [lab.pid for lab in find_running_labs()] == [os.getpid()]
        assert path.exists()


def test_a_lab_whose_control_port_answers_keeps_its_file(alone: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as control:
        url = f"http://127.0.0.1:{control.getsockname()[1]}"
        with registered_instance(replace(make_lab(alone), url=url)) as path:
            path.write_text(json.dumps(json.loads(path.read_text()) | {"identity": "x/1"}))
            assert [lab.pid for lab in find_running_labs()] == [os.getpid()]
            assert path.exists()


def test_notes_in_a_folder_that_others_can_write_are_not_believed(alone: Path) -> None:
    with registered_instance(make_lab(alone)) as path:
        path.parent.chmod(0o777)
        assert find_running_labs() == []
        assert path.exists()
