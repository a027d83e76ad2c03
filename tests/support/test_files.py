"""A private file is whole or not there, and no other user can read it."""

import stat
from pathlib import Path

import pytest

from lab.support.files import private_file, write_private


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
