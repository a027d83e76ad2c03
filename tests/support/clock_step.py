"""A wall clock that steps for some programs, as at the first synchronisation or after a suspend."""

import struct
from contextlib import AbstractContextManager
from pathlib import Path

from tests.support.preload import compile_library, preloaded


class SteppedClock:
    """The clock of all programs that are started inside `preloaded()`; `folder` has its files."""

    def __init__(self, folder: Path) -> None:
        self._step_file = folder / "clock-step"
        self._library = folder / "clock_step.so"
        self._library.write_bytes(compile_library("clock_step"))
        self._step_file.write_bytes(struct.pack("=q", 0))

    def preloaded(self) -> AbstractContextManager[None]:
        return preloaded(self._library, CLOCK_STEP_FILE=str(self._step_file))

    def set(self, ahead_s: int) -> None:
        """Step the clock to `ahead_s` seconds ahead of the true time; negative: behind it."""
        with self._step_file.open("r+b") as file:
            file.write(struct.pack("=q", ahead_s))
