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
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil

from lab.cluster.forkserver_client import LAB_RUN
from lab.cluster.program import Program
from lab.cluster.stack import Stack

# ── Guests

TEMPLATE_SERVICE = "query"


def guest_folder(stack: Stack, name: str) -> Path:
    """The folder of a guest's database."""
    return stack.data.with_name(f"{stack.data.name}-{name}")


def add_guest_program(stack: Stack, name: str, file: Path, env: Mapping[str, str]) -> Program:
    """The program of a guest that `Stack.add_guest` has added, put among the stack's programs.

    It replaces an earlier program of the guest and keeps its address. Its module gets `file` as the
    first argument, and `env` in addition to the environment of `query`.
    """
    template = next(
        program
        for program in stack.programs
        if program.name == stack.program_name(TEMPLATE_SERVICE)
    )
    program_name = stack.program_name(name)
    options = {
        "--name": name,
        "--port": stack.urls[name].rpartition(":")[2],
        "--data": str(guest_folder(stack, name)),
        "--spans": str(template.log.with_name(f"{program_name}.spans.ndjson")),
    }
    program = replace(
        template,
        name=program_name,
        module=stack.arrangement.programs[name],
        argv=(str(file), *_replace_options(template.argv, options)),
        log=template.log.with_name(f"{program_name}.log"),
        env={**template.env, **env},
        health=f"{stack.urls[name]}/health",
    )
    others = [other for other in stack.programs if other.name != program_name]
    stack.programs = [*others, program]
    return program


def _replace_options(argv: Sequence[str], options: Mapping[str, str]) -> list[str]:
    """The arguments with these values. Each option occurs once, because a parser may read the
    first."""
    words = list(argv)
    for option, value in options.items():
        if option in words:
            words[words.index(option) + 1] = value
        else:
            words += [option, value]
    return words


# ── The user's program

MAX_FILE_BYTES = 16 * 1024 * 1024


def main(argv: list[str] | None = None) -> None:
    path, *words = sys.argv[1:] if argv is None else argv
    file = Path(path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_FILE_BYTES, MAX_FILE_BYTES))
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


def kill_leftovers(mark: str, groups: Collection[int]) -> int:
    """Kill the processes of this run that have the mark or are in one of the groups; return how
    many."""
    return _kill_processes(
        os.getpid(),
        lambda process, env: env.get(MARK) == mark or os.getpgid(process.pid) in groups,
    )


def kill_all_of(lab_pid: int) -> int:
    """Kill the processes that another lab started, which may have ended without doing so; return
    how many. Call it as soon as that lab has ended: later its pid may be that of another."""
    return _kill_processes(lab_pid, lambda process, env: True)


def _kill_processes(
    lab_pid: int, chosen: Callable[[psutil.Process, Mapping[str, str]], bool]
) -> int:
    killed = 0
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            env = process.environ()
            if env.get(LAB_RUN, "").startswith(f"{lab_pid}:") and chosen(process, env):
                process.kill()  # psutil checks that the pid still is the same process
                killed += 1
    return killed


if __name__ == "__main__":
    main()
