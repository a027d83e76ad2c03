"""The wheel, installed into an empty environment, does what the checkout does.

Nothing of the checkout is reachable: another folder, another environment, no PYTHONPATH. The
results are tested elsewhere; here the point is that everything has been packed.
"""

import inspect
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

from lab.scenarios import catalogue
from tests.support import documents
from tests.support.handed_in import SOLUTIONS
from tests.support.small import ROOT, environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

FOR_NOTEBOOKS = ("nbclient>=0.10", "ipykernel>=7", "pandas>=2.2")
TIMEOUT_S = 900
EXERCISE, NOTEBOOK = "idempotent", "01_one_request.ipynb"

UNDERSTAND = f"""
import json, sys
from collections.abc import Mapping, Sequence
from typing import Any
import typer
from lab.commands.app import app

{inspect.getsource(documents.parse_command)}

for words in json.load(sys.stdin):
    parse_command(words)
    print(" ".join(words))
"""
EXECUTE = """
import sys
import nbclient, nbformat

notebook = nbformat.read(sys.argv[1], as_version=4)
notebook.cells.append(nbformat.v4.new_code_cell("import sys; print(sys.prefix, lab.__file__)"))
nbclient.NotebookClient(notebook, timeout=600).execute()
print(notebook.cells[-1].outputs[0].text)
"""


class WheelEnvironment(NamedTuple):
    """An environment with the wheel in it, and an empty working folder."""

    wheel: Path
    venv: Path
    folder: Path

    def run(self, program: str, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment to its end; `input` is its stdin."""
        env = environment(PATH=f"{self.venv / 'bin'}{os.pathsep}{os.environ['PATH']}")
        env = {
            name: text for name, text in env.items() if not name.startswith(("PYTHON", "VIRTUAL"))
        }
        return subprocess.run(
            [str(self.venv / "bin" / program), *words],
            cwd=self.folder,
            env={**env, "PYTHONIOENCODING": "utf-8", "HOME": str(self.folder.parent)},
            input=more.get("input", ""),
            capture_output=True,
            encoding="utf-8",
            timeout=TIMEOUT_S,
            check=False,
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> WheelEnvironment:
    pytest.importorskip("hatchling", reason="the wheel is built with it")
    place = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "-w", str(place), str(ROOT)], check=True, timeout=TIMEOUT_S)
    (wheel,) = place.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(place / "venv")], check=True)
    (place / "empty").mkdir()
    wheel_environment = WheelEnvironment(wheel, place / "venv", place / "empty")
    probe = wheel_environment.run(
        "pip", "download", "--quiet", "--no-deps", "-d", str(place), "typer"
    )
    if probe.returncode:
        pytest.skip(f"pip reaches no index: {probe.stderr.strip().splitlines()[-1]}")
    done = wheel_environment.run("pip", "install", "--quiet", str(wheel), *FOR_NOTEBOOKS)
    assert done.returncode == 0, done.stderr
    return wheel_environment


def test_the_wheel_claims_no_top_level_name_but_lab(installed: WheelEnvironment) -> None:
    names = {name.partition("/")[0] for name in zipfile.ZipFile(installed.wheel).namelist()}
    (about,) = (name for name in names if name.endswith(".dist-info"))
    assert names == {"lab", about}
    imported = installed.run("python", "-c", "import lab; print(lab.__file__)").stdout.strip()
    assert Path(imported).is_relative_to(installed.venv)


def test_it_lists_its_scenarios_and_runs_one(installed: WheelEnvironment) -> None:
    listed = installed.run("lab", "list")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert all(name in listed.stdout for name in catalogue.builtin_names())
    ran = installed.run("lab", "run", "slow-service", "--quick")
    assert "Traceback" not in ran.stderr
    assert "Afterwards" in ran.stdout
    # On a busy machine the run may be invalid, or differ from the expectations, and say so.
    expected = {0: "expectations hold", 1: "expectations hold", 3: "INVALID"}
    assert expected[ran.returncode] in ran.stdout


def test_an_exercise_is_begun_and_its_solution_checked(installed: WheelEnvironment) -> None:
    begun = installed.run("lab", "exercise", "start", EXERCISE, "mine")
    assert begun.returncode == 0, begun.stderr
    shutil.copytree(SOLUTIONS / EXERCISE, installed.folder / "mine", dirs_exist_ok=True)
    checked = installed.run("lab", "exercise", "check", "mine", "--json")
    verdict = json.loads(checked.stdout)
    assert checked.returncode == (0 if verdict["passed"] else 1)
    assert verdict["trouble"] == ""
    assert verdict["score"] > 0


def test_it_understands_every_command_of_the_documents(installed: WheelEnvironment) -> None:
    commands = documents.every_command()
    assert len(commands) > 100
    done = installed.run("python", "-c", UNDERSTAND, input=json.dumps(commands))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [" ".join(words) for words in commands]


def test_a_notebook_is_executed_with_what_was_installed(installed: WheelEnvironment) -> None:
    shutil.copy(ROOT / "notebooks" / NOTEBOOK, installed.folder)
    shutil.copytree(ROOT / "notebooks" / "checks", installed.folder / "checks")
    done = installed.run("python", "-c", EXECUTE, NOTEBOOK)
    assert done.returncode == 0, done.stderr
    prefix, module = done.stdout.split()
    assert Path(prefix) == installed.venv
    assert Path(module).is_relative_to(installed.venv)
