"""A disk that forgets at a power cut what was not synced, below real processes.

    disk = ForgetfulDisk(folder, journals)
    with disk.preloaded():  # programs that start here write through tests/programs/power_cut.c
        ...                 # run them, load them, kill them all
        disk.cut_power()    # now `folder` holds what a disk must hold, and no more

The model is POSIX's, not that of one file system: a write is on disk when a later fsync or
fdatasync of that file has returned; a name is there when its folder was synced (what breaks without
that is listed in Pillai et al., *All File Systems Are Not Created Equal*, OSDI 2014). What was not
synced is gone; or, with `survivors`, each such change stays or goes at random.
"""

import random
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.preload import compile_library, preloaded

HEADER = struct.Struct("=QQQQQ")

Survives = Callable[[], bool]
"""Whether a change that was not synced is on disk all the same."""


@dataclass
class _File:
    """`pending`: (sequence, offset, bytes) since the last sync; None for bytes cuts it there."""

    synced: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, int, bytes | None]] = field(default_factory=list)

    def sync(self, covered: int) -> None:
        for sequence, offset, data in self.pending:
            if sequence <= covered:
                self._apply(offset, data)
        self.pending = [change for change in self.pending if change[0] > covered]

    def cut(self, survives: Survives) -> int:
        """Forget what was not synced; returns the number of changes that are gone."""
        kept = [change for change in self.pending if survives()]
        for _, offset, data in kept:
            self._apply(offset, data)
        return len(self.pending) - len(kept)

    def _apply(self, offset: int, data: bytes | None) -> None:
        length = len(self.synced)
        if data is None:
            del self.synced[offset:]
            data = b""
        self.synced.extend(bytes(max(0, offset - length)))
        self.synced[offset : offset + len(data)] = data


@dataclass
class _Folder:
    """`names`: what programs see; `pending`: (sequence, name, entry) since the last sync."""

    names: "dict[str, _Entry]" = field(default_factory=dict)
    synced: "dict[str, _Entry]" = field(default_factory=dict)
    pending: "list[tuple[int, str, _Entry | None]]" = field(default_factory=list)

    def set(self, sequence: int, name: str, entry: "_Entry | None") -> None:
        _put(self.names, name, entry)
        self.pending.append((sequence, name, entry))

    def sync(self, covered: int) -> None:
        for sequence, name, entry in self.pending:
            if sequence <= covered:
                _put(self.synced, name, entry)
        self.pending = [change for change in self.pending if change[0] > covered]

    def cut(self, survives: Survives) -> int:
        kept = [change for change in self.pending if survives()]
        for _, name, entry in kept:
            _put(self.synced, name, entry)
        lost = len(self.pending) - len(kept)
        return lost + sum(entry.cut(survives) for entry in self.synced.values())


_Entry = _File | _Folder


def _put(names: dict[str, _Entry], name: str, entry: _Entry | None) -> None:
    if entry is None:
        names.pop(name, None)
    else:
        names[name] = entry


class ForgetfulDisk:
    """The files below `folder`, which must exist; `journals` is a new folder outside of it.

    All programs that write there must have ended at a power cut. `forgotten` counts the changes
    that power cuts have undone so far.
    """

    def __init__(self, folder: Path, journals: Path) -> None:
        self.folder = folder.resolve()
        self.forgotten = 0
        self._journals = journals
        journals.mkdir()
        self._library = journals / "power_cut.so"
        self._library.write_bytes(compile_library("power_cut"))
        self._files: dict[int, _File] = {}
        self._root = self._read(self.folder)

    def preloaded(self) -> AbstractContextManager[None]:
        """Programs that this process starts inside the block write to this disk."""
        return preloaded(
            self._library,
            POWER_CUT_ROOT=str(self.folder),
            POWER_CUT_JOURNAL=str(self._journals),
        )

    def cut_power(self, survivors: random.Random | None = None) -> None:
        """Put the folder back to what was synced.

        `survivors` decides for each change that was not synced whether it is there all the same;
        by default none is.
        """
        for record in sorted(self._take_records(), key=lambda one: one[0]):
            self._replay(*record)
        self.forgotten += self._root.cut(lambda: survivors is not None and survivors.random() < 0.5)
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        _write(self._root, self.folder)
        self._files = {}
        self._root = self._read(self.folder)

    def _take_records(self) -> Iterator[tuple[int, str, int, int, bytes]]:
        for journal in self._journals.glob("*.journal"):
            content, position = journal.read_bytes(), 0
            while position + HEADER.size <= len(content):
                sequence, operation, inode, argument, length = HEADER.unpack_from(content, position)
                data = content[position + HEADER.size : position + HEADER.size + length]
                position += HEADER.size + length
                if len(data) == length:  # a killed process may leave half a record
                    yield sequence, chr(operation), inode, argument, data
            journal.unlink()

    def _replay(
        self, sequence: int, operation: str, inode: int, argument: int, data: bytes
    ) -> None:
        match operation:
            case "O":
                folder, name = self._find(data.decode())
                if name not in folder.names or folder.names[name] is not self._files.get(inode):
                    self._files[inode] = _File()
                    folder.set(sequence, name, self._files[inode])
            case "M":
                folder, name = self._find(data.decode())
                folder.set(sequence, name, _Folder())
            case "W":
                self._files[inode].pending.append((sequence, argument, data))
            case "T":
                self._files[inode].pending.append((sequence, argument, None))
            case "S":
                self._files[inode].sync(argument)
            case "D":
                entry = self._root if not data else self._entry(data.decode())
                entry.sync(argument)
            case "U":
                folder, name = self._find(data.decode())
                folder.set(sequence, name, None)
            case "R":
                old, new = data.decode().split("\0")
                moved = self._entry(old)
                folder, name = self._find(old)
                folder.set(sequence, name, None)
                folder, name = self._find(new)
                folder.set(sequence, name, moved)

    def _find(self, path: str) -> tuple[_Folder, str]:
        *folders, name = path.split("/")
        folder = self._root
        for each in folders:
            inner = folder.names[each]
            assert isinstance(inner, _Folder), path
            folder = inner
        return folder, name

    def _entry(self, path: str) -> _Entry:
        folder, name = self._find(path)
        return folder.names[name]

    def _read(self, path: Path) -> _Folder:
        names: dict[str, _Entry] = {}
        for inner in path.iterdir():
            if inner.is_dir():
                names[inner.name] = self._read(inner)
            else:
                file = _File(bytearray(inner.read_bytes()))
                names[inner.name] = self._files[inner.stat().st_ino] = file
        return _Folder(names, dict(names))


def _write(folder: _Folder, path: Path) -> None:
    for name, entry in folder.synced.items():
        inner = path / name
        if isinstance(entry, _Folder):
            inner.mkdir(mode=0o700)
            _write(entry, inner)
        else:
            inner.touch(mode=0o600)
            inner.write_bytes(entry.synced)
