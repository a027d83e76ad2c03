"""How the lab's objects show themselves: as a table in a notebook, as text everywhere else.

What only some people need: asked for when it is needed, and missed in one clear sentence.
"""

from importlib import import_module
from typing import Any

from lab.report.html import notebook

# ── How the lab's objects show themselves: as a table in a notebook, as text everywhere else.


class Shown:
    """Says what it is in `_text`, lines as a terminal has them, and in `_html`."""

    def _text(self) -> str:
        raise NotImplementedError

    def _html(self) -> str:
        return notebook.piece(notebook.as_pre(self._text()))

    def __str__(self) -> str:
        return notebook.printable(self._text())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """IPython's way of asking: both forms, and the front end takes what it can show."""
        return {"text/plain": str(self), "text/html": self._html()}


# ── What only some people need: asked for when it is needed, and missed in one clear sentence.


class MissingExtra(ImportError):
    """A library that the lab runs without is needed for this, and not installed."""


def pandas(for_what: str) -> Any:
    """The module. Raises MissingExtra."""
    return _extra("pandas", for_what)


def _extra(name: str, for_what: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise MissingExtra(
            f"{for_what} needs {name}, which is not installed here. Try: pip install {name}"
        ) from None
