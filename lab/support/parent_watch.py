"""The child's end of the lifeline: a program notices that the lab has ended, and exits.

The fork server holds the only write end of a pipe and never writes; every program holds the read
end. When the fork server ends, in whatever way, the kernel closes the write end, and the read end
reaches end-of-file. No message has to be sent, so none can be forgotten. (A suspended program can't
read: `lab.cluster.forkserver` says how it is ended.)
"""

import asyncio
import os
import threading

LIFELINE = "LAB_LIFELINE"
EXIT_STATUS = 70


def exit_with_parent(loop: asyncio.AbstractEventLoop | None = None) -> bool:
    """End this process at once when the lab has ended.

    With a loop, the loop watches; without, a daemon thread does. Returns whether there is a
    lifeline to watch: a program started by hand has none, and runs until it is stopped.
    """
    text = os.environ.get(LIFELINE, "")
    if not text.isdecimal():
        return False
    fd = int(text)
    try:
        os.fstat(fd)
    except OSError:
        return False  # The variable was inherited, the pipe was not: a grandchild.
    if loop is not None:
        loop.add_reader(fd, os._exit, EXIT_STATUS)
    else:
        threading.Thread(target=_exit_at_eof, args=(fd,), name="lifeline", daemon=True).start()
    return True


def _exit_at_eof(fd: int) -> None:
    os.read(fd, 1)
    os._exit(EXIT_STATUS)
