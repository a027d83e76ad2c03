"""The wrapper process: starts an external service, and ends every process that it has started.

`python -m lab.external.wrapper --cwd course/comments -- npm start`

An external service may fork, daemonise, ignore SIGTERM, print without end, or leave processes
behind. So the lab starts it through this small process. On Linux the wrapper adopts all orphans
below it, and exits only when the last of them has ended. It copies their output to a log of bounded
size. On SIGTERM it sends SIGTERM to all of them, and SIGKILL after GRACE_S to those that still run.
When the lab is gone (the lifeline closes), it kills them at once. If the wrapper itself is killed,
its fork server kills them.
"""

import argparse
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from lab.cluster.forkserver import become_subreaper, set_parent_death_signal, survive_parent_death
from lab.cluster.process_tree import MARK, descendants, kill_tree, mark_of, signal_tree
from lab.support.parent_watch import EXIT_STATUS, LIFELINE

# ── Bounded log

MAX_BYTES = 1024 * 1024
KEEP_BYTES = 256 * 1024


class BoundedLog:
    """Writes to the descriptor `fd`, and keeps the newest output, so that it can't fill a disk.

    `path`: the file of `fd`. Before it grows beyond MAX_BYTES it is cut to its last KEEP_BYTES.
    None: `fd` is not a file, and nothing is cut.
    """

    def __init__(self, fd: int, path: Path | None) -> None:
        self._fd, self._path = fd, path
        self._size = path.stat().st_size if path else 0
        self._omitted_bytes = 0

    def write(self, data: bytes) -> None:
        """Append. Output that can't be written (a full disk) is lost."""
        try:
            if self._path and self._size + len(data) > MAX_BYTES:
                self._truncate(self._path)
            while data:
                count = os.write(self._fd, data)
                self._size += count
                data = data[count:]
        except OSError:
            return

    def _truncate(self, path: Path) -> None:
        with path.open("rb") as file:
            file.seek(max(0, self._size - KEEP_BYTES))
            kept = file.read(KEEP_BYTES)
        kept = kept[kept.find(b"\n") + 1 :]
        self._omitted_bytes += self._size - len(kept)
        note = f"[{self._omitted_bytes // 1024} KiB are left out here: this is the end of it]\n"
        os.ftruncate(self._fd, 0)
        self._size = os.write(self._fd, note.encode() + kept)


# ── Wrapper

ENVIRONMENT = "LAB_SERVICE_ENV"
"""Variables of the service, as a JSON object; null removes a variable."""

GRACE_S = 1.2
NOT_STARTED = 127
_POLL_S = 0.2
_LAB_VARIABLES = ("LAB_TOKEN", LIFELINE, ENVIRONMENT)


