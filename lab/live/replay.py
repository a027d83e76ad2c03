"""`lab live --replay FILE`: serves the page of a recorded session on the loopback.

The recording is taken out of the file, and today's page around it is built anew: a file from
somebody else brings data, and no code.
"""

import asyncio
import webbrowser
from pathlib import Path

from aiohttp import web

from lab.cluster.ports import HOST
from lab.live.app import Echo, has_display
from lab.live.recording import PAGE_CSP, read_session
from lab.live.security import HEADERS
from lab.live.server import STATIC_FOLDER, listen_on
from lab.service.http import HttpApp, Route
from lab.service.listener import serve

_HEADERS = {
    **HEADERS,
    "Content-Security-Policy": f"{PAGE_CSP}; base-uri 'none'; frame-ancestors 'none'",
    "Content-Type": "text/html; charset=utf-8",
}


async def run_replay(path: Path, port: int, open_browser: bool, echo: Echo) -> None:
    """Serve the page until cancelled. Raises Invalid, OSError, and PortTaken."""
    page = read_session(path, STATIC_FOLDER).encode()

    async def send_page(request: web.BaseRequest) -> web.Response:
        return web.Response(body=page, headers=_HEADERS)

    with listen_on(HOST, port) as listener:
        port = listener.getsockname()[1]
        url = f"http://127.0.0.1:{port}/"
        async with serve(HttpApp([Route("GET", "/", send_page, raw=True)], port), listener):
            echo(f"The session plays at\n  {url}\nCtrl-C ends this.")
            if open_browser and has_display():
                asyncio.get_running_loop().run_in_executor(None, webbrowser.open, url)
            await asyncio.get_running_loop().create_future()
