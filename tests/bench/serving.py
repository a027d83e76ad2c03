"""Small servers to compare with, each a process of its own: nothing but what a library gives."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_BARE = """
import asyncio, sys
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
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(site._server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


@contextmanager
def bare_aiohttp() -> Iterator[str]:
    """The URL of an aiohttp server whose handler does nothing."""
    server = subprocess.Popen(
        [sys.executable, "-c", _BARE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    try:
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
    finally:
        server.communicate()