class ServiceWrapper:
    """One command and all processes that it starts."""

    def __init__(
        self, command: Sequence[str], cwd: Path, env: Mapping[str, str], log: BoundedLog
    ) -> None:
        self._command, self._cwd, self._env, self._log = command, cwd, env, log
        self._pid = os.getpid()
        self._main_pid = 0
        self._status: int | None = None
        self._finished = self._lab_is_gone = False
        self._kill_at_s: float | None = None
        self._output_reader, self._output_writer = os.pipe()
        os.set_blocking(self._output_reader, False)
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)

    def run(self) -> int:
        """Start the command, wait until all its processes have ended, return the exit status."""
        survive_parent_death()
        become_subreaper()
        signal.set_wakeup_fd(self._wake_writer.fileno(), warn_on_full_buffer=False)
        # Not SIG_IGN, which the service would inherit.
        for number in (signal.SIGCHLD, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._terminate)
        if not self._start():
            return NOT_STARTED
        with selectors.DefaultSelector() as selector:
            selector.register(self._output_reader, selectors.EVENT_READ, self._copy_output)
            selector.register(self._wake_reader, selectors.EVENT_READ, self._drain_wakeups)
            if (lifeline := _lifeline_fd()) is not None:
                selector.register(lifeline, selectors.EVENT_READ, self._on_lab_gone)
            self._selector = selector
            while not self._finished:
                for key, _ in selector.select(self._select_timeout_s()):
                    key.data()
                self._reap_or_kill()
        self._copy_output()
        return EXIT_STATUS if self._lab_is_gone else self._exit_status()

    def _start(self) -> bool:
        try:
            started = subprocess.Popen(
                self._command,
                cwd=self._cwd,
                env={**self._env, MARK: mark_of(self._pid)},
                stdin=subprocess.DEVNULL,
                stdout=self._output_writer,
                stderr=self._output_writer,
                process_group=0,  # A service that signals its group must not hit the wrapper.
                preexec_fn=set_parent_death_signal,
            )
        except OSError as error:
            self._write_note(_start_error(self._command[0], self._cwd, error))
            return False
        finally:
            os.close(self._output_writer)
        self._main_pid, started.returncode = started.pid, 0  # _reap() waits for it, not Popen.
        return True

    def _copy_output(self) -> None:
        """Copy at most 64 KiB of output to the log, so that nothing else has to wait."""
        with suppress(BlockingIOError):
            output = os.read(self._output_reader, 65536)
            if output:
                self._log.write(output)
            elif not self._finished:
                self._selector.unregister(self._output_reader)

    def _drain_wakeups(self) -> None:
        with suppress(BlockingIOError):
            while self._wake_reader.recv(4096):
                pass

    def _select_timeout_s(self) -> float | None:
        if self._kill_at_s is not None:
            return max(0.0, min(_POLL_S, self._kill_at_s - time.perf_counter()))
        # Only Linux gives orphans to the wrapper. Elsewhere no signal says when the last one ends.
        unseen = self._status is not None and sys.platform != "linux"
        return _POLL_S if unseen else None

    def _reap_or_kill(self) -> None:
        """Reap processes that have ended; kill the others when their grace period is over."""
        none_left = self._reap()
        if none_left and (sys.platform == "linux" or not descendants(self._pid)):
            self._finished = True
        elif self._kill_at_s is not None and time.perf_counter() >= self._kill_at_s:
            kill_tree(self._pid)
            self._kill_at_s = time.perf_counter() + _POLL_S

    def _reap(self) -> bool:
        """Reap all children that have ended. Returns whether no child is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == self._main_pid:
                self._status = os.waitstatus_to_exitcode(status)

    def _terminate(self, *_: object) -> None:
        if self._kill_at_s is None:
            self._kill_at_s = time.perf_counter() + GRACE_S
            signal_tree(self._pid, signal.SIGTERM)

    def _on_lab_gone(self) -> None:
        kill_tree(self._pid)
        self._finished = self._lab_is_gone = True

    def _exit_status(self) -> int:
        if self._kill_at_s is not None or self._status is None:
            return 0
        if self._status < 0:
            self._write_note(f"{self._command[0]} was ended by signal {-self._status}.")
            return 128 - self._status
        return self._status

    def _write_note(self, sentence: str) -> None:
        self._log.write(f"{sentence}\n".encode())


def _start_error(program: str, cwd: Path, error: OSError) -> str:
    if not cwd.is_dir():
        return f"There is no folder {cwd} to start it in."
    if isinstance(error, FileNotFoundError):
        where = f"in {cwd}" if "/" in program else "on the PATH"
        return f"There is no program {program!r} {where}. Is it installed, and spelled so?"
    if isinstance(error, PermissionError):
        return f"{program!r} may not be run. Is it a program, and marked as one (chmod +x)?"
    return f"{program!r} can't be started: {error.strerror or error}."


def _lifeline_fd() -> int | None:
    text = os.environ.get(LIFELINE, "")
    with suppress(OSError, ValueError):
        os.fstat(int(text))
        return int(text)
    return None


def _service_environment() -> dict[str, str]:
    """The environment of the service: the wrapper's, without the lab's variables, with its own."""
    own: Mapping[str, str | None] = json.loads(os.environ.get(ENVIRONMENT, "{}"))
    env = {name: value for name, value in os.environ.items() if name not in (*_LAB_VARIABLES, *own)}
    return env | {name: value for name, value in own.items() if value is not None}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m lab.external.wrapper",
        description="Starts an external service, and ends every process that it has started.",
    )
    parser.add_argument("--cwd", type=Path, default=Path(), help="where the command is started (.)")
    parser.add_argument(
        "--log", type=Path, help="the file that standard output goes to; it is cut when it is long"
    )
    parser.add_argument("command", nargs="+", help="the command and its arguments, after --")
    args = parser.parse_args(argv)
    wrapper = ServiceWrapper(
        args.command, args.cwd, _service_environment(), BoundedLog(1, args.log)
    )
    sys.exit(wrapper.run())


if __name__ == "__main__":
    main()
