"""What surrounds a command: its streams, the limit of open files, the space on the disk.

A command of the lab says in a sentence what is missing there; a service or a library would say it
in a traceback, or not at all.
"""

import errno
import os
import shutil
import sys
import tempfile
from pathlib import Path

ENOUGH_OPEN_FILES = 64
"""With fewer open files for each process, the lab's services do not start."""

WANTED_OPEN_FILES = 1_024
ENOUGH_BYTES = 1_000_000

_FULL = (errno.ENOSPC, errno.EDQUOT)


def open_closed_streams() -> None:
    """Open what a caller closed, as in `lab version >&-`, as the null device.

    Otherwise the next file that the lab opens gets the number of a standard stream.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            if not _is_open(number):
                _redirect_to_null(number)
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def flush_output() -> None:
    """Write out what was printed, so that an error is one of this command. Raises OSError."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def why_not_written(error: OSError) -> str | None:
    """A sentence for an error that says that there is no space left; None for another one.

    Afterwards nothing more is written to stdout, because Python would try again at its end.
    """
    if error.errno not in _FULL:
        return None
    _redirect_to_null(1)
    if error.filename:
        return f"No space is left for {error.filename}."
    return "The output could not be written to its end: no space is left where it goes."


def too_few_open_files() -> str | None:
    """Raise the limit of open files as far as this shell allows it; a sentence if that is too
    little, otherwise None."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= WANTED_OPEN_FILES:
        return None
    wanted = WANTED_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, WANTED_OPEN_FILES)
    if wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted >= ENOUGH_OPEN_FILES:
        return None
    return (
        f"This shell allows {wanted} open files for each process, and the lab needs at least "
        f"{ENOUGH_OPEN_FILES}. Open a new shell, and try there: ulimit -n {WANTED_OPEN_FILES}"
    )


def space_note() -> str | None:
    """A sentence if there is hardly any space where the lab writes; otherwise None."""
    for folder in dict.fromkeys((Path.cwd(), Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(folder).free
        if free < ENOUGH_BYTES:
            return (
                f"There is hardly any space left in {folder}: {free / 1_000:.0f} kB. Delete "
                "something there, or work in another folder."
            )
    return None


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _redirect_to_null(number: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    if null != number:
        os.dup2(null, number)
        os.close(null)
