"""A private file is whole or not there, and no other user can read it."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lab.support.files import create_private_folder, private_file, write_private
from tests.support.power_cut import ForgetfulDisk
from tests.support.preload import needs_preload


def test_a_private_file_replaces_the_old_one_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("old")
    write_private(path, "Größe")
    assert path.read_text("utf-8") == "Größe"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_in_the_middle_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "samples.csv"
    path.write_text("old")
    with pytest.raises(TypeError), private_file(path) as file:
        file.writelines(["new", 1])  # type: ignore[list-item]
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_private_folder_is_private_and_may_exist(tmp_path: Path) -> None:
    for _ in range(2):
        create_private_folder(tmp_path / "runs" / "by-hand")
    assert stat.S_IMODE((tmp_path / "runs" / "by-hand").stat().st_mode) == 0o700


@needs_preload
def test_a_private_folder_and_its_parents_survive_a_power_cut(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    disk = ForgetfulDisk(tmp_path / "disk", tmp_path / "journals")
    program = (
        "import sys; from pathlib import Path; from lab.support.files import create_private_folder;"
        "create_private_folder(Path(sys.argv[1]) / 'runs' / 'by-hand')"
    )
    with disk.preloaded():
        subprocess.run([sys.executable, "-c", program, str(disk.folder)], check=True)
    disk.cut_power()
    assert (disk.folder / "runs" / "by-hand").is_dir()
