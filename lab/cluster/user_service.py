"""A guest: somebody's own service beside the four of a stack, which nobody was written for.

It is told what query is told, who asks or hears everybody: its port, where the bus is or whom to
ask. Its database lies in a folder of its own, so whatever it calls itself, it can't reach into
another one's.

The student's program: `python -m lab.cluster.user_service FILE …`.

Runs the `main` of a file that is no module of the lab, as one of its programs. It may write 16 MiB
into any one file, its log above all: a loop that prints must not fill the disk.

What a student's program has started by itself ends with the check, too.

The supervisor ends the programs that it has started, but a program may have started others. Those
are still of its process group, or carry the mark of the check in their environment.
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

# ── A guest: somebody's own service beside the four of a stack, which nobody was written for.

LIKE = "query"


def folder_of(stack: Stack, name: str) -> Path:
    """Where a guest's database lies."""
    return stack.data.with_name(f"{stack.data.name}-{name}")


def guest(stack: Stack, name: str, file: Path, env: Mapping[str, str]) -> Program:
    """The program of a guest that the stack has taken in, in its place among the stack's: what runs
    it is given `file` as its first word, and `env` besides. Made anew, it keeps its address."""
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
    """The arguments with these values, each option once: whoever reads them may read the first."""
    words = list(argv)
    for option, value in told.items():
        if option in words:
            words[words.index(option) + 1] = value
        else:
            words += [option, value]
    return words


# ── The student's program: `python -m lab.cluster.user_service FILE …`.

MOST_BYTES = 16 * 1024 * 1024


def main(argv: list[str] | None = None) -> None:
    path, *words = sys.argv[1:] if argv is None else argv
    file = Path(path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_BYTES, MOST_BYTES))
    # What is compiled is known by its file's second and size; a file is mended quicker than that.
    sys.dont_write_bytecode = True
    # `requests` would go to a proxy of the environment even for what is on this machine.
    os.environ["no_proxy"] = "127.0.0.1"
    sys.path.append(str(file.parent))  # behind the lab's: a file posts.py hides nothing
    spec = importlib.util.spec_from_file_location(f"student_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = program
    spec.loader.exec_module(program)
    if not callable(getattr(program, "main", None)):
        sys.exit(f"{file.name} has no function main(argv), which would start it.")
    program.main(words)


# ── What a student's program has started by itself ends with the check, too.

MARK = "LAB_EXERCISE"


def sweep(mark: str, groups: Collection[int]) -> int:
    """Kill what carries a mark, or is of one of these groups and of our own run; how many."""
    ended = 0
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            of = process.environ()
            ours = of.get(LAB_RUN, "").startswith(f"{os.getpid()}:")
            if ours and (of.get(MARK) == mark or os.getpgid(process.pid) in groups):
                process.kill()  # psutil sees to it that the pid is still the same process's
                ended += 1
    return ended


if __name__ == "__main__":
    main()
