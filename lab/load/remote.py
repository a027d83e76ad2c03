"""The load on another machine, with its plan and its files here.

    lab.load.remote PLAN.json COMMAND…  ──stdin, stdout of COMMAND──  lab.load.remote
    here                                                              there

COMMAND starts this module there, as `ssh HOST python -m lab.load.remote` does. Both sides send
lines of JSON. No time of day is compared: this side says in how many seconds the load begins, less
half of the shortest round trip. So the load's phases and the faults, which this side times, are
apart by half a round trip at most. The load ends when its stdin does.
"""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from lab.load.generator import new_loop, run
from lab.load.plan import READY_SUFFIX, BadPlan, Plan
from lab.support.files import write_private
from lab.support.http_client import resolve_url
from lab.support.parent_watch import exit_with_parent

_ROUND_TRIPS = 5
_ENDS_WITHIN_S = 1.0
_POLL_EVERY_S = 0.01
_LONGEST_LINE = 1 << 30  # all samples are one line


def _own_version() -> str:
    try:
        return version("sync-async-lab")
    except PackageNotFoundError:
        return ""


# ── There


async def _there() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(_LONGEST_LINE)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    _print({"ready": _own_version()})
    while line := await reader.readline():
        received_s, message = perf_counter(), json.loads(line)
        if "plan" in message:
            await _follow(message["plan"] | {"start_at": received_s + message["in_s"]}, reader)
            return
        _print(message)


async def _follow(document: dict[str, Any], reader: asyncio.StreamReader) -> None:
    for variant in document["variants"]:
        variant["urls"] = {name: resolve_url(url) for name, url in variant["urls"].items()}
    interrupted = asyncio.Event()
    with TemporaryDirectory(prefix="lab-load-") as folder:
        files = {name: Path(folder, name) for name in ("samples", "progress", "summary")}
        plan = Plan.model_validate(document | files)
        watching = asyncio.create_task(_set_at_end(reader, interrupted))
        await run(plan, sys.stdout, interrupted)
        watching.cancel()
        _print({name: files[name].read_text("utf-8") for name in ("samples", "summary")})


async def _set_at_end(reader: asyncio.StreamReader, ended: asyncio.Event) -> None:
    await reader.read()
    ended.set()


def _print(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


# ── Here


class _OtherSide:
    """The command, and the lines to and from it."""

    def __init__(self, command: Sequence[str], process: asyncio.subprocess.Process) -> None:
        self._command, self._process = " ".join(command), process
        assert process.stdin
        assert process.stdout
        self._stdin, self._stdout = process.stdin, process.stdout

    async def receive(self) -> tuple[bytes, dict[str, Any]]:
        """The next line, raw and decoded. Exits the program at the end, or at another text."""
        line = await self._stdout.readline()
        if not line:
            status = await self._process.wait()
            sys.exit(f"`{self._command}` has ended with status {status}, before the load was over.")
        try:
            message = json.loads(line)
            assert isinstance(message, dict)
        except (ValueError, AssertionError):
            sys.exit(
                f"`{self._command}` printed {line[:200]!r}; expected lines of JSON. It must start "
                "`python -m lab.load.remote` and print nothing else."
            )
        return line, message

    def send(self, message: dict[str, Any]) -> None:
        self._stdin.write(json.dumps(message).encode() + b"\n")

    async def round_trip_s(self) -> float:
        sent_s = perf_counter()
        self.send({"ping": 1})
        await self.receive()
        return perf_counter() - sent_s

    async def end(self) -> None:
        self._stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), _ENDS_WITHIN_S)
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


async def _here(path: Path, command: Sequence[str]) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    exit_with_parent(loop)
    assert task
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, limit=_LONGEST_LINE
        )
    except OSError as error:
        sys.exit(f"`{' '.join(command)}` can't be started: {error.strerror}.")
    other = _OtherSide(command, process)
    try:
        await _exchange(path, other)
    finally:
        await other.end()


async def _exchange(path: Path, other: _OtherSide) -> None:
    _, first = await other.receive()
    if first.get("ready") != _own_version():
        sys.exit(
            f"The lab is {_own_version()!r} here and {first.get('ready')!r} on the machine of the "
            "load. Install the same version on both."
        )
    round_trip_s = min([await other.round_trip_s() for _ in range(_ROUND_TRIPS)])
    path.with_suffix(READY_SUFFIX).touch()
    while not path.exists():  # noqa: ASYNC110 - another process writes it
        await asyncio.sleep(_POLL_EVERY_S)
    plan = json.loads(path.read_text("utf-8"))
    other.send({"plan": plan, "in_s": plan["start_at"] - perf_counter() - round_trip_s / 2})
    progress = Path(plan["progress"])
    progress.touch()
    while "samples" not in (received := await other.receive())[1]:
        _append(progress, received[0])
    files = received[1]
    summary = json.loads(files["summary"]) | {
        "started_at": plan["start_at"],
        "round_trip_ms": round_trip_s * 1_000,
    }
    write_private(Path(plan["samples"]), files["samples"])
    write_private(Path(plan["summary"]), json.dumps(summary, indent=2) + "\n")


def _append(file: Path, line: bytes) -> None:
    with file.open("ab") as lines:
        lines.write(line)


def main(argv: Sequence[str]) -> None:
    """Exits with 0, also after SIGTERM or SIGINT; with 1 and a sentence for anything else."""
    with asyncio.Runner(loop_factory=new_loop) as runner, suppress(asyncio.CancelledError):
        if argv:
            runner.run(_here(Path(argv[0]), argv[1:]))
            return
        try:
            runner.run(_there())
        except socket.gaierror as error:
            sys.exit(f"A name of the blog has no address on the machine of the load: {error}.")
        except (BadPlan, ValueError) as error:
            sys.exit(f"The plan can't be followed there: {error}")
        except BrokenPipeError:
            pass  # the other side has gone


if __name__ == "__main__":
    main(sys.argv[1:])
