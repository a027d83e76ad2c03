"""The notebooks are what their texts say, hold no outputs, and run from their first cell on."""

import ast
import re
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest
from jupyter_client import AsyncKernelManager

from tests.docs import write_notebooks as notebooks
from tests.support.laboratory import eventually
from tests.support.small import LATE, TRIES, environment, flat, processes_of
from tests.support.solutions_of_notebooks import SOLUTIONS

TEXTS = notebooks.texts()
NAMES = [one.stem for one in TEXTS]
CHECK = re.compile(r"checks\.\w+\(")
CELL_WITHIN_S = 60
KERNELS = 2
EXERCISES, RIGHT = 2, "Right."
ROOT = Path(__file__).parents[2]


def executed(notebook: Any, folder: Path) -> Any:
    """The notebook with its outputs, run in a folder of its own by a kernel of its own."""
    for checks in notebooks.FOLDER.glob("checks*.py"):
        shutil.copy(checks, folder)
    manager = AsyncKernelManager(kernel_name="python3")
    client = nbclient.NotebookClient(
        notebook, km=manager, timeout=CELL_WITHIN_S, resources={"metadata": {"path": str(folder)}}
    )
    own = environment(PYTHONPATH=str(ROOT), IPYTHONDIR=str(folder / "ipython"))
    pids = []

    def note_pid(**_: Any) -> None:
        if not pids:
            pids.append(manager.provisioner.pid)

    client.on_cell_start = note_pid
    client.execute(env=own)
    for pid in pids:
        eventually(lambda pid=pid: not list(processes_of(pid)), "no process left")
    assert pids
    return notebook


def worked_through(source: Path) -> Any:
    """The notebook as it is kept, and behind the check of each exercise the exercise once more, as
    somebody has solved it."""
    notebook, cells, solved, used = notebooks.made(source), [], [], []
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


def outputs(notebook: Any) -> list[str]:
    """What every cell showed, as text."""
    shown = []
    for cell in notebook.cells:
        for one in cell.get("outputs", []):
            assert one["output_type"] != "error", one
            shown.append(one.get("text") or one.get("data", {}).get("text/plain", ""))
    return shown


def test_all_notebooks_are_there_in_pairs() -> None:
    assert sorted(one.stem for one in notebooks.FOLDER.glob("*.ipynb")) == NAMES
    assert NAMES[:2] == ["00_from_scratch", "01_one_request"]


@pytest.mark.parametrize("source", TEXTS, ids=NAMES)
def test_a_notebook_is_what_its_text_says(source: Path) -> None:
    kept = source.with_suffix(".ipynb").read_text("utf-8")
    assert kept == notebooks.written(source), "write it anew: make notebooks"
    nbformat.validate(nbformat.reads(kept, as_version=4))


@pytest.mark.parametrize("source", TEXTS, ids=NAMES)
def test_a_notebook_is_kept_without_outputs(source: Path) -> None:
    kept = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    for cell in kept.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.mark.parametrize("source", TEXTS, ids=NAMES)
def test_a_notebook_has_a_claim_a_prediction_an_explanation_and_two_exercises(source: Path) -> None:
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


def shown(source: Path, folder: Path) -> str:
    """What it showed when somebody worked through it; once more where the machine was so busy that
    an exercise could not be judged."""
    for number in range(TRIES):
        place = folder / str(number)
        place.mkdir()
        text = "\n".join(outputs(executed(worked_through(source), place)))
        if text.count(RIGHT) == EXERCISES or LATE not in flat(text):
            break
    return text


@pytest.fixture(scope="module")
def results(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Future[str]]]:
    """Those that are asked for, begun one after the other, some kernels at once: most of a
    notebook's time is its waiting for a phase to end."""
    asked = [one.callspec.params for one in request.session.items if hasattr(one, "callspec")]
    wanted = {one["worked"] for one in asked if "worked" in one}
    with ThreadPoolExecutor(KERNELS) as kernels:
        yield {
            source.stem: kernels.submit(shown, source, tmp_path_factory.mktemp(source.stem))
            for source in sorted(wanted)
        }


@pytest.mark.parametrize("worked", TEXTS, ids=NAMES)
def test_a_notebook_runs_to_its_last_cell_and_its_exercises_can_be_solved(
    worked: Path, results: Mapping[str, Future[str]]
) -> None:
    text = results[worked.stem].result()
    # Two at once may make a run late. Its figures are tested elsewhere; here it is shown, and said.
    assert "INVALID" not in text or LATE in flat(text)
    assert len(re.findall(r"^(?:No answer yet|Not yet)\.$", text, re.MULTILINE)) == EXERCISES
    assert text.count(RIGHT) == EXERCISES, text[-2_000:]
