"""Files and folders that only their owner can read, written whole or not at all."""

import fcntl
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TextIO


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


def write_new(path: Path, text: str) -> None:
    """Write a text to a file that does not exist yet; an error leaves no half-written file.

    Raises FileExistsError, OSError.
    """
    with path.open("x", encoding="utf-8") as file:
        try:
            file.write(text)
            file.flush()
        except OSError:
            path.unlink()
            raise


def create_private_folder(path: Path) -> None:
    """Create a folder and its missing parents, unless it exists; a power cut does not remove them.

    A power cut takes the files in a new folder along, however well they were synced, until the
    folder above has stored the name. Raises OSError.
    """
    missing = [folder for folder in path.parents if not folder.exists()]
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Also if the folder exists: another process may have created it just now.
    for folder in {path.parent, *(folder.parent for folder in missing)}:
        sync_folder(folder)


def is_in_place(path: Path, file: BinaryIO) -> bool:
    """Whether an open file is still the one at `path`, neither removed nor replaced."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except OSError:
        return False


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on disk on return, where its file system can do that."""
    with suppress(OSError):
        sync_file(folder)


def sync_file(path: Path) -> None:
    """Have the content of a file on disk on return. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if sys.platform == "darwin":
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # a plain fsync stops at the disk's cache
        else:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
