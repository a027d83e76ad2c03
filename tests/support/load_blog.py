"""What the load's tests share: a blog in memory, a client, and waiting on conditions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from lab.load.client import Client

PATIENCE_S = 20.0  # for tests that don't mean to time out


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - a state of others, who set no event
            await asyncio.sleep(0.001)


@asynccontextmanager
async def a_client() -> AsyncIterator[Client]:
    client = Client(asyncio.get_running_loop(), max_connections=20)
    yield client
    client.close()
    await until(lambda: client.connections == 0)


@dataclass
class Blog:
    """A blog whose feed shows a write only after so many looks, and can be frozen."""

    looks_until_seen: int = 0
    posts: list[dict[str, Any]] = field(default_factory=list)
    looks: list[int] = field(default_factory=list)
    frozen: int = 0
    thawed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.thawed.set()
        self._writes = 0

    async def feed(self, request: web.Request) -> web.Response:
        limit, before = int(request.query["limit"]), request.query.get("before", "~")
        self.looks.append(limit)
        if not self.thawed.is_set():
            self.frozen += 1
            await self.thawed.wait()
        seen = [post for post in self.posts if post["from"] <= len(self.looks)]
        older = sorted((p for p in seen if p["id"] < before), key=lambda p: str(p["id"]))
        return web.json_response([self._as_read(post) for post in older[::-1][:limit]])

    def _as_read(self, post: dict[str, Any]) -> dict[str, Any]:
        decided = [
            {**c, "status": "approved" if c["from"] <= len(self.looks) else "pending"}
            for c in post["comments"]
        ]
        return {**post, "comments": decided}

    async def create_post(self, request: web.Request) -> web.Response:
        post = self.add_post((await request.json())["title"])
        return web.json_response(post, status=201)

    def add_post(self, title: str) -> dict[str, Any]:
        self._writes += 1
        first_look = len(self.looks) + self.looks_until_seen
        post = {"id": f"{self._writes:06d}", "title": title, "comments": [], "from": first_look}
        self.posts.append(post)
        return post

    async def create_comment(self, request: web.Request) -> web.Response:
        post = next((p for p in self.posts if p["id"] == request.match_info["id"]), None)
        if post is None:
            return web.json_response({"title": "no such post", "definite": True}, status=404)
        self._writes += 1
        comment = {"id": f"{self._writes:06d}", "content": (await request.json())["content"]}
        first_look = len(self.looks) + self.looks_until_seen
        post["comments"].append({**comment, "from": first_look})
        return web.json_response(comment, status=201)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_get("/feed", self.feed)
        app.router.add_post("/posts", self.create_post)
        app.router.add_post("/posts/{id}/comments", self.create_comment)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            self.thawed.set()
            await runner.cleanup()
