"""The fork server: parent of every process of the lab. It starts, signals and kills them.

    lab ──socket──▶ fork server ──fork──▶ posts, comments, query, …

This small process is between the lab and its services for three reasons:

- *Fast start.* It imports what the services need once, then forks. A fork of a warm interpreter is
  ready in milliseconds; nine fresh interpreters on two cores take seconds. It imports while no
  message waits, and a start waits only for the imports before its own module.
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

RESET_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
NICENESS = 5
"""The niceness of what is measured: about a third of the CPU weight of what measures it."""
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class SpawnRequest:
    """One `start` message: run `main(argv)` of `module`, with output to the file `log`.

    Only programs with `high_priority` keep the normal priority.
    """

    name: str
    module: str
    argv: tuple[str, ...]
    log: str
    env: Mapping[str, str]
    high_priority: bool = False


def fork(request: SpawnRequest, *, method: str, close_fds: Iterable[int], keep_fd: int) -> int:
    """Start a process and return its pid. Call it from the main and only thread.

    `close_fds`: the fork server's own file descriptors. `keep_fd`: the descriptor that the child
    needs.
    Raises OSError when the system has no room for another process.
    """
    # Between the fork and the reset of the handlers, the child would handle a signal as the fork
    # server does, so the signal would be lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, RESET_SIGNALS)
    fork_server_pid = os.getpid()
    try:
        pid = os.fork()
        if pid == 0:
            _run_child(
                request,
                fork_server_pid=fork_server_pid,
                method=method,
                close_fds=close_fds,
                keep_fd=keep_fd,
            )
        with suppress(OSError):
            os.setpgid(pid, pid)  # The child does it too; the first one counts.
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, RESET_SIGNALS)
    return pid


def _run_child(
    request: SpawnRequest,
    *,
    fork_server_pid: int,
    method: str,
    close_fds: Iterable[int],
    keep_fd: int,
) -> NoReturn:
    status = 1
    try:
        _detach(request, fork_server_pid, close_fds, keep_fd)
        if method == "exec":
            command = [sys.executable, "-P", "-m", request.module, *request.argv]
            os.execve(sys.executable, command, os.environ)
        gc.enable()
        sys.argv = [request.module, *request.argv]
        main: Callable[[list[str]], object] = importlib.import_module(request.module).main
        main(list(request.argv))
        status = 0
    except SystemExit as end:
        status = _exit_status(end)
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


def _detach(
    request: SpawnRequest, fork_server_pid: int, close_fds: Iterable[int], keep_fd: int
) -> None:
    """Detach the process from the fork server; they share only the session and the lifeline."""
    with suppress(OSError):
        # A new process group, so that what the program starts is ended with it. But the same
        # session: when the fork server ends, the group is orphaned, and the kernel sends SIGHUP
        # and SIGCONT to a group with suspended processes.
        os.setpgid(0, 0)
    _end_with_fork_server(fork_server_pid)
    if not request.high_priority:
        # Busy services would delay the load generator, which does little but must be on time; the
        # figures of such a run would mean nothing. All services get the same niceness.
        os.nice(NICENESS)
    signal.set_wakeup_fd(-1)
    for number in RESET_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, RESET_SIGNALS)
    for fd in close_fds:
        os.close(fd)
    os.set_inheritable(keep_fd, True)
    # Standard input is inherited from the fork server: /dev/null.
    log = os.open(request.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)  # keeps a killed program's last lines
    os.environ.update(request.env)
    set_process_title(request.name)


def _exit_status(error: SystemExit) -> int:
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    sys.stderr.write(f"{error.code}\n")
    return 1


def _end_with_fork_server(fork_server_pid: int) -> None:
    """Linux: let the kernel kill this process when the fork server ends, even while suspended.

    Elsewhere this does nothing.
    """
    if sys.platform != "linux":
        return
    set_parent_death_signal()
    if os.getppid() != fork_server_pid:  # It ended before the call above.
        os._exit(1)


def set_parent_death_signal() -> None:
    """Linux: let the kernel kill this process when the thread that started it ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def survive_parent_death() -> None:
    """Linux: undo `set_parent_death_signal`, because this process has to clean up first.

    When the fork server ends, the kernel now sends SIGCONT, so that a suspended process runs and
    notices the end of its lifeline.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGCONT)


def become_subreaper() -> None:
    """Linux: make this process a subreaper. Orphaned descendants become its children."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        with suppress(Exception):
            import ctypes

            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def set_process_title(name: str) -> None:
    """Let `ps` and `top` show "lab-comments" and not "python" (Linux; 15 characters).

    Only the part after the last dot is shown: "comments" of "async-bus.comments".
    """
    with suppress(OSError), open("/proc/self/comm", "w") as comm:
        comm.write(f"lab-{name.rpartition('.')[2]}"[:15])


