"""A log that keeps its last lines, however much is said: a million of them must not fill a disk."""

import os
from pathlib import Path

MOST_BYTES = 1024 * 1024
KEPT_BYTES = 256 * 1024


class BoundedLog:
    """Writes to the descriptor `fd`. `path`: the file behind it, which is cut when it has grown to
    MOST_BYTES, so that the last KEPT_BYTES stay; None: it is no file, and nothing is kept."""

    def __init__(self, fd: int, path: Path | None) -> None:
        self._fd, self._path = fd, path
        self._size = path.stat().st_size if path else 0
        self._left_out = 0

    def write(self, said: bytes) -> None:
        """Append; what can't be written any more (a full disk) is lost."""
        try:
            if self._path and self._size + len(said) > MOST_BYTES:
                self._cut(self._path)
            while said:
                written = os.write(self._fd, said)
                self._size += written
                said = said[written:]
        except OSError:
            return

    def _cut(self, path: Path) -> None:
        with path.open("rb") as file:
            file.seek(max(0, self._size - KEPT_BYTES))
            kept = file.read(KEPT_BYTES)
        kept = kept[kept.find(b"\n") + 1 :]
        self._left_out += self._size - len(kept)
        note = f"[{self._left_out // 1024} KiB are left out here: this is the end of it]\n"
        os.ftruncate(self._fd, 0)
        self._size = os.write(self._fd, note.encode() + kept)
