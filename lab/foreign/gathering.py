"""A whole answer of a foreign service, within a bound of bytes and of time."""

import asyncio

from lab.domain.errors import BadAnswer, DependencyFailed, TimedOut
from lab.foreign.answers import MOST_BYTES, too_much
from lab.foreign.question import Head, Origin, Question
from lab.foreign.upstream import Pool


class _Gathered:
    """Hears an answer and keeps it; with `head_only` no more of it than its head."""

    def __init__(self, name: str, head_only: bool) -> None:
        self._name, self._head_only = name, head_only
        self.whole: asyncio.Future[tuple[Head, bytes]] = asyncio.get_running_loop().create_future()
        self._head: Head | None = None
        self._pieces: list[bytes] = []
        self._bytes = 0

    def hear(self, head: Head | None, body: bytes, over: bool) -> None:
        if self.whole.done():
            return
        self._head = head or self._head
        self._bytes += len(body)
        self._pieces.append(body)
        if self._bytes > MOST_BYTES:
            sentence = f"{self._name} answered with {too_much()}"
            self.whole.set_exception(BadAnswer(sentence, definite=False))
        elif over or self._head_only:
            assert self._head is not None
            self.whole.set_result((self._head, b"".join(self._pieces)))

    def failed(self, failure: DependencyFailed) -> None:
        if not self.whole.done():
            self.whole.set_exception(failure)

    def hold_back(self, back: bool) -> None:
        """Nothing to hold back: the question was sent in one piece."""


async def gather(
    pool: Pool,
    origin: Origin,
    request: bytes,
    within_s: float,
    *,
    may_repeat: bool = False,
    head_only: bool = False,
) -> tuple[Head, bytes]:
    """Ask, and return the head and the body of the answer.

    Raises Unreachable (nothing was sent), TimedOut, BadAnswer (both: it may have been done).
    """
    gathered = _Gathered(pool.name, head_only)
    question = Question(origin, request, gathered, may_repeat=may_repeat)
    pool.ask(question)
    try:
        async with asyncio.timeout(within_s):
            return await gathered.whole
    except TimeoutError:
        raise TimedOut(f"{pool.name} did not answer within {within_s:g} s.") from None
    finally:
        question.drop()
