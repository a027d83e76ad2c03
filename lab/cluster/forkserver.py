"""The fork server: parent of every process of the lab. It starts, signals and kills them.

    lab ──socket──▶ fork server ──fork──▶ posts, comments, query, …

This small process is between the lab and its services for three reasons:

- *Fast start.* It imports what the services need once, then forks. A fork of a warm interpreter is
  ready in milliseconds; nine fresh interpreters on two cores take seconds.
- *Signals reach the right process.* Only a parent can be sure that a pid still means its child: the
  kernel does not reuse the number before the parent has reaped the child. So all signals are sent
  from here.
- *No process is left behind.* When the lab ends, in whatever way, its socket reaches end-of-file,
  and the fork server kills every child. SIGKILL also ends suspended processes. If the fork server
  itself is killed, the kernel or the lifeline (`lab.support.parent_watch`) ends its children.

It has one thread and no event loop, because a fork copies only the thread that calls it.

Messages are JSON lines. From the lab:

    {"id": 1, "do": "start", "name": …, "module": …, "argv": […], "log": …, "env": {…}, "keeps": …,
     "measures": …}
    {"id": 2, "do": "signal", "name": …, "number": 9}

A program that `keeps` others is a wrapper (`lab.external.wrapper`): SIGSTOP and SIGCONT go to its
descendants only, because the wrapper has to watch its lifeline. SIGKILL goes to all of them.

To the lab: {"id": 1, "pid": …} or {"id": 1, "error": …}; and, when a child has ended,
{"exit": name, "pid": …, "status": …} (status: exit code, or minus the signal's number).

A forked child continues in the same interpreter with everything imported (method "fork"), or
replaces itself by a fresh interpreter (method "exec") where forking a used interpreter is not safe.
`subprocess` offers only the second. Both take the same steps before that, so both are ended by the
same means.
"""

import ctypes  # noqa: F401 (each child needs it: imported once, before the forks)
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from lab.support.parent_watch import LIFELINE

# ── From the fork to the program's first line

RESET = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
GIVES_WAY = 5
"""The niceness of what is measured: about a third of the CPU weight of what measures it."""
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Order:
    """One `start` message: run `main(argv)` of `module`, with output to the file `log`.

    Only programs that have `measures` set keep the normal priority.
    """

    name: str
    module: str
    argv: tuple[str, ...]
    log: str
    env: Mapping[str, str]
    measures: bool = False


def fork(order: Order, *, method: str, close: Iterable[int], keep: int) -> int:
    """Start a process and return its pid. Call it from the main and only thread.

    `close`: the fork server's own file descriptors. `keep`: the descriptor that the child needs.
    Raises OSError when the system has no room for another process.
    """
    # Between the fork and the reset of the handlers, the child would handle a signal as the fork
    # server does, so the signal would be lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, RESET)
    nursery = os.getpid()
    try:
        pid = os.fork()
        if pid == 0:
            _become(order, nursery=nursery, method=method, close=close, keep=keep)
        with suppress(OSError):
            os.setpgid(pid, pid)  # The child does it too; the first one counts.
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
        # Not sys.exit: the frames of the fork server are still below us on the stack.
        os._exit(status)


def _separate(order: Order, nursery: int, close: Iterable[int], keep: int) -> None:
    """Detach the process from the fork server; they share only the session and the lifeline."""
    with suppress(OSError):
        # A new process group, so that what the program starts is ended with it. But the same
        # session: when the fork server ends, the group is orphaned, and the kernel sends SIGHUP
        # and SIGCONT to a group with suspended processes.
        os.setpgid(0, 0)
    _die_with(nursery)
    if not order.measures:
        # Busy services would delay the load generator, which does little but must be on time; the
        # figures of such a run would mean nothing. All services get the same niceness.
        os.nice(GIVES_WAY)
    signal.set_wakeup_fd(-1)
    for number in RESET:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, RESET)
    for fd in close:
        os.close(fd)
    os.set_inheritable(keep, True)
    # Standard input is inherited from the fork server: /dev/null.
    log = os.open(order.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)  # keeps a killed program's last lines
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
    """Linux: let the kernel kill this process when the fork server ends, even while suspended.

    Elsewhere this does nothing.
    """
    if sys.platform != "linux":
        return
    die_with_the_parent()
    if os.getppid() != nursery:  # It ended before the call above.
        os._exit(1)


