"""From a fork to a program's first line: what a new process does before it is that program.

It takes the place of `subprocess` here because a forked child may go on in the same interpreter
with everything already imported (method "fork"), which starts a service in milliseconds, or
replace itself by a fresh one (method "exec") where forking a used interpreter is not safe.
Both take the same steps up to there, so both are ended by the same means.
"""

import gc
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

RESET = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
GIVES_WAY = 5
"""Nicer by so much is what is measured than what measures it: about a third of the weight."""
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Order:
    """One `start` message: `main(argv)` of `module` is to run, writing to the file `log`. Unless it
    `measures`, it gives way to those who do."""

    name: str
    module: str
    argv: tuple[str, ...]
    log: str
    env: Mapping[str, str]
    measures: bool = False


def fork(order: Order, *, method: str, close: Iterable[int], keep: int) -> int:
    """Start a process and return its pid. `close` are the nursery's own file descriptors, `keep`
    the one the child needs. Call it from the main and only thread.

    Raises OSError when there is no room for another process.
    """
    # A signal that came between the fork and the resetting of the handlers would be handled by
    # the child as if it were the nursery, that is, swallowed.
    signal.pthread_sigmask(signal.SIG_BLOCK, RESET)
    nursery = os.getpid()
    try:
        pid = os.fork()
        if pid == 0:
            _become(order, nursery=nursery, method=method, close=close, keep=keep)
        with suppress(OSError):
            os.setpgid(pid, pid)  # The child does it too: whoever comes first.
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, RESET)
    return pid


def _become(
    order: Order, *, nursery: int, method: str, close: Iterable[int], keep: int
) -> NoReturn:
    status = 1
    try:
        _separate(order, nursery, close, keep)
        if method == "exec":
            command = [sys.executable, "-P", "-m", order.module, *order.argv]
            os.execve(sys.executable, command, os.environ)
        gc.enable()
        sys.argv = [order.module, *order.argv]
        main: Callable[[list[str]], object] = importlib.import_module(order.module).main
        main(list(order.argv))
        status = 0
    except SystemExit as end:
        status = _status_of(end)
    except KeyboardInterrupt:
        status = 130
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        # Not sys.exit: below us on the stack is the nursery.
        os._exit(status)


def _separate(order: Order, nursery: int, close: Iterable[int], keep: int) -> None:
    """Share nothing with the nursery but its session and the lifeline."""
    with suppress(OSError):
        # A group of its own, so that what a program starts is ended with it. But in the nursery's
        # session: when the nursery dies the group is orphaned, and then the kernel itself sends
        # SIGHUP and SIGCONT to those that are suspended.
        os.setpgid(0, 0)
    _die_with(nursery)
    if not order.measures:
        # Services with their hands full would hold up a load that has little to do, but on time:
        # nothing could be said of such a run. All of them are held back alike.
        os.nice(GIVES_WAY)
    signal.set_wakeup_fd(-1)
    for number in RESET:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, RESET)
    for fd in close:
        os.close(fd)
    os.set_inheritable(keep, True)
    # Standard input is /dev/null already: the nursery's own.
    log = os.open(order.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)  # A killed program's last words are kept.
    os.environ.update(order.env)
    show_as(order.name)


def _status_of(end: SystemExit) -> int:
    if end.code is None:
        return 0
    if isinstance(end.code, int):
        return end.code & 0xFF
    sys.stderr.write(f"{end.code}\n")
    return 1


def _die_with(nursery: int) -> None:
    """Linux: be killed when the nursery dies, even while suspended. Best effort elsewhere: none."""
    if sys.platform != "linux":
        return
    die_with_the_parent()
    if os.getppid() != nursery:  # It died before we asked to be told.
        os._exit(1)


def die_with_the_parent() -> None:
    """Linux: be killed when the thread that has started this process ends."""
    _ask_the_kernel(_PR_SET_PDEATHSIG, signal.SIGKILL)


def outlive_the_parent() -> None:
    """Linux: take back that this process is killed when the nursery dies, for it has to clear up
    first. The lifeline tells it, and it is woken, should it be suspended."""
    _ask_the_kernel(_PR_SET_PDEATHSIG, signal.SIGCONT)


def take_in_orphans() -> None:
    """Linux: what stands below this process and loses its parent becomes a child of this one."""
    _ask_the_kernel(_PR_SET_CHILD_SUBREAPER, 1)


def _ask_the_kernel(what: int, value: int) -> None:
    if sys.platform == "linux":
        with suppress(Exception):
            import ctypes

            ctypes.CDLL(None).prctl(what, value, 0, 0, 0)


def show_as(name: str) -> None:
    """Let `ps` and `top` show "lab-comments" and not "python" (Linux; 15 characters).

    Of a program called "async-bus.comments", the part behind the dot: what comes first is cut.
    """
    with suppress(OSError), open("/proc/self/comm", "w") as comm:
        comm.write(f"lab-{name.rpartition('.')[2]}"[:15])
