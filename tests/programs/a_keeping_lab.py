"""A lab that runs a stray-making service under a wrapper, as a process that the tests can end.

`python -m tests.programs.a_keeping_lab FOLDER PORT HOW…`; with `suspended` among HOW, the service
is suspended. When everything is up, it prints one JSON line with the pids of the fork server and of
the wrapper, and waits.
"""

import asyncio
import json
import sys
from pathlib import Path

from lab.cluster.supervisor import Program, Supervisor
from lab.external.wrapper import ENVIRONMENT

STRAY = Path(__file__).parent / "stray.py"


def kept(name: str, folder: Path, port: int, *how: str, command: str = sys.executable) -> Program:
    log = folder / f"{name}.log"
    words = (command, str(STRAY), str(port), *how)
    return Program(
        name,
        "lab.external.wrapper",
        ("--cwd", str(folder), "--log", str(log), "--", *words),
        log,
        # As the lab does: the service must not inherit our PYTHONPATH.
        env={ENVIRONMENT: json.dumps({"PYTHONPATH": None})},
        health=f"http://127.0.0.1:{port}/",
        owns_tree=True,
    )


async def run(folder: Path, port: int, how: list[str]) -> None:
    async with Supervisor(["lab.external.wrapper"], folder) as supervisor:
        program = kept("stray", folder, port, *(one for one in how if one != "suspended"))
        await supervisor.start(program)
        if "suspended" in how:
            await supervisor.suspend("stray")
        told = {"fork_server": supervisor._fork_server.pid, "keeper": supervisor.pid("stray")}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
