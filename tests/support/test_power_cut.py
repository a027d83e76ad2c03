"""The simulated disk: what must be there after a power cut, and what may not be promised."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.power_cut import ForgetfulDisk
from tests.support.preload import needs_preload

pytestmark = needs_preload

START = """
import os, sys
os.chdir(sys.argv[1])
def write(name, text, sync):
    file = os.open(name, os.O_CREAT | os.O_WRONLY)
    os.write(file, text)
    if sync:
        os.fsync(file)
    os.close(file)
def sync_folder(name="."):
    os.fsync(os.open(name, os.O_RDONLY))
"""


@pytest.fixture
def disk(tmp_path: Path) -> ForgetfulDisk:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "old").write_text("old")
    return ForgetfulDisk(tmp_path / "disk", tmp_path / "journals")


def run(disk: ForgetfulDisk, program: str) -> None:
    with disk.preloaded():
        subprocess.run([sys.executable, "-c", START + program, str(disk.folder)], check=True)


def after(disk: ForgetfulDisk, program: str) -> dict[str, str]:
    """What is on the disk when a program ran and the power went."""
    run(disk, program)
    disk.cut_power()
    files = (path for path in disk.folder.rglob("*") if path.is_file())
    return {str(path.relative_to(disk.folder)): path.read_text() for path in files}


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("write('old', b'new', sync=False)", {"old": "old"}),
        ("write('old', b'new', sync=True)", {"old": "new"}),
        ("write('new', b'1', sync=True)", {"old": "old"}),
        ("write('new', b'1', sync=False); sync_folder()", {"old": "old", "new": ""}),
        ("write('new', b'1', sync=True); sync_folder()", {"old": "old", "new": "1"}),
        ("os.truncate(os.open('old', os.O_RDWR), 1)", {"old": "old"}),
        ("f = os.open('old', os.O_RDWR); os.truncate(f, 1); os.fsync(f)", {"old": "o"}),
        ("f = os.open('old', os.O_RDWR); os.pwrite(f, b'!', 5); os.fsync(f)", {"old": "old\0\0!"}),
        ("os.unlink('old')", {"old": "old"}),
        ("os.unlink('old'); sync_folder()", {}),
        ("os.rename('old', 'new')", {"old": "old"}),
        ("os.rename('old', 'new'); sync_folder()", {"new": "old"}),
        ("os.mkdir('a'); write('a/b', b'1', sync=True); sync_folder('a')", {"old": "old"}),
        (
            "os.mkdir('a'); write('a/b', b'1', sync=True); sync_folder('a'); sync_folder()",
            {"old": "old", "a/b": "1"},
        ),
        ("write('old', b'1', sync=True); write('old', b'2', sync=False)", {"old": "1ld"}),
    ],
)
def test_only_what_was_synced_is_there(
    disk: ForgetfulDisk, program: str, expected: dict[str, str]
) -> None:
    assert after(disk, program) == expected


def test_a_sync_covers_what_another_process_has_written(disk: ForgetfulDisk) -> None:
    run(disk, "write('old', b'new', sync=False)")
    assert after(disk, "os.fsync(os.open('old', os.O_RDONLY))") == {"old": "new"}


def test_the_second_power_cut_forgets_what_followed_the_first(disk: ForgetfulDisk) -> None:
    assert after(disk, "write('old', b'one', sync=True)") == {"old": "one"}
    assert after(disk, "write('old', b'two', sync=False)") == {"old": "one"}
    assert disk.forgotten == 1


def test_some_of_what_was_not_synced_may_be_there(disk: ForgetfulDisk) -> None:
    run(disk, "for n in range(64): os.pwrite(os.open('old', os.O_WRONLY), b'!', n)")
    disk.cut_power(random.Random(1))
    assert 16 < (disk.folder / "old").read_text().count("!") < 48
