"""Runs services that users write: added to a running stack, or in an exercise's check.

A guest is a user's service in addition to the four of a stack. It gets the arguments of `query`,
the service that calls or consumes all the others: its port, and the address of the bus or of its
callees. Its database is in a separate folder, so a guest can't open the database of another
service, whatever name it has.

`python -m lab.cluster.user_service FILE …` runs the `main` of a file outside the lab. The program
may write at most 16 MiB into any one file, its log included: a loop that prints must not fill the
disk.

The supervisor ends the programs that it has started, but a user's program may have started others.
They are in its process group, or have the mark of the check in their environment; `sweep` ends
them.
"""

import importlib.util
import os
import resource
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil

from lab.cluster.forkserver_client import LAB_RUN
from lab.cluster.program import Program
from lab.cluster.stack import Stack

# ── Guests

LIKE = "query"


def folder_of(stack: Stack, name: str) -> Path:
    """The folder of a guest's database."""
    return stack.data.with_name(f"{stack.data.name}-{name}")


def guest(stack: Stack, name: str, file: Path, env: Mapping[str, str]) -> Program:
    """The program of a guest that `Stack.take_in` has added, put among the stack's programs.

    It replaces an earlier program of the guest and keeps its address. Its module gets `file` as the
    first argument, and `env` in addition to the environment of `query`.
    """
    like = next(one for one in stack.programs if one.name == stack.program(LIKE))
    called = stack.program(name)
    told = {
        "--name": name,
        "--port": stack.urls[name].rpartition(":")[2],
        "--data": str(folder_of(stack, name)),
        "--spans": str(like.log.with_name(f"{called}.spans.ndjson")),
    }
    program = replace(
        like,
        name=called,
        module=stack.arrangement.programs[name],
        argv=(str(file), *_told_instead(like.argv, told)),
        log=like.log.with_name(f"{called}.log"),
        env={**like.env, **env},
        health=f"{stack.urls[name]}/health",
    )
    stack.programs = [one for one in stack.programs if one.name != called] + [program]
    return program


def _told_instead(argv: Sequence[str], told: Mapping[str, str]) -> list[str]:
    """The arguments with these values. Each option occurs once, because a parser may read the
    first."""
    words = list(argv)
    for option, value in told.items():
        if option in words:
            words[words.index(option) + 1] = value
        else:
            words += [option, value]
    return words


# ── The user's program

MOST_BYTES = 16 * 1024 * 1024


def main(argv: list[str] | None = None) -> None:
    path, *words = sys.argv[1:] if argv is None else argv
    file = Path(path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_BYTES, MOST_BYTES))
    # Bytecode is matched to a file by the second and the size; an edit may change neither.
    sys.dont_write_bytecode = True
    # `requests` would use a proxy from the environment even for this machine.
    os.environ["no_proxy"] = "127.0.0.1"
    sys.path.append(str(file.parent))  # at the end: a file posts.py hides no module
    spec = importlib.util.spec_from_file_location(f"student_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = program
    spec.loader.exec_module(program)
    if not callable(getattr(program, "main", None)):
        sys.exit(f"{file.name} has no function main(argv), which would start it.")
    program.main(words)


# ── Processes that the user's program started

MARK = "LAB_EXERCISE"


def sweep(mark: str, groups: Collection[int]) -> int:
    """Kill the processes of this run that have the mark or are in one of the groups; return how
    many."""
    ended = 0
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            of = process.environ()
            ours = of.get(LAB_RUN, "").startswith(f"{os.getpid()}:")
            if ours and (of.get(MARK) == mark or os.getpgid(process.pid) in groups):
                process.kill()  # psutil checks that the pid still is the same process
                ended += 1
    return ended


if __name__ == "__main__":
    main()
