"""Files that only their owner can read, written whole or not at all."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def private_file(path: Path) -> Iterator[TextIO]:
    """A UTF-8 text file that replaces `path` when the block ends; an error leaves `path` unchanged.

    A reader of `path` finds the old text or the new one, never a part. Raises OSError.
    """
    descriptor, name = tempfile.mkstemp(".part", f".{path.name}.", path.parent)  # mode 0600
    partial = Path(name)
    try:
        with open(descriptor, "w", encoding="utf-8", newline="") as file:
            yield file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_private(path: Path, text: str) -> None:
    """Write a text as `private_file` does."""
    with private_file(path) as file:
        file.write(text)
