"""The page's own files: those that lie in static/, and nothing that lies anywhere else."""

from pathlib import Path

from aiohttp import web

from lab.domain.errors import NotFound

FOLDER = Path(__file__).parent / "static"

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".png": "image/png",
    ".ico": "image/x-icon",
}


async def static_file(request: web.BaseRequest) -> web.Response:
    """`/` is index.html; `/static/NAME` the file of that name. Raises NotFound."""
    name = request.path.removeprefix("/static/").removeprefix("/") or "index.html"
    # Looked up among the names that are there: no path that somebody sends is ever opened.
    known = {path.name: path for path in FOLDER.iterdir() if path.suffix in TYPES}
    if name not in known:
        raise NotFound(f"There is no file {name[:80]!r} here.")
    path = known[name]
    return web.Response(body=path.read_bytes(), headers={"Content-Type": TYPES[path.suffix]})
