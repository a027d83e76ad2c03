"""The notebooks are what their texts say, hold no outputs, and run from their first cell on."""

import ast
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from laboratory import eventually
from small import LATE, TRIES, environment, flat, processes_of

nbformat = pytest.importorskip("nbformat", reason="the extra `notebooks` is not installed")
pytest.importorskip("jupytext", reason="jupytext is not installed")

from tests import notebooks  # noqa: E402
from tests.solutions_of_notebooks import SOLUTIONS  # noqa: E402

TEXTS = notebooks.texts()
NAMES = [one.stem for one in TEXTS]
CHEAP = [one for one in TEXTS if one.stem == "01_one_request"]
NOTHING: Mapping[str, str] = {}
CELL_WITHIN_S = 60
ROOT = Path(__file__).parents[1]


def executed(source: Path, folder: Path, edits: Mapping[str, str] = NOTHING) -> Any:
    """The notebook with its outputs, run in a folder of its own by a kernel of its own. `edits`:
    what somebody has written in the place of what."""
    pytest.importorskip("ipykernel", reason="the extra `notebooks` is not installed")
    pytest.importorskip("pandas", reason="the extra `notebooks` is not installed")
    nbclient = pytest.importorskip("nbclient", reason="the extra `notebooks` is not installed")
    from jupyter_client import AsyncKernelManager

    notebook = notebooks.made(source)
    for old, new in edits.items():
        having = [cell for cell in notebook.cells if old in cell.source]
        assert len(having) == 1, f"{old!r} stands in {len(having)} cells"
        having[0].source = having[0].source.replace(old, new)
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
    assert len([one for one in code if re.search(r"checks\.\w+\(", one)]) == 2
    for one in code:
        compile(one, source.name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def run_from_the_first_cell_to_the_last(
    source: Path, folder: Path, edits: Mapping[str, str] = NOTHING
) -> str:
    """What it showed; once more while the machine is too busy for it."""
    for number in range(TRIES):
        place = folder / str(number)
        place.mkdir()
        text = "\n".join(outputs(executed(source, place, edits)))
        if LATE not in flat(text):
            break
    assert "INVALID" not in text
    return text


def begun_by_nobody(text: str) -> None:
    assert len(re.findall(r"^(?:No answer yet|Not yet)\.$", text, re.MULTILINE)) == 2
    assert "Right." not in text


@pytest.mark.parametrize("source", CHEAP, ids=lambda one: one.stem)
def test_a_notebook_runs_from_its_first_cell_to_its_last_and_leaves_nothing(
    source: Path, tmp_path: Path
) -> None:
    begun_by_nobody(run_from_the_first_cell_to_the_last(source, tmp_path))


@pytest.mark.soak
@pytest.mark.parametrize("source", TEXTS, ids=NAMES)
def test_every_notebook_runs_from_its_first_cell_to_its_last_and_leaves_nothing(
    source: Path, tmp_path: Path
) -> None:
    begun_by_nobody(run_from_the_first_cell_to_the_last(source, tmp_path))


@pytest.mark.soak
@pytest.mark.parametrize("source", TEXTS, ids=NAMES)
def test_the_exercises_can_be_solved(source: Path, tmp_path: Path) -> None:
    text = run_from_the_first_cell_to_the_last(source, tmp_path, SOLUTIONS[source.stem])
    assert text.count("Right.") == 2, text[-2_000:]
