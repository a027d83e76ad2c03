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

from lab.cluster.forkserver import die_with_the_parent, outlive_the_parent, take_in_orphans
from lab.cluster.process_tree import MARK, end_family, family, mark_of, tell_family
from lab.support.parent_watch import EXIT_STATUS, LIFELINE

# ── Bounded log

MOST_BYTES = 1024 * 1024
KEPT_BYTES = 256 * 1024


class BoundedLog:
    """Writes to the descriptor `fd`, and keeps the newest output, so that it can't fill a disk.

    `path`: the file of `fd`. Before it grows beyond MOST_BYTES it is cut to its last KEPT_BYTES.
    None: `fd` is not a file, and nothing is cut.
    """

    def __init__(self, fd: int, path: Path | None) -> None:
        self._fd, self._path = fd, path
        self._size = path.stat().st_size if path else 0
        self._left_out = 0

    def write(self, said: bytes) -> None:
        """Append. Output that can't be written (a full disk) is lost."""
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


# ── Wrapper

ENVIRONMENT = "LAB_SERVICE_ENV"
"""Variables of the service, as a JSON object; null removes a variable."""

GRACE_S = 1.2
NOT_STARTED = 127
_LOOK_EVERY_S = 0.2
_OURS = ("LAB_TOKEN", LIFELINE, ENVIRONMENT)


class Keeper:
    """One command and all processes that it starts."""

    def __init__(
        self, command: Sequence[str], cwd: Path, env: Mapping[str, str], log: BoundedLog
    ) -> None:
        self._command, self._cwd, self._env, self._log = command, cwd, env, log
        self._me = os.getpid()
        self._main = 0
        self._status: int | None = None
        self._over = self._lab_is_gone = False
        self._kill_at_s: float | None = None
        self._heard, self._says = os.pipe()
        os.set_blocking(self._heard, False)
        self._wake, self._wakes = socket.socketpair()
        self._wake.setblocking(False)
        self._wakes.setblocking(False)

    def run(self) -> int:
        """Start the command, wait until all its processes have ended, return the exit status."""
        outlive_the_parent()
        take_in_orphans()
        signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)
        # Not SIG_IGN, which the service would inherit.
        for number in (signal.SIGCHLD, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask_them_to_end)
        if not self._start():
            return NOT_STARTED
        with selectors.DefaultSelector() as selector:
            selector.register(self._heard, selectors.EVENT_READ, self._listen)
            selector.register(self._wake, selectors.EVENT_READ, self._woken)
            if (lifeline := _lifeline()) is not None:
                selector.register(lifeline, selectors.EVENT_READ, self._lose_the_lab)
            self._selector = selector
            while not self._over:
                for key, _ in selector.select(self._patience_s()):
                    key.data()
                self._look()
        self._listen()
        return EXIT_STATUS if self._lab_is_gone else self._exit_status()

    def _start(self) -> bool:
        try:
            started = subprocess.Popen(
                self._command,
                cwd=self._cwd,
                env={**self._env, MARK: mark_of(self._me)},
                stdin=subprocess.DEVNULL,
                stdout=self._says,
                stderr=self._says,
                process_group=0,  # A service that signals its group must not hit the wrapper.
                preexec_fn=die_with_the_parent,
            )
        except OSError as error:
            self._note(_why_not(self._command[0], self._cwd, error))
            return False
        finally:
            os.close(self._says)
        self._main, started.returncode = started.pid, 0  # _reap() waits for it, not Popen.
        return True

    def _listen(self) -> None:
        """Copy at most 64 KiB of output to the log, so that nothing else has to wait."""
        with suppress(BlockingIOError):
            said = os.read(self._heard, 65536)
            if said:
                self._log.write(said)
            elif not self._over:
                self._selector.unregister(self._heard)

    def _woken(self) -> None:
        with suppress(BlockingIOError):
            while self._wake.recv(4096):
                pass

    def _patience_s(self) -> float | None:
        if self._kill_at_s is not None:
            return max(0.0, min(_LOOK_EVERY_S, self._kill_at_s - time.perf_counter()))
        # Only Linux gives orphans to the wrapper. Elsewhere no signal says when the last one ends.
        unseen = self._status is not None and sys.platform != "linux"
        return _LOOK_EVERY_S if unseen else None

    def _look(self) -> None:
        """Reap processes that have ended; kill the others when their grace period is over."""
        none_left = self._reap()
        if none_left and (sys.platform == "linux" or not family(self._me)):
            self._over = True
        elif self._kill_at_s is not None and time.perf_counter() >= self._kill_at_s:
            end_family(self._me)
            self._kill_at_s = time.perf_counter() + _LOOK_EVERY_S

    def _reap(self) -> bool:
        """Reap all children that have ended. Returns whether no child is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == self._main:
                self._status = os.waitstatus_to_exitcode(status)

    def _ask_them_to_end(self, *_: object) -> None:
        if self._kill_at_s is None:
            self._kill_at_s = time.perf_counter() + GRACE_S
            tell_family(self._me, signal.SIGTERM)

    def _lose_the_lab(self) -> None:
        end_family(self._me)
        self._over = self._lab_is_gone = True

    def _exit_status(self) -> int:
        if self._kill_at_s is not None or self._status is None:
            return 0
        if self._status < 0:
            self._note(f"{self._command[0]} was ended by signal {-self._status}.")
            return 128 - self._status
        return self._status

    def _note(self, sentence: str) -> None:
        self._log.write(f"{sentence}\n".encode())


def _why_not(program: str, cwd: Path, error: OSError) -> str:
    if not cwd.is_dir():
        return f"There is no folder {cwd} to start it in."
    if isinstance(error, FileNotFoundError):
        where = f"in {cwd}" if "/" in program else "on the PATH"
        return f"There is no program {program!r} {where}. Is it installed, and spelled so?"
    if isinstance(error, PermissionError):
        return f"{program!r} may not be run. Is it a program, and marked as one (chmod +x)?"
    return f"{program!r} can't be started: {error.strerror or error}."


def _lifeline() -> int | None:
    text = os.environ.get(LIFELINE, "")
    with suppress(OSError, ValueError):
        os.fstat(int(text))
        return int(text)
    return None


def _environment() -> dict[str, str]:
    """The environment of the service: the wrapper's, without the lab's variables, with its own."""
    own: Mapping[str, str | None] = json.loads(os.environ.get(ENVIRONMENT, "{}"))
    env = {name: value for name, value in os.environ.items() if name not in (*_OURS, *own)}
    return env | {name: value for name, value in own.items() if value is not None}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m lab.external.wrapper",
        description="Starts a service that is not the lab's, and ends all that it has started.",
    )
    parser.add_argument("--cwd", type=Path, default=Path(), help="where the command is started (.)")
    parser.add_argument(
        "--log", type=Path, help="the file that standard output goes to; it is cut when it is long"
    )
    parser.add_argument("command", nargs="+", help="the command and its words, behind --")
    told = parser.parse_args(argv)
    keeper = Keeper(told.command, told.cwd, _environment(), BoundedLog(1, told.log))
    sys.exit(keeper.run())


if __name__ == "__main__":
    main()
