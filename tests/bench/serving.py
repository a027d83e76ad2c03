"""The least that aiohttp can do: servers in a new process, with only the library's own code."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from tests.bench.running import program

_HEAD = """
import asyncio, sqlite3, sys, uuid
from aiohttp import web

app = web.Application()
routes = web.RouteTableDef()
"""

_CONSTANT = """
@routes.get("/posts/0")
@routes.get("/feed")
async def post(request):
    return web.json_response({"id": "0", "title": "A post"})

@routes.get("/posts")
async def posts(request):
    return web.json_response([{"id": "0", "title": "A post", "comments": []}])
"""

_SQL = """
database = sqlite3.connect(sys.argv[1] + "/bare.db", isolation_level=None)
database.executescript(
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
    "CREATE TABLE posts (id TEXT PRIMARY KEY, title TEXT NOT NULL) WITHOUT ROWID"
)

@routes.post("/posts")
async def create(request):
    post = {"id": uuid.uuid4().hex, "title": (await request.json())["title"]}
    database.execute("BEGIN IMMEDIATE")
    database.execute("INSERT INTO posts VALUES (?, ?)", (post["id"], post["title"]))
    database.execute("COMMIT")
    return web.json_response(post, status=201)

@routes.get("/posts/{id}")
async def read(request):
    select = "SELECT * FROM posts WHERE id = ?"
    for id, title in database.execute(select, (request.match_info["id"],)).fetchall():
        return web.json_response({"id": id, "title": title})
    raise web.HTTPNotFound
"""

_TAIL = """
app.add_routes(routes)

async def main():
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def bare_aiohttp_process() -> AbstractContextManager[tuple["subprocess.Popen[str]", str]]:
    """A server whose handlers return constants, and its URL."""
    return program(sys.executable, "-c", _HEAD + _CONSTANT + _TAIL)


@contextmanager
def bare_aiohttp() -> Iterator[str]:
    with bare_aiohttp_process() as (_, url):
        yield url


@contextmanager
def bare_posts(folder: str) -> Iterator[str]:
    """The URL of a server that does the SQL of `posts`: a read, and a durable write."""
    with program(sys.executable, "-c", _HEAD + _SQL + _TAIL, folder) as (_, url):
        yield url
