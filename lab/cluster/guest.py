"""A guest: somebody's own service beside the four of a stack, which nobody was written for.

It is told what query is told, who asks or hears everybody: its port, where the bus is or whom to
ask. Its database lies in a folder of its own, so whatever it calls itself, it can't reach into
another one's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lab.cluster.program import Program
from lab.cluster.stack import Stack

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
