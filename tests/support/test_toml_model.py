"""What is no file for the lab is refused with a sentence, before a slow parser sees it."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from lab.support.toml_model import (
    MAX_FILE_BYTES,
    FileError,
    FileType,
    find_key_line,
    read_model,
    read_toml,
)

TABLE = FileType("a table")


class SampleTable(BaseModel):
    name: str
    rows: list[list[int]]


def refusal(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FileError) as caught:
        read_toml(path, TABLE)
    return str(caught.value)


def test_a_file_is_read_up_to_its_size_limit(tmp_path: Path) -> None:
    path = tmp_path / "table.toml"
    comment = "#" * (MAX_FILE_BYTES - len("a = 1\n"))
    path.write_text(f"a = 1\n{comment}", encoding="utf-8")
    assert read_toml(path, TABLE)[0] == {"a": 1}
    assert "has more than 256 KiB; a table needs much less" in refusal(path, f"a = 1\n{comment}#")


LONG_KEYS = {
    "a header": f"a = 1\n[{'a.' * 50_000}a]\n",
    "a key": f"a = 1\n{'a . ' * 5_000}a = 1\n",
    "a key of an inline table": f"a = 1\nb = {{ {'a.' * 5_000}a = 1 }}\n",
    "a key in quotes": "a = 1\n[" + '"a"."b".' * 5_000 + "a]\n",
}


@pytest.mark.parametrize("text", LONG_KEYS.values(), ids=LONG_KEYS)
def test_a_key_of_very_many_parts_is_refused(tmp_path: Path, text: str) -> None:
    said = refusal(tmp_path / "table.toml", text)
    assert "line 2 has a key with more than 32 parts" in said


def test_texts_with_dots_are_no_keys(tmp_path: Path) -> None:
    path = tmp_path / "table.toml"
    text = f"a = '{'...' * 100} {'A sentence. ' * 100}'\r\nb = 0.5 # {'-' * 1_000}\r\n"
    path.write_bytes(text.encode())
    assert read_toml(path, TABLE)[0]["b"] == 0.5


def test_a_wrong_file_with_a_wide_gap_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "table.toml"
    path.write_text(f"rows = [\n[{' ' * 100_000}\n'x']]\n", encoding="utf-8")
    with pytest.raises(FileError, match="rows 1 1: saw 'x'"):
        read_model(SampleTable, path, TABLE)


def test_the_line_of_a_key_is_found_in_any_spacing() -> None:
    text = "a = 1\n  [ table ]  # one\n b . c = 2\n[[rows]]\n[[ rows ]]\nd = 3\n"
    assert find_key_line(text, "table.b.c") == 3
    assert find_key_line(text, "rows 2.d") == 6
