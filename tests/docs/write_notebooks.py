"""The notebooks from their texts: `python -m tests.docs.write_notebooks` rewrites each .ipynb.

The text (`py:percent`, in `notebooks/text/`) is what people write, review and compare. The notebook
is generated, so it has no outputs, and its cells are numbered, so that the same text gives the same
file.
"""

from pathlib import Path

import jupytext
import nbformat

FOLDER = Path(__file__).parents[2] / "notebooks"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def texts() -> list[Path]:
    """The sources, in reading order."""
    return sorted((FOLDER / "text").glob("[0-9][0-9]_*.py"))


def notebook_of(source: Path) -> Path:
    """The file of the notebook of a text."""
    return FOLDER / f"{source.stem}.ipynb"


def made(source: Path) -> nbformat.NotebookNode:
    """The notebook of a text, the same for the same text."""
    notebook = jupytext.read(source, fmt="py:percent")
    for number, cell in enumerate(notebook.cells, 1):
        cell["id"], cell["metadata"] = f"cell-{number:02}", {}
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def written(source: Path) -> str:
    """The content of the notebook's file."""
    return nbformat.writes(made(source)) + "\n"


def main() -> None:
    for source in texts():
        notebook_of(source).write_text(written(source), encoding="utf-8")


if __name__ == "__main__":
    main()
