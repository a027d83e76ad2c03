"""The notebooks match their text sources, contain no outputs, and run from top to bottom."""

import ast
import re
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.laboratory import eventually
from tests.support.small import ROOT, environment, find_processes
from tests.support.solutions_of_notebooks import SOLUTIONS

nbclient, nbformat, jupyter_client, notebooks, *_ = (
    pytest.importorskip(name, reason="the extra `notebooks` and jupytext are not installed")
    for name in (
        *("nbclient", "nbformat", "jupyter_client", "tests.docs.write_notebooks"),
        *("ipykernel", "pandas"),
    )
)

TEXTS = notebooks.texts()
NAMES = [one.stem for one in TEXTS]
CHECK = re.compile(r"checks\.\w+\(")
HANGS_AFTER_S = 600
KERNELS = 2
EXERCISES, RIGHT = 2, "Right."
QUICKEST = "01_one_request"
TIMED = {"02_latency_adds_up": 1, "03_when_a_service_dies": 1, "07_your_own_outage": 1}
"""Exercises whose right answer a busy machine may spoil, because it is read off a measured run.
`test_checks_of_notebooks.py` tests the checks of 02 and 03 without a clock."""
UNHURRIED = "import checks; from tests.programs.unhurried import be_unhurried; be_unhurried()"


def executed(notebook: Any, folder: Path) -> Any:
    """The notebook with its outputs, run in its own folder and by its own kernel."""
    folder /= "notebooks"
    shutil.copytree(notebooks.FOLDER / "checks", folder / "checks")
    manager = jupyter_client.AsyncKernelManager(kernel_name="python3")
    client = nbclient.NotebookClient(
        notebook, km=manager, timeout=HANGS_AFTER_S, resources={"metadata": {"path": str(folder)}}
    )
    pids: list[int] = []
    client.on_cell_start = lambda **_: pids.append(manager.provisioner.pid)
    client.execute(env=environment(PYTHONPATH=str(ROOT), IPYTHONDIR=str(folder.parent / "ipython")))
    eventually(lambda: not list(find_processes(pids[0])), "no process left")
    assert {path.name for path in folder.iterdir()} <= {"checks", "mine"}
    return notebook


def worked_through(source: Path) -> Any:
    """The saved notebook, with a cell after the check of each exercise that repeats it, solved."""
    notebook, solved, used = notebooks.made(source), [], []
    cells = [nbformat.v4.new_code_cell(UNHURRIED)]
    for cell in notebook.cells:
        cells.append(cell)
        text = cell.source
        for old, new in SOLUTIONS[source.stem].items():
            used += [old] * text.count(old)
            text = text.replace(old, new)
        if text != cell.source:
            solved.append(text)
        elif cell.cell_type == "code" and CHECK.search(text):
            assert solved, f"nothing is solved before {text!r}"
            cells += map(nbformat.v4.new_code_cell, (*solved, text))
            solved = []
    assert sorted(used) == sorted(SOLUTIONS[source.stem]), "each stands in it once"
    notebook.cells = cells
    return notebook


def shown(source: Path, folder: Path) -> str:
    """The output of every cell, as text."""
    outputs = []
    for cell in executed(worked_through(source), folder).cells:
        for one in cell.get("outputs", []):
            assert one["output_type"] != "error", one
            outputs.append(one.get("text") or one.get("data", {}).get("text/plain", ""))
    return "\n".join(outputs)


def test_all_notebooks_are_there_in_pairs() -> None:
    assert sorted(one.stem for one in notebooks.FOLDER.glob("*.ipynb")) == NAMES
    assert NAMES[:2] == ["00_from_scratch", "01_one_request"]


@pytest.mark.parametrize("source", TEXTS, ids=NAMES)
def test_a_notebook_is_what_its_text_says_without_outputs(source: Path) -> None:
    kept = notebooks.notebook_of(source).read_text("utf-8")
    assert kept == notebooks.written(source), "write it anew: make notebooks"
    notebook = nbformat.reads(kept, as_version=4)
    nbformat.validate(notebook)
    assert not any(one.get("outputs") or one.get("execution_count") for one in notebook.cells)


@pytest.mark.parametrize("source", TEXTS, ids=NAMES)
def test_a_notebook_has_a_claim_a_prediction_and_two_exercises(source: Path) -> None:
    cells = notebooks.made(source).cells
    prose = "\n".join(one.source for one in cells if one.cell_type == "markdown")
    assert "**The claim.**" in prose
    headings = re.findall(r"^## (.+)$", prose, re.MULTILINE)
    for wanted in ("Predict", "What you have seen", "Exercise 1", "Exercise 2"):
        assert wanted in headings
    code = [one.source for one in cells if one.cell_type == "code"]
    assert len([one for one in code if CHECK.search(one)]) == EXERCISES
    for one in code:
        compile(one, source.name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.fixture(scope="module")
def results(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Future[str]]]:
    """The selected notebooks, started one after the other, several kernels at once: a notebook
    mostly waits for a phase to end."""
    asked = [one.callspec.params for one in request.session.items if hasattr(one, "callspec")]
    wanted = {one["worked"] for one in asked if "worked" in one}
    with ThreadPoolExecutor(KERNELS) as kernels:
        yield {
            source.stem: kernels.submit(shown, source, tmp_path_factory.mktemp(source.stem))
            for source in sorted(wanted)
        }


@pytest.mark.timeout(3 * HANGS_AFTER_S)
@pytest.mark.parametrize(
    "worked",
    [
        pytest.param(one, id=one.stem, marks=[] if one.stem == QUICKEST else pytest.mark.slow)
        for one in TEXTS
    ],
)
def test_a_notebook_runs_and_its_exercises_can_be_solved(
    worked: Path, results: Mapping[str, Future[str]]
) -> None:
    text = results[worked.stem].result()
    assert "INVALID" not in text
    right, timed = text.count(RIGHT), TIMED.get(worked.stem, 0)
    assert EXERCISES - timed <= right <= EXERCISES, text[-2_000:]
    asked = len(re.findall(r"^(?:No answer yet|Not yet)\.$", text, re.MULTILINE))
    assert asked + right == 2 * EXERCISES
