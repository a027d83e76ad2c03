"""Minimal servers to compare with, each in a new process, with only the library's own code."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench.running import program

_BARE = """
import asyncio
from aiohttp import web

async def main():
    async def handler(request):
        return web.json_response({"id": "0", "title": "A post"})
    app = web.Application()
    app.router.add_get("/posts/0", handler)
    app.router.add_get("/feed", handler)
    async def posts(request):
        return web.json_response([{"id": "0", "title": "A post", "comments": []}])
    app.router.add_get("/posts", posts)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@contextmanager
def bare_aiohttp() -> Iterator[str]:
    """The URL of an aiohttp server whose handler does nothing."""
    with program(sys.executable, "-c", _BARE) as (_, url):
        yield url
