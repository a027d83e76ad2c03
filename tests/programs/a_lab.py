"""A lab in a process that the tests can kill: it starts two services and suspends one.

When everything is up, it prints one JSON line with all pids and ports. Then argv decides: `waits`
for a signal; `raises` an exception or `ends` normally once its input ends; `forks`, so that a
second process holds a copy of the socket to the fork server, and waits.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from lab.cluster.ports import reserve
from lab.cluster.supervisor import Program, Supervisor


async def run(folder: Path, then: str) -> None:
    async with Supervisor([], folder) as supervisor:
        names = ("awake", "suspended")
        ports = {name: reserve() for name in names}
        await supervisor.start(*(hello(name, ports[name].port, folder) for name in names))
        await supervisor.suspend("suspended")
        fork = 0
        if then == "forks":
            fork = os.fork()
            if fork == 0:
                signal.pause()
        told = {
            "fork_server": supervisor._fork_server.pid,
            "fork": fork,
            "pids": [supervisor.pid(name) for name in names],
            "ports": [reserved.port for reserved in ports.values()],
        }
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
        if then in ("raises", "ends"):
            sys.stdin.readline()  # until the test has looked at this process
        if then == "raises":
            raise RuntimeError("as told")
        if then != "ends":
            await asyncio.Event().wait()


def hello(name: str, port: int, folder: Path, *more: str) -> Program:
    return Program(
        name,
        "tests.programs.hello",
        ("--port", str(port), *more),
        folder / f"{name}.log",
        health=f"http://127.0.0.1:{port}/health",
        ready_within_s=60.0,
    )


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), sys.argv[2]))
