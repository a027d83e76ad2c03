"""How the lab's objects show themselves: as a table in a notebook, as text everywhere else."""

from typing import Any

from lab.report import fragment


class Shown:
    """Says what it is in `_text`, lines as a terminal has them, and in `_html`."""

    def _text(self) -> str:
        raise NotImplementedError

    def _html(self) -> str:
        return fragment.piece(fragment.as_pre(self._text()))

    def __str__(self) -> str:
        return fragment.printable(self._text())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """IPython's way of asking: both forms, and the front end takes what it can show."""
        return {"text/plain": str(self), "text/html": self._html()}
