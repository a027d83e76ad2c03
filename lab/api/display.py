"""Display of the lab's objects (a table in a notebook, text elsewhere), and optional libraries."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, TypeVar, overload

from lab.report.html import notebook

T_co = TypeVar("T_co", covariant=True)

# ── Notebook display


class NotebookDisplay:
    """Displays itself: `_text` returns lines for a terminal, `_html` a table for a notebook."""

    def _text(self) -> str:
        raise NotImplementedError

    def _html(self) -> str:
        return notebook.cell_html(notebook.as_pre(self._text()))

    def __str__(self) -> str:
        return notebook.printable(self._text())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """IPython's display protocol: both forms; the front end picks the one that it can show."""
        return {"text/plain": str(self), "text/html": self._html()}


class NotebookSequence(NotebookDisplay, Sequence[T_co]):
    """Items in a fixed order, which display themselves together."""

    def __init__(self, items: Sequence[T_co]) -> None:
        self._items = tuple(items)

    @overload
    def __getitem__(self, index: int) -> T_co: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T_co]: ...
    def __getitem__(self, index: int | slice) -> T_co | Sequence[T_co]:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)


# ── Optional libraries


class MissingExtra(ImportError):
    """This needs an optional library that is not installed."""


def import_pandas(for_what: str) -> Any:
    """The pandas module. Raises MissingExtra."""
    return _import_optional("pandas", for_what)


def _import_optional(name: str, for_what: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise MissingExtra(
            f"{for_what} needs {name}, which is not installed here. Try: pip install {name}"
        ) from None
