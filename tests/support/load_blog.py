"""Shared by the load's tests: an in-memory blog, and a clock that advances only when all wait.

The load gets clients without sockets and the clock of its loop, so lateness, latency and timeouts
in a test do not depend on the machine.
"""

from __future__ import annotations

import asyncio
import json
import selectors
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from math import inf
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from lab.load.plan import Plan, PlanPhase, PlanVariant
from lab.support.http_client import HttpOrigin, HttpResult, ResultCallback

PATIENCE_S = 120.0  # for what should not time out
SERVICES = ("posts", "comments", "query")
NOWHERE = "http://127.0.0.1:1"
FakeAnswer = tuple[int, Any] | str
"""A status and the body; or the error: timeout, refused, reset."""


PeerHandler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def run_peer(answer: PeerHandler) -> AsyncIterator[HttpOrigin]:
    """A bare TCP server, for behaviour that no HTTP server offers."""
    transports: list[asyncio.WriteTransport] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transports.append(writer.transport)
        with suppress(asyncio.IncompleteReadError, ConnectionError):  # The client has gone.
            await answer(reader, writer)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield HttpOrigin(*server.sockets[0].getsockname())
    finally:
        server.close()
        for transport in transports:
            transport.abort()  # From Python 3.12.1 on, a server waits for all its connections.
        await server.wait_closed()


class SilentPeer:
    """A peer that never answers; counts its connections and those that the client has closed."""

    opened = closed = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        await reader.read()
        writer.close()
        self.closed += 1


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - nothing sets an event
            await asyncio.sleep(0.001)


def a_variant(name: str = "x", url: str = NOWHERE, **more: Any) -> PlanVariant:
    settings = {
        "name": name,
        "urls": dict.fromkeys(SERVICES, url),
        "seed_posts": ["000001"],
        **more,
    }
    return PlanVariant.model_validate(settings)


def a_plan(folder: Any, *variants: PlanVariant, **changed: Any) -> Plan:
    return Plan.model_validate(
        {
            **{"seed": 7, "rate": 200.0, "mix": {"read_feed": 6}, "reader_delay_s": 0},
            "phases": [PlanPhase(name="before", seconds=2)],
            "variants": variants or [a_variant("sync-chain"), a_variant("async-bus")],
            **{name: folder / name for name in ("samples", "progress", "summary")},
            **changed,
        }
    )


@dataclass
class FakeBlog:
    """A blog whose feed shows a write only after a number of reads."""

    reads_until_shown: int = 0
    posts: list[dict[str, Any]] = field(default_factory=list)
    reads: list[int] = field(default_factory=list)
    _writes: int = 0

    def answer(self, method: str, path: str, body: bytes) -> FakeAnswer:
        url = urlsplit(path)
        if method == "GET":
            query = parse_qs(url.query)
            return 200, self._feed(int(query["limit"][0]), query.get("before", ["~"])[0])
        text = json.loads(body)
        if url.path == "/posts":
            return 201, self.add_post(text["title"])
        post = next((one for one in self.posts if one["id"] == url.path.split("/")[2]), None)
        if post is None:
            return 404, {"title": "no such post", "definite": True}
        comment = self._new_item(content=text["content"])
        post["comments"].append(comment)
        return 201, comment

    def add_post(self, title: str) -> dict[str, Any]:
        self.posts.append(self._new_item(title=title, comments=[]))
        return self.posts[-1]

    def _new_item(self, **more: Any) -> dict[str, Any]:
        self._writes += 1
        return {
            "id": f"{self._writes:06d}",
            "from": len(self.reads) + self.reads_until_shown,
        } | more

    def _feed(self, limit: int, before: str) -> list[dict[str, Any]]:
        self.reads.append(limit)
        shown = [one for one in self.posts if one["from"] <= len(self.reads) and one["id"] < before]
        return [
            {**post, "comments": [self._with_status(one) for one in post["comments"]]}
            for post in sorted(shown, key=lambda post: str(post["id"]))[::-1][:limit]
        ]

    def _with_status(self, comment: dict[str, Any]) -> dict[str, Any]:
        is_decided = comment["from"] <= len(self.reads)
        return {**comment, "status": "approved" if is_decided else "pending"}


class _SkippingSelector(selectors.SelectSelector):
    """A selector that never waits: it advances the clock by the timeout instead."""

    now_s = 1_000.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "all wait for something that never comes"
            self.now_s += max(timeout, 1e-6)
        return ready


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _SkippingSelector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now_s


class LoadWorld:
    """A blog, the load's clients for it, and their clock.

    A request takes `takes_s`. Reads during `frozen` (from, until) are answered at its end. With a
    `script`, requests get its entries in order, and its last entry once it is used up.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.blog = FakeBlog()
        self.blog.add_post("the first")
        self.latency_s, self.frozen_reads = 0.001, (inf, inf)
        self.script: list[FakeAnswer] = []
        self.requests: list[tuple[str, Mapping[str, str]]] = []
        self.runner = asyncio.Runner(loop_factory=_VirtualLoop)
        self.loop = self.runner.get_loop()
        for name, module in list(sys.modules.items()):
            if name.startswith("lab.load.") and hasattr(module, "perf_counter"):
                patch.setattr(module, "perf_counter", self.loop.time)
            if name in ("lab.load.generator", "lab.load.continuous"):
                patch.setattr(module, "HttpClient", lambda loop, _: FakeClient(self))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def answer(self, method: str, path: str, body: bytes) -> FakeAnswer:
        if self.script:
            return self.script[min(len(self.requests), len(self.script)) - 1]
        return self.blog.answer(method, path, body)


class FakeClient:
    """Replaces the load's client."""

    def __init__(self, world: LoadWorld) -> None:
        self.world, self.loop = world, world.loop
        self._timers: list[asyncio.TimerHandle] = []

    def send(
        self,
        method: str,
        origin: HttpOrigin,
        path: str,
        body: bytes,
        deadline_at_s: float,
        on_done: ResultCallback,
        headers: Mapping[str, str] | None = None,
    ) -> bool:
        self.world.requests.append((method, headers or {}))
        now_s, (frozen_at_s, thawed_at_s) = self.loop.time(), self.world.frozen_reads
        is_frozen = method == "GET" and frozen_at_s <= now_s < thawed_at_s
        comes_at_s = thawed_at_s if is_frozen else now_s + self.world.latency_s
        answer = self.world.answer(method, path, body)
        if answer == "timeout" or comes_at_s > deadline_at_s:
            answer, comes_at_s = "timeout", max(now_s, deadline_at_s)

        def finish() -> None:
            at_s = self.loop.time()
            if isinstance(answer, str):
                on_done(HttpResult(0, b"", answer, at_s))
            else:
                on_done(HttpResult(answer[0], json.dumps(answer[1]).encode(), "", at_s))

        self._timers.append(self.loop.call_at(comes_at_s, finish))
        return True

    def close(self) -> None:
        for timer in self._timers:
            timer.cancel()
