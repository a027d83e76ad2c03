"""Errors of a run that was not possible, or not honest.

    LabCannotRun            exit code 3: there is no result, so none is shown
    ├── PortTaken           another program has the port of a service
    ├── NoReusePort         the system can't share a port between two sockets
    ├── StartFailed         a program ended before it was ready
    ├── NotReady            a program runs, but does not report that it is ready
    ├── NotRunning          a program that does not run was to be signalled or looked up
    ├── SignalFailed        a signal was sent, but its effect was not seen
    ├── FaultsRemain        a run was stopped, and an attached blog still has a fault
    └── ForkServerLost      the fork server, which starts all others, has ended

Each message says what was seen, what was expected, and what to try next.
"""

from collections.abc import Sequence


class LabCannotRun(Exception):
    """The base class: the lab could not run honestly."""

    exit_code = 3


class PortTaken(LabCannotRun):
    """Port `port` of 127.0.0.1 is in use by `owner` ("nginx, pid 12"); None if unknown."""

    def __init__(self, port: int, owner: str | None) -> None:
        self.port, self.owner = port, owner
        owner_text = owner or "a program that the system does not name to us"
        super().__init__(
            f"Port {port} is taken by {owner_text}; a service of the lab wants to listen there. "
            "End that program, or choose another port. "
            "`lab doctor` lists what an earlier run left behind."
        )


class NoReusePort(LabCannotRun):
    """The system does not let two sockets of one user share a port."""

    def __init__(self) -> None:
        super().__init__(
            "This system does not know SO_REUSEPORT, with which the lab keeps the port of a "
            "service while that is down. WSL 1 and gVisor lack it: use WSL 2, a virtual machine, "
            "or another container runtime. `lab doctor` shows whether a machine has it."
        )


class StartFailed(LabCannotRun):
    """`name` ended with `status` (negative: by that signal; None: it did not start at all)."""

    def __init__(self, name: str, status: int | None, last_lines: Sequence[str]) -> None:
        self.name, self.status, self.last_lines = name, status, tuple(last_lines)
        seen = f"{name} {describe_exit(status)} before it was ready."
        super().__init__(f"{seen} {_log_excerpt(last_lines)}")


class NotReady(LabCannotRun):
    """`name` still runs after `within_s` seconds, but its health URL has not responded with 200."""

    def __init__(
        self, name: str, within_s: float, reason: str | None, last_lines: Sequence[str]
    ) -> None:
        self.name, self.reason, self.last_lines = name, reason, tuple(last_lines)
        seen = f"{name} was not ready within {within_s:g} s: {reason or 'it does not answer'}."
        super().__init__(f"{seen} {_log_excerpt(last_lines)}")


class NotRunning(LabCannotRun):
    """`name` was never started, or has ended."""


class SignalFailed(LabCannotRun):
    """A signal was sent, but its effect was not seen."""


class FaultsRemain(LabCannotRun):
    """A run at an attached blog was stopped, and one of its faults could not be removed."""


class ForkServerLost(LabCannotRun):
    """The fork server ended by itself; its children ended with it."""

    def __init__(self, last_lines: Sequence[str] = ()) -> None:
        super().__init__(
            "The lab's fork server, the parent of all its services, has ended, and they with it. "
            f"Was it killed by hand, or for want of memory? {_log_excerpt(last_lines)}"
        )


def describe_exit(status: int | None) -> str:
    """An exit status in words: "exited with status 1", "was ended by signal 9"."""
    if status is None:
        return "could not be started"
    return f"was ended by signal {-status}" if status < 0 else f"exited with status {status}"


def _log_excerpt(last_lines: Sequence[str]) -> str:
    if not last_lines:
        return "Its log is empty."
    return "\n  ".join(["The end of its log:", *last_lines])
