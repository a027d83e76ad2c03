"""Puts a student's files into running stacks: in a program's place, or beside the others as guests.

The student's program is run by `lab.exercises.student`, in a process of its own, under a token that
opens no door but its own.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab.cluster.caller import ANSWER_WITHIN_S, Answer, Caller
from lab.cluster.guest import guest
from lab.cluster.program import Program
from lab.cluster.stack import Stack
from lab.cluster.supervisor import Supervisor
from lab.cluster.topology import ARRANGEMENTS
from lab.exercises.exercise import Piece
from lab.exercises.sweeping import MARK

RUNNER = "lab.exercises.student"


class TwoKeys(Caller):
    """The lab's own requests: the student's program has a token that opens no other door."""

    def __init__(self, token: str, student: str, token_there: str) -> None:
        super().__init__(token)
        self._student, self._there = student, Caller(token_there)

    async def __call__(
        self, method: str, url: str, path: str, body: Any = None, within_s: float = ANSWER_WITHIN_S
    ) -> Answer:
        if url == self._student:
            return await self._there(method, url, path, body, within_s)
        return await super().__call__(method, url, path, body, within_s)

    def close(self) -> None:
        self._there.close()
        super().close()


@contextmanager
def placed(
    piece: Piece, file: Path, supervisor: Supervisor, folder: Path, mark: str
) -> Iterator[tuple[Stack, Program]]:
    """A stack for a piece, not yet started, and the student's program in it. What the student
    starts carries the mark."""
    with Stack(
        piece.arrangement,
        ARRANGEMENTS[piece.arrangement],
        supervisor,
        folder,
        options=piece.options,
    ) as stack:
        token = secrets.token_urlsafe(24)
        env = {"LAB_TOKEN": token, MARK: mark}
        if piece.part in stack.arrangement.programs:
            name = stack.program(piece.part)
            before = next(one for one in stack.programs if one.name == name)
            student = replace(
                before,
                module=RUNNER,
                argv=(str(file.absolute()), *before.argv),
                env={**before.env, **env},
            )
            stack.programs = [student if one is before else one for one in stack.programs]
        else:
            stack.take_in(piece.part, RUNNER)
            student = guest(stack, piece.part, file.absolute(), env)
        stack.call.close()
        stack.call = TwoKeys(stack.token, stack.urls[piece.part], token)
        yield stack, student