def die_with_the_parent() -> None:
    """Linux: let the kernel kill this process when the thread that started it ends."""
    _ask_the_kernel(_PR_SET_PDEATHSIG, signal.SIGKILL)


def outlive_the_parent() -> None:
    """Linux: undo `die_with_the_parent`, because this process has to clean up first.

    When the fork server ends, the kernel now sends SIGCONT, so that a suspended process runs and
    notices the end of its lifeline.
    """
    _ask_the_kernel(_PR_SET_PDEATHSIG, signal.SIGCONT)


def take_in_orphans() -> None:
    """Linux: make this process a subreaper. Orphaned descendants become its children."""
    _ask_the_kernel(_PR_SET_CHILD_SUBREAPER, 1)


def _ask_the_kernel(what: int, value: int) -> None:
    if sys.platform == "linux":
        with suppress(Exception):
            import ctypes

            ctypes.CDLL(None).prctl(what, value, 0, 0, 0)


def show_as(name: str) -> None:
    """Let `ps` and `top` show "lab-comments" and not "python" (Linux; 15 characters).

    Only the part after the last dot is shown: "comments" of "async-bus.comments".
    """
    with suppress(OSError), open("/proc/self/comm", "w") as comm:
        comm.write(f"lab-{name.rpartition('.')[2]}"[:15])


# ── The fork server

ORPHANS_ENDED_WITHIN_S = 2.0
TO_THE_GROUP = (signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT)


