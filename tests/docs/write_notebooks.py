"""The notebooks from their texts: `python -m tests.docs.write_notebooks` rewrites each .ipynb.

The text (`py:percent`) is what people write, review and compare. The notebook is generated, so it
has no outputs, and its cells are numbered, so that the same text gives the same file.
"""

from pathlib import Path

import jupytext
import nbformat

FOLDER = Path(__file__).parents[2] / "notebooks"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
PAIRED = {"formats": "ipynb,py:percent"}


def texts() -> list[Path]:
    """The sources, in reading order."""
    return sorted(FOLDER.glob("[0-9][0-9]_*.py"))


def made(source: Path) -> nbformat.NotebookNode:
    """The notebook of a text, the same for the same text."""
    notebook = jupytext.read(source, fmt="py:percent")
    for number, cell in enumerate(notebook.cells, 1):
        cell["id"], cell["metadata"] = f"cell-{number:02}", {}
    notebook.metadata = nbformat.from_dict({"jupytext": PAIRED, "kernelspec": KERNEL})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def written(source: Path) -> str:
    """The content of the notebook's file."""
    return nbformat.writes(made(source)) + "\n"


def main() -> None:
    for source in texts():
        source.with_suffix(".ipynb").write_text(written(source), encoding="utf-8")


if __name__ == "__main__":
    main()
