"""A user's own scenario: its template, the schema for editors, line numbers of mistakes."""

import json
import tomllib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from lab.scenarios import catalogue, schema
from lab.scenarios.scenario import Scenario, ScenarioError
from lab.scenarios.template import TEMPLATE, ScenarioFileExists, create_scenario_file
from lab.support.toml_model import find_key_line

PUBLISHED = Path(__file__).parents[2] / "docs" / "scenario.schema.json"
FILLED_TEMPLATE = TEMPLATE.format(file="mine.toml", title="Mine")


@cache
def validator() -> Any:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    return jsonschema.Draft202012Validator(schema.schema())


def problems(text: str) -> list[str]:
    return [error.message for error in validator().iter_errors(tomllib.loads(text))]


def test_the_schema_in_the_docs_is_up_to_date() -> None:
    assert json.loads(PUBLISHED.read_text()) == schema.schema(), (
        "Write it anew: lab validate --schema > docs/scenario.schema.json"
    )


def test_every_built_in_scenario_keeps_to_the_schema() -> None:
    for name in catalogue.builtin_names():
        assert problems((files("lab.scenarios") / f"{name}.toml").read_text()) == [], name


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("rate = 20", "raet = 20"),
        ('fault = "latency"', 'fault = "latancy"'),
        ("ms = 300", "msec = 300"),
        ('target = "comments"', 'target = "comment"'),
        ("# timeout_ms = 100", "[variants.b]\nworkers = 0"),
        ("# timeout_ms = 100", "[variants.b]\nworker = 2"),
        ("# timeout_ms = 100", '[variants.b]\narrangement = "async-bus"\nretries = 1'),
        ("ms = 300", "status = 503"),
        ("ms = 300", ""),
        ('claims = ["slowest-hop"', 'claims = ["slow-hop"'),
    ],
)
def test_an_editor_sees_by_the_schema_what_is_wrong(old: str, new: str) -> None:
    assert old in FILLED_TEMPLATE
    assert problems(FILLED_TEMPLATE) == []
    assert problems(FILLED_TEMPLATE.replace(old, new)) != []


def test_the_file_to_start_from_runs_and_is_not_overwritten(tmp_path: Path) -> None:
    path = create_scenario_file("my-outage", tmp_path)
    scenario = Scenario.load_file(path)
    assert scenario.title == "My outage"
    assert scenario.expect
    assert scenario.predict
    path.write_text("mine")
    with pytest.raises(ScenarioFileExists, match="stays as it is"):
        create_scenario_file("my-outage.toml", tmp_path)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("name", ["", "My Outage", "../up", "a/b", ".toml", "a--b", "9", "calm"])
def test_what_is_no_new_name_is_refused(tmp_path: Path, name: str) -> None:
    why = "calm comes with the lab" if name == "calm" else "no name for a scenario"
    with pytest.raises(ValueError, match=why):
        create_scenario_file(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_kind_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "other.toml"
    path.write_text("[project]\nname = 'x'\n[build]\na = 1\n")
    with pytest.raises(ScenarioError) as error:
        Scenario.load_file(path)
    assert error.value.problems == (
        "has nothing that a scenario has (title, claims, tags, …). Is it a file of another kind?",
    )


TEXT = '''title = "A"
question = """
rate = 3 is no key here
"""
[load]
rate = 3
mix = { read_feed = 1 }
[[method]]
fault = "down"
[[method]]
# fault = "not this one"
"fault" = "hang"
[variants.sync-chain]
workers = 3
[[expect]]
that = 1
'''


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("title", 1),
        ("load", 5),
        ("load.rate", 6),
        ("load.mix.read_feed", 7),
        ("load.raet", 5),
        ("method 1", 8),
        ("method 1 fault", 9),
        ("method 2 fault", 12),
        ("variants.sync-chain.workers", 14),
        ("variants", 13),
        ("expect 1 that", 16),
        ("nothing", None),
        ("", None),
    ],
)
def test_a_key_is_found_on_its_line(key: str, line: int | None) -> None:
    assert find_key_line(TEXT, key) == line


def test_a_mistake_is_reported_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(FILLED_TEMPLATE.replace("rate = 20", "raet = 20"))
    with pytest.raises(ScenarioError) as error:
        Scenario.load_file(path)
    line = path.read_text().splitlines().index("raet = 20") + 1
    assert str(error.value).startswith(f"{path}:{line}: load.raet: ")