class Nursery:
    """Reads messages from `lab`, starts and signals children, reports their exits."""

    def __init__(self, lab: socket.socket, method: str) -> None:
        self._lab, self._method = lab, method
        self._children: dict[str, int] = {}
        self._keepers: set[str] = set()
        self._unread = b""
        self._over = False
        self._lifeline, self._held = os.pipe()
        self._wake, wake = socket.socketpair()
        self._wake.setblocking(False)
        wake.setblocking(False)
        self._wakes = wake
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # The wake-up byte is what matters.
        signal.signal(signal.SIGTERM, self._end)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    def run(self) -> None:
        """Serve the lab until it ends; then kill every child."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._lab, selectors.EVENT_READ, self._listen)
            selector.register(self._wake, selectors.EVENT_READ, self._reap)
            watched = _watch_parent()
            if watched is not None:
                selector.register(watched, selectors.EVENT_READ, self._end)
            mine = [self._lab, self._wake, self._wakes, selector, self._held, watched]
            self._mine = [_fileno(item) for item in mine if item is not None]
            try:
                while not self._over:
                    for key, _ in selector.select():
                        key.data()
            finally:
                self._kill_all()

    def _end(self, *_: object) -> None:
        self._over = True

    def _listen(self) -> None:
        try:
            data = self._lab.recv(65536)
        except OSError:
            data = b""
        if not data:
            return self._end()
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            try:
                answer = self._start(message) if message["do"] == "start" else self._signal(message)
            except (OSError, LookupError) as error:
                answer = {"error": f"{message['name']}: {error}"}
            self._tell({"id": message["id"], **answer})

    def _start(self, message: dict[str, Any]) -> dict[str, Any]:
        name = message["name"]
        if name in self._children:
            raise LookupError(f"already runs, as process {self._children[name]}")
        env = {**message["env"], LIFELINE: str(self._lifeline)}
        module, argv, log = message["module"], tuple(message["argv"]), message["log"]
        order = Order(name, module, argv, log, env, message["measures"])
        method = "exec" if _has_threads() else self._method
        if message["keeps"]:
            take_in_orphans()
            self._keepers.add(name)
        self._children[name] = fork(order, method=method, close=self._mine, keep=self._lifeline)
        return {"pid": self._children[name]}

    def _signal(self, message: dict[str, Any]) -> dict[str, Any]:
        # The name is looked up among the children not yet reaped: no other process has this pid.
        pid = self._children.get(message["name"])
        if pid is None:
            raise LookupError("has already ended, so there is nobody to signal")
        number = message["number"]
        if number in TO_THE_GROUP and message["name"] in self._keepers:
            self._signal_family(pid, number)
        elif number in TO_THE_GROUP:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)
        return {"pid": pid}

    def _signal_family(self, keeper: int, number: int) -> None:
        from lab.cluster import process_tree as family  # loads psutil: only for wrappers

        if number == signal.SIGKILL:
            family.end_family(keeper, also=[keeper])
        else:
            family.tell_family(keeper, number)

    def _reap(self) -> None:
        with suppress(BlockingIOError):
            while self._wake.recv(4096):
                pass
        for name, pid in list(self._children.items()):
            wait_status = _reap_if_ended(pid)
            if wait_status is not None:
                if name in self._keepers and sys.platform != "linux":
                    self._end_marked(pid)
                self._forget(name, wait_status)
        self._end_orphans()

    def _end_marked(self, keeper: int) -> None:
        """Kill what an ended wrapper left behind, on systems without subreapers."""
        from lab.cluster import process_tree as family

        family.end_family(keeper)

    def _end_orphans(self) -> bool:
        """Kill children that the fork server did not start (their wrapper has ended); whether there
        were any."""
        if not self._keepers:
            return False
        import psutil

        known = {*self._children.values()}
        orphans = [one for one in psutil.Process().children() if one.pid not in known]
        for one in orphans:
            with suppress(psutil.Error):
                one.kill()
            with suppress(ChildProcessError):
                os.waitpid(one.pid, os.WNOHANG)
        return bool(orphans)

    def _forget(self, name: str, wait_status: int) -> None:
        pid = self._children.pop(name)
        self._tell({"exit": name, "pid": pid, "status": os.waitstatus_to_exitcode(wait_status)})

    def _tell(self, message: dict[str, Any]) -> None:
        try:
            self._lab.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            self._end()

    def _kill_all(self) -> None:
        for name, pid in self._children.items():
            with suppress(OSError):
                if name in self._keepers:
                    self._signal_family(pid, signal.SIGKILL)
                else:
                    os.killpg(pid, signal.SIGKILL)
        for name, pid in list(self._children.items()):
            self._forget(name, os.waitpid(pid, 0)[1])
        give_up_at_s = time.perf_counter() + ORPHANS_ENDED_WITHIN_S
        while self._end_orphans() and time.perf_counter() < give_up_at_s:
            time.sleep(0.002)  # children of a killed orphan become ours next


def _fileno(item: Any) -> int:
    return item if isinstance(item, int) else int(item.fileno())


def _reap_if_ended(pid: int) -> int | None:
    """The wait status of the child `pid`; None while it runs or is suspended."""
    if sys.platform != "darwin":
        # WNOWAIT: not reaped yet, so no other process group can have this number.
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        with suppress(OSError):
            os.killpg(pid, signal.SIGKILL)  # What it started ends with it.
    ended, wait_status = os.waitpid(pid, os.WNOHANG)
    return wait_status if ended else None


def _has_threads() -> bool:
    """Whether a preloaded module started a thread, which a fork would lose (Linux only)."""
    with suppress(OSError):
        return len(os.listdir("/proc/self/task")) > 1
    return False


def _watch_parent() -> int | None:
    """A descriptor that becomes readable when the lab has ended (Linux); None elsewhere.

    The socket's end-of-file is not enough: it does not come while a process that the lab forked
    holds a copy of the lab's end of the socket.
    """
    lab = int(os.environ.get("LAB_RUN", "0").partition(":")[0])
    if sys.platform == "linux" and lab and lab == os.getppid():
        with suppress(OSError):
            return os.pidfd_open(lab)
    return None


def main(argv: list[str] | None = None) -> None:
    """`python -m lab.cluster.forkserver FD METHOD MODULE…`: the socket's descriptor, fork or exec,
    and the modules to import before the first fork."""
    words: Sequence[str] = sys.argv[1:] if argv is None else argv
    if len(words) < 2 or not words[0].isdecimal():
        raise SystemExit("The lab starts the nursery itself; try `lab up` instead.")
    nursery = Nursery(socket.socket(fileno=int(words[0])), words[1])
    show_as("nursery")
    gc.disable()
    for module in words[2:] if words[1] == "fork" else ():
        # If an import fails here, it fails again in the program, and the program's log says why.
        with suppress(Exception, SystemExit):
            importlib.import_module(module)
    gc.freeze()  # Shared pages stay shared: no child's collector touches these objects.
    nursery.run()


if __name__ == "__main__":
    main()
