"""Requests to another service over the event bus: one event asks, another one answers.

The caller publishes a question and waits for the answer event that names the question's id (its
correlation id). No service calls another directly, but every drawback of a call remains: the
caller waits, the callee has to be up, and a chain of questions takes as long as all of them
together. Changing the transport does not change the coupling.
"""

import asyncio
import json
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from pydantic import BaseModel

from lab.bus.base import Bus, BusUnavailable, LostTail, NoLongerKept
from lab.domain.errors import TimedOut, Unreachable
from lab.domain.events import Envelope
from lab.service import deadline, tracing
from lab.service.call_counters import Tally
from lab.service.server import Shell
from lab.sync_chain.ask.http import understood

ASKED = "Asked"
ANSWERED = "Answered"
PAUSE_S = 0.05


class EventCarrier:
    """Publishes questions, and answers the questions that others publish for this service."""

    def __init__(
        self, name: str, source: str, bus: Bus, shell: Shell, timeout_s: float, tally: Tally
    ) -> None:
        self._name = name
        self._source = source
        self._bus = bus
        self._shell = shell
        self._timeout_s = timeout_s
        self._tally = tally
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: dict[str, Future[tuple[int, bytes]]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self.waits_for: str | None = "the event bus"

    def __call__(
        self, whom: str, method: str, path: str, body: BaseModel | None, query: Mapping[str, Any]
    ) -> Any:
        """Publish a question and block the calling worker until the answer event arrives.

        Raises TimedOut, Unreachable, and what `understood` raises.
        """
        timeout_s = deadline.at_most(self._timeout_s)
        patience_ms = None if deadline.left_s() is None else str(int(timeout_s * 1_000))
        question = Envelope.carrying(
            ASKED,
            subject=whom,
            data={
                "method": method,
                "path": path,
                "query": {name: str(value) for name, value in query.items()},
                "body": body.model_dump() if body is not None else None,
                "deadline_ms": patience_ms,
            },
            source=self._source,
            traceparent=tracing.traceparent(),
        )
        answer: Future[tuple[int, bytes]] = Future()
        self._waiting[question.id] = answer
        self._tally.add(whom, "attempts")
        try:
            self._put(question, timeout_s)
            status, content = answer.result(timeout_s)
        except TimeoutError:
            self._tally.add(whom, "timed_out")
            raise TimedOut(f"{whom} did not answer within {timeout_s:.4g} s.") from None
        except BusUnavailable as error:
            raise Unreachable(f"No question gets to {whom}: {error}", definite=False) from None
        finally:
            del self._waiting[question.id]
        return understood(whom, status, content)

    def _put(self, envelope: Envelope, timeout_s: float) -> None:
        """Publish an event from a worker thread; returns when the bus has acknowledged it.

        Raises BusUnavailable, or TimeoutError after `timeout_s` seconds.
        """
        if self._loop is None:
            raise BusUnavailable("this service is not connected to the bus yet.")
        told = self._bus.append([envelope.model_dump_json()])
        asyncio.run_coroutine_threadsafe(told, self._loop).result(timeout_s)

    async def run(self) -> None:
        """Consume questions to this service and answers to its own questions; never returns."""
        self._loop = asyncio.get_running_loop()
        position, mark = None, ""
        while True:
            try:
                if position is None:
                    # Begin at the head: older questions are left to time out.
                    position, mark = await self._bus.head(), ""
                self.waits_for = None
                async for batch in self._bus.read(position, mark):
                    for envelope in batch:
                        self._take(envelope)
                    position, mark = batch[-1].sequence, batch.mark
            except (LostTail, NoLongerKept):
                position = None  # Callers of questions in a lost log time out.
            except BusUnavailable:
                await asyncio.sleep(PAUSE_S)

    def _take(self, envelope: Envelope) -> None:
        if envelope.type == ANSWERED and envelope.subject in self._waiting:
            answer = self._waiting[envelope.subject]
            if not answer.done():
                content = json.dumps(envelope.data["answer"]).encode()
                answer.set_result((envelope.data["status"], content))
        elif envelope.type == ASKED and envelope.subject == self._name:
            task = asyncio.create_task(self._answer(envelope))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    async def _answer(self, question: Envelope) -> None:
        asked = question.data
        content = json.dumps(asked["body"]).encode() if asked["body"] is not None else b""
        response = await self._shell.answer_here(
            *(asked["method"], asked["path"], asked["query"], content, question.traceparent),
            caller=question.source.rpartition("/")[2],
            deadline_ms=asked.get("deadline_ms"),
        )
        if response is None:
            return
        assert isinstance(response.body, bytes)
        answer = Envelope.carrying(
            ANSWERED,
            subject=question.id,
            data={"status": response.status, "answer": json.loads(response.body)},
            source=self._source,
            traceparent=question.traceparent,
        )
        try:
            await self._bus.append([answer.model_dump_json()])
        except BusUnavailable:
            return  # the caller will time out
