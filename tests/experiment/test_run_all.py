"""Several scenarios at once: which ones are meant, and what is said of so many."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lab import running
from lab.commands.app import app
from lab.scenarios import catalogue
from tests.support.small import FALSE, flat, honest, honest_lab, scenario_file


def test_all_means_every_scenario_once_also_those_that_were_named_before() -> None:
    chosen = [one.name for one in running._chosen(["duplicates", "all"], [])]
    assert chosen[0] == "duplicates"
    assert sorted(chosen) == sorted(catalogue.names())


@pytest.mark.parametrize("tag", catalogue.TAGS)
def test_a_tag_means_all_that_have_it(tag: str) -> None:
    chosen = running._chosen(["calm"], [tag, tag])
    assert chosen[0].name == "calm"
    assert all(tag in one.tags for one in chosen[1:])
    having = {one.name for one in catalogue.built_in() if tag in one.tags}
    assert {one.name for one in chosen} == having | {"calm"}
    assert having


def test_a_scenario_that_is_named_twice_runs_twice() -> None:
    assert [one.name for one in running._chosen(["calm", "calm"], [])] == ["calm", "calm"]


def test_of_many_one_line_each_is_told_and_what_fails_is_not_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(running, "TERSE_FROM", 2)
    fine = scenario_file(tmp_path, "fine")
    wrong = scenario_file(tmp_path, "wrong", expect=FALSE)
    shell = CliRunner(env={"COLUMNS": "100"})
    words = ["run", fine, wrong, "--keep", "kept"]
    said = honest(lambda: shell.invoke(app, words), lambda done: done.stdout + done.stderr)
    assert said.exit_code == 1
    first, second, *_ = said.stderr.splitlines()
    assert first == "1 of 2    fine: 1 of 1 expectations hold"
    assert second == "2 of 2    wrong: 0 of 1 expectations hold"
    assert "all expectations hold" in flat(said.stdout)
    assert f"wrong: It is so. ({FALSE}, measured" in flat(said.stdout)


def test_the_code_and_the_document_are_over_all_of_them(tmp_path: Path) -> None:
    fine = scenario_file(tmp_path, "fine")
    wrong = scenario_file(tmp_path, "wrong", expect=FALSE)
    said = honest_lab("run", wrong, fine, "--json", cwd=tmp_path)
    assert said.returncode == 1
    documents = json.loads(said.stdout)
    assert [one["scenario"] for one in documents] == ["wrong", "fine"]
    assert [one["expectations"][0]["verdict"] for one in documents] == ["fails", "holds"]
