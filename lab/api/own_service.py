"""A student's service in a running stack: `url = await blog.add("mine/search.py")`.

The file is a program like the lab's own: a `service`, its routes, its requests or listeners, and
at the end `main = program(service)`, from `lab.async_bus.stack` or `lab.sync_chain.stack`. It
starts as a guest of the stack (`lab/cluster/user_service.py`). So it runs in the lab's server: it
has a fault filter, reports its offset, and ends with the stack.

If the file is added again, the service restarts from its current content, at the same address.
Every error in the file leads to one sentence and the last lines of the service's log.
"""

import asyncio
import re
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from lab.api.tasks import run_shielded
from lab.cluster.errors import NotReady, StartFailed, describe_exit
from lab.cluster.program import Program
from lab.cluster.stack import Stack
from lab.cluster.user_service import (
    MARK,
    MAX_FILE_BYTES,
    add_guest_program,
    guest_folder,
    kill_leftovers,
)
from lab.domain.errors import Conflict, Invalid
from lab.live.sandbox.fault_controller import PROCESS_FAULT_STATES, FaultController
from lab.support.text import plain

RUNNER = "lab.cluster.user_service"
READY_WITHIN_S = 10.0
MAX_LINE_LENGTH = 200
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,29}")


class OwnServiceFailed(Exception):
    """A student's service did not become ready. The message ends with the last lines of its log.
    Its processes have ended, and the stack goes on without it."""


class OwnServices:
    """The student's services in the stacks of one session."""

    def __init__(self) -> None:
        self._marks: dict[str, str] = {}

    async def add(
        self, stack: Stack, controller: FaultController, file: str | Path, empty: bool
    ) -> str:
        """Start a file, or restart it, and wait until it is ready; returns its URL. `empty`:
        delete its database first.

        Raises Invalid for an unsuitable file or stack, Conflict while a fault on it is active, and
        OwnServiceFailed.
        """
        path = _existing_file(file)
        name = _service_name(path, stack)
        for action in controller.faults():
            if (action.stack, action.target) == (stack.name, name):
                state = PROCESS_FAULT_STATES.get(action.kind, f"has a fault on it ({action.kind})")
                raise Conflict(f"{name} of {stack.name} {state}. Heal {name} first.")
        if name not in stack.arrangement.guests:
            stack.add_guest(name, RUNNER)
        try:
            await run_shielded(self._end(stack, name))
            program = self._program(stack, name, path, empty)
            await _start_until_ready(stack, program, path.name)
        except BaseException:
            await run_shielded(self._remove(stack, name))
            raise
        return stack.urls[name]

    def kill_leftovers(self) -> None:
        """End the processes that the services started, after the services themselves have ended."""
        for mark in self._marks.values():
            kill_leftovers(mark, ())

    def _program(self, stack: Stack, name: str, file: Path, empty: bool) -> Program:
        """The program of a service, with an empty log."""
        mark = self._marks[stack.program_name(name)] = secrets.token_hex(16)
        program = add_guest_program(stack, name, file, {MARK: mark})
        program.log.unlink(missing_ok=True)
        if empty:
            shutil.rmtree(guest_folder(stack, name), ignore_errors=True)
        return program

    async def _remove(self, stack: Stack, name: str) -> None:
        await self._end(stack, name)
        stack.remove_guest(name)

    async def _end(self, stack: Stack, name: str) -> None:
        program_name = stack.program_name(name)
        if stack.supervisor.alive(program_name):
            await stack.supervisor.kill(program_name)
        if mark := self._marks.pop(program_name, ""):
            await asyncio.to_thread(kill_leftovers, mark, ())


def _existing_file(file: str | Path) -> Path:
    path = Path(file).expanduser().absolute()
    if not path.is_file():
        raise Invalid(f"There is no file {path}. Write the service into it first.", field="file")
    return path


def _service_name(file: Path, stack: Stack) -> str:
    """The name of a service, taken from its file. Raises Invalid if the stack can't have it."""
    name, arrangement = file.stem, stack.arrangement
    if file.suffix != ".py" or not _NAME.fullmatch(name):
        raise Invalid(
            f"{file.name}: the file gives the service its name. Use small letters, digits, - "
            "and _, and .py at the end, as in search.py.",
            field="file",
        )
    if name in arrangement.programs and name not in arrangement.guests:
        raise Invalid(
            f"{name} exists already: it is a service of the blog. Give your file another name.",
            field="file",
        )
    if arrangement.ask_by == "call":
        raise Invalid(
            f"{stack.name} is one process whose parts call each other's functions: a further "
            "service gets neither requests nor events. Take another arrangement."
        )
    if arrangement.ask_by is None and not arrangement.has_replayable_log:
        raise Invalid(
            "The course's bus delivers each event once, to the subscribers it had at its start: a "
            "service that starts later gets none. Take the log: lab.up(…, bus='log')."
        )
    return name


async def _start_until_ready(stack: Stack, program: Program, file: str) -> None:
    """Start the service and wait until it is ready. Raises OwnServiceFailed."""
    try:
        await stack.supervisor.start(program, ready_within_s=READY_WITHIN_S)
    except StartFailed as error:
        message = f"{file} {describe_exit(error.status)} before it was ready."
        raise OwnServiceFailed(_with_log_end(message, program, error.last_lines)) from None
    except NotReady as error:
        why = error.reason or "it does not answer"
        message = f"{file} was not ready within {READY_WITHIN_S:g} s: {why}."
        raise OwnServiceFailed(_with_log_end(message, program, error.last_lines)) from None
    url, arrangement_name = str(program.health).removesuffix("/health"), stack.arrangement.name
    health = await stack.call("GET", url, "/health")
    state = await stack.call("GET", url, "/_lab/state")
    if not state.ok or not isinstance(health.data, dict):
        raise OwnServiceFailed(
            f"{file} says that it is ready, but it does not run in the lab's server, so faults "
            "cannot act on it, and its offset is unknown. End the file with "
            "`main = program(service)`, as lab/async_bus/query.py does."
        )
    if (service_arrangement := health.data.get("arrangement")) != arrangement_name:
        raise OwnServiceFailed(
            f"{file} is a service of {service_arrangement}, and this blog is {arrangement_name}: "
            "the two cannot talk to each other. "
            "On the bus take `program` from lab.async_bus.stack, in the chain lab.sync_chain.stack."
        )


def _with_log_end(message: str, program: Program, last_lines: Sequence[str]) -> str:
    if program.log.exists() and program.log.stat().st_size >= MAX_FILE_BYTES:
        message += f" It wrote {MAX_FILE_BYTES >> 20} MiB of output, the most that is taken."
    lines = [line for raw_line in last_lines if (line := plain(raw_line, MAX_LINE_LENGTH))]
    return "\n  ".join([f"{message} The end of its log:", *lines] if lines else [message])
