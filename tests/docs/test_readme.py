"""What the README tells people to type works as it stands there."""

import json
import re
from pathlib import Path

import pytest

from tests.programs.ups import up
from tests.support.documents import in_blocks, in_passing, linked_from, text_of, understood
from tests.support.small import ROOT, flat, honest_lab, lab

README = "README.md"
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
LONG_RUNNING, OF_A_RUNNING_LAB = {"up"}, {"fault", "heal"}


COMMANDS = in_blocks(README)
RUNNABLE = [words for words in COMMANDS if words[0] not in LONG_RUNNING | OF_A_RUNNING_LAB]


def test_the_readme_says_how_to_begin() -> None:
    said = {words[0] for words in COMMANDS}
    assert {"list", "show", "run", "diff", "claims", "fault", "heal"} <= said


@pytest.mark.parametrize("words", [*COMMANDS, *in_passing(README)], ids=" ".join)
def test_every_command_is_one_that_the_lab_understands(words: list[str]) -> None:
    understood(words)


@pytest.mark.parametrize("words", RUNNABLE, ids=" ".join)
def test_every_command_does_what_it_is_there_for(tmp_path: Path, words: list[str]) -> None:
    quick = ["--quick"] if words[0] == "run" and "--quick" not in words else []
    said = honest_lab(*words, *quick, cwd=tmp_path)
    assert said.returncode == 0, said.stdout + said.stderr
    assert said.stdout
    if "--json" in words:
        assert json.loads(said.stdout)["valid"] is True
    else:
        assert max(map(len, said.stdout.splitlines())) <= 80


def test_what_breaks_and_mends_a_running_lab_does_so_in_the_order_of_the_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    orders = [words for words in COMMANDS if words[0] in OF_A_RUNNING_LAB]
    with up(tmp_path / "by-hand"):
        for words in orders:
            said = lab(*words, cwd=tmp_path)
            assert (said.returncode, said.stderr) == (0, ""), words
            for stack in ("sync-chain", "async-bus"):
                assert f"{stack} " in said.stdout
        assert "No fault is on." in flat(lab("fault", cwd=tmp_path).stdout)


@pytest.mark.parametrize(
    "target", sorted(set(re.findall(r"(?:^|`)make ([a-z]+)", text_of(README), re.MULTILINE)))
)
def test_every_make_target_exists(target: str) -> None:
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)
    assert re.search(rf"^\.PHONY:.*\b{target}\b", MAKEFILE, re.MULTILINE)


@pytest.mark.parametrize("target", linked_from(README))
def test_every_file_that_is_linked_exists(target: str) -> None:
    assert (ROOT / target).exists()
