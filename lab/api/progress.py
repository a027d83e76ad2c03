"""One line below a notebook's cell while a run or a search lasts; nothing anywhere else."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from lab.report.terminal.progress import PHASE_NAMES
from lab.scenarios.scenario import Scenario
from lab.support.text import plain


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, which can change what it has shown."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return hasattr(shell, "kernel")


class NotebookLine:
    """A line that changes while a cell runs."""

    def __init__(self, text: str) -> None:
        self._shown = plain(text)
        self._handle: Any = import_module("IPython.display").DisplayHandle()
        self._handle.display({"text/plain": self._shown}, raw=True)

    def show(self, text: str) -> None:
        """Replace the line."""
        if plain(text) != self._shown:
            self._shown = plain(text)
            self._handle.update({"text/plain": self._shown}, raw=True)

    def clear(self) -> None:
        """Remove the line."""
        self._handle.update({"text/plain": ""}, raw=True)


class NotebookProgress(NotebookLine):
    """Shows the phase of a run and the counts of each variant, and nothing once it is over."""

    def __init__(self, scenario: Scenario) -> None:
        self._title = plain(scenario.title or scenario.name)
        self._length_s = scenario.timeline().seconds
        self._latest: dict[str, Any] = {"phase": "starting", "t": 0.0, "variants": {}}
        super().__init__(self._line())

    def __call__(self, line: Mapping[str, Any]) -> None:
        """Show a progress line: `{"phase", "t", "variants": {name: {sent, ok, failed, …}}}`."""
        self._latest |= line
        self.show(self._line())

    def _line(self) -> str:
        phase, done_s = self._latest["phase"], min(max(0.0, self._latest["t"]), self._length_s)
        counts = (
            f"{name} {of['ok']} ok, {of['failed']} failed"
            for name, of in self._latest["variants"].items()
        )
        time = f"{done_s:.0f} of {self._length_s:.0f} s"
        words = (self._title, PHASE_NAMES.get(phase, phase), time, "; ".join(counts))
        return "   ".join(word for word in words if word)


@contextmanager
def notebook_line() -> Iterator[Callable[[str], None]]:
    """What shows a line below the cell, from its first text on; nothing outside a notebook."""
    line: NotebookLine | None = None

    def show(text: str) -> None:
        nonlocal line
        if line is None:
            line = NotebookLine(text)
        line.show(text)

    try:
        yield show if in_notebook() else lambda text: None
    finally:
        if line is not None:
            line.clear()


@contextmanager
def notebook_progress(
    scenario: Scenario, unless: bool = False
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """The display of a run. It shows nothing outside a notebook, or if `unless` says so."""
    if unless or not in_notebook():
        yield lambda line: None
        return
    progress = NotebookProgress(scenario)
    try:
        yield progress
    finally:
        progress.clear()