# ── The fork server

ORPHANS_KILLED_WITHIN_S = 2.0
IMPORTS_AFTER_S = 0.2
"""Once programs run, the next module is imported when no message has come for this time."""
GROUP_SIGNALS = (signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT)


class ForkServer:
    """Reads messages from `lab`, starts and signals children, reports their exits."""

    def __init__(self, lab: socket.socket, method: str, preload: Sequence[str]) -> None:
        self._lab, self._method = lab, method
        self._to_import = list(preload)
        self._children: dict[str, int] = {}
        self._wrappers: set[str] = set()
        self._unread = b""
        self._stopping = False
        self._lifeline, self._lifeline_writer = os.pipe()
        self._wakeup_reader, wake = socket.socketpair()
        self._wakeup_reader.setblocking(False)
        wake.setblocking(False)
        self._wakeup_writer = wake
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # The wake-up byte is what matters.
        signal.signal(signal.SIGTERM, self._stop)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    def run(self) -> None:
        """Serve the lab until it ends; then kill every child."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._lab, selectors.EVENT_READ, self._handle_messages)
            selector.register(self._wakeup_reader, selectors.EVENT_READ, self._reap)
            parent_pidfd = _open_parent_pidfd()
            if parent_pidfd is not None:
                selector.register(parent_pidfd, selectors.EVENT_READ, self._stop)
            own_files = [
                self._lab,
                self._wakeup_reader,
                self._wakeup_writer,
                selector,
                self._lifeline_writer,
                parent_pidfd,
            ]
            self._own_fds = [_fileno(item) for item in own_files if item is not None]
            try:
                while not self._stopping:
                    events = selector.select(self._idle_s())
                    for key, _ in events:
                        key.data()
                    if not events:
                        self._import(self._to_import[0])
            finally:
                self._kill_all()

    def _idle_s(self) -> float | None:
        """How long to wait for a message before the next import; None when all are done."""
        if not self._to_import:
            return None
        return IMPORTS_AFTER_S if self._children else 0.0

    def _import(self, module: str) -> None:
        """Import the modules to preload as far as this one: all, if it is none of them."""
        end = self._to_import.index(module) + 1 if module in self._to_import else None
        for name in self._to_import[:end]:
            # If an import fails here, it fails again in the program, and its log says why.
            with suppress(Exception, SystemExit):
                importlib.import_module(name)
        del self._to_import[:end]
        gc.freeze()  # Shared pages stay shared: no child's collector touches these objects.

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _handle_messages(self) -> None:
        try:
            data = self._lab.recv(65536)
        except OSError:
            data = b""
        if not data:
            return self._stop()
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            try:
                answer = self._start(message) if message["do"] == "start" else self._signal(message)
            except (OSError, LookupError) as error:
                answer = {"error": f"{message['name']}: {error}"}
            self._send({"id": message["id"], **answer})

    def _start(self, message: dict[str, Any]) -> dict[str, Any]:
        name = message["name"]
        if name in self._children:
            raise LookupError(f"already runs, as process {self._children[name]}")
        env = {**message["env"], LIFELINE: str(self._lifeline)}
        module, argv, log = message["module"], tuple(message["argv"]), message["log"]
        request = SpawnRequest(name, module, argv, log, env, message["measures"])
        if module not in sys.modules and self._to_import:
            self._import(module)
        method = "exec" if _has_threads() else self._method
        if message["keeps"]:
            become_subreaper()
            self._wrappers.add(name)
        self._children[name] = fork(
            request, method=method, close_fds=self._own_fds, keep_fd=self._lifeline
        )
        return {"pid": self._children[name]}

    def _signal(self, message: dict[str, Any]) -> dict[str, Any]:
        # The name is looked up among the children not yet reaped: no other process has this pid.
        pid = self._children.get(message["name"])
        if pid is None:
            raise LookupError("has already ended, so there is no process to signal")
        number = message["number"]
        if number in GROUP_SIGNALS and message["name"] in self._wrappers:
            self._signal_descendants(pid, number)
        elif number in GROUP_SIGNALS:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)
        return {"pid": pid}

    def _signal_descendants(self, wrapper_pid: int, number: int) -> None:
        from lab.cluster import process_tree  # loads psutil: only for wrappers

        if number == signal.SIGKILL:
            process_tree.kill_tree(wrapper_pid, groups=[wrapper_pid])
        else:
            process_tree.signal_tree(wrapper_pid, number)

    def _reap(self) -> None:
        with suppress(BlockingIOError):
            while self._wakeup_reader.recv(4096):
                pass
        for name, pid in list(self._children.items()):
            wait_status = _reap_if_ended(pid)
            if wait_status is not None:
                if name in self._wrappers and sys.platform != "linux":
                    self._kill_marked(pid)
                self._report_exit(name, wait_status)
        self._kill_orphans()

    def _kill_marked(self, wrapper_pid: int) -> None:
        """Kill what an ended wrapper left behind, on systems without subreapers."""
        from lab.cluster import process_tree

        process_tree.kill_tree(wrapper_pid)

    def _kill_orphans(self) -> bool:
        """Kill children that the fork server did not start (their wrapper has ended); whether there
        were any."""
        if not self._wrappers:
            return False
        import psutil

        known = {*self._children.values()}
        orphans = [child for child in psutil.Process().children() if child.pid not in known]
        for orphan in orphans:
            with suppress(psutil.Error):
                orphan.kill()
            with suppress(ChildProcessError):
                os.waitpid(orphan.pid, os.WNOHANG)
        return bool(orphans)

    def _report_exit(self, name: str, wait_status: int) -> None:
        pid = self._children.pop(name)
        self._send({"exit": name, "pid": pid, "status": os.waitstatus_to_exitcode(wait_status)})

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._lab.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            self._stop()

    def _kill_all(self) -> None:
        for name, pid in self._children.items():
            with suppress(OSError):
                if name in self._wrappers:
                    self._signal_descendants(pid, signal.SIGKILL)
                else:
                    os.killpg(pid, signal.SIGKILL)
        for name, pid in list(self._children.items()):
            self._report_exit(name, os.waitpid(pid, 0)[1])
        give_up_at_s = time.perf_counter() + ORPHANS_KILLED_WITHIN_S
        while self._kill_orphans() and time.perf_counter() < give_up_at_s:
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


def _open_parent_pidfd() -> int | None:
    """A descriptor that becomes readable when the lab has ended (Linux); None elsewhere.

    The socket's end-of-file is not enough: it does not come while a process that the lab forked
    holds a copy of the lab's end of the socket.
    """
    lab_pid = int(os.environ.get("LAB_RUN", "0").partition(":")[0])
    if sys.platform == "linux" and lab_pid and lab_pid == os.getppid():
        with suppress(OSError):
            return os.pidfd_open(lab_pid)
    return None


def main(argv: list[str] | None = None) -> None:
    """`python -m lab.cluster.forkserver FD METHOD MODULE…`: the socket's descriptor, fork or exec,
    and the modules to import, each at the latest before a fork for it or a later one."""
    args: Sequence[str] = sys.argv[1:] if argv is None else argv
    if len(args) < 2 or not args[0].isdecimal():
        raise SystemExit("The lab starts its fork server itself; try `lab up` instead.")
    lab, method = socket.socket(fileno=int(args[0])), args[1]
    fork_server = ForkServer(lab, method, args[2:] if method == "fork" else ())
    set_process_title("fork-server")
    gc.disable()
    fork_server.run()


if __name__ == "__main__":
    main()
