"""Shared by the tests of `lab live`: a running console, and a client for it."""

import asyncio
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import psutil
import pytest

from lab.live.app import LiveOptions, run_live
from lab.live.audience import audience_routes
from lab.live.bets import Bets
from lab.live.blog import BlogClient
from lab.live.broadcast import Broadcast
from lab.live.panes import TWIN_PANES
from lab.live.phones import Phones
from lab.live.proxy import DIRECT, ProxyRules
from lab.live.routes import AccessRoute, route_table
from lab.live.script import Script
from lab.live.security import Credentials
from lab.live.server import (
    ConsoleApp,
    SpectatorApp,
    listen_on,
    static_file,
    stream_handler,
)
from lab.live.session import MIX, Session
from lab.live.terminal import TARGETS
from lab.scenarios.scenario import Scenario
from lab.service.listener import serve
from tests.programs.labs import ROOT
from tests.programs.patient import PATIENCE_S, be_patient

JSON = "application/json"
NODE = {"up": True, "busy": 0, "workers": 8, "queue": 0, "untold": 0, "lag": 0}
_KIND = {"sent": 4, "ok": 4, "failed": 0, "errors": {}}
_MS = {"p50": 4.0, "max": 5.0}


def pane_tick(**more: Any) -> dict[str, Any]:
    """One pane of a tick; everything is healthy except what `more` sets."""
    return {
        **dict.fromkeys(("reads", "writes", "posts", "comments"), _KIND),
        **{"waiting": 0, "unseen": 0, "missing": 0, "feed_ok": True},
        **{"answered_ms": _MS, "read_ms": _MS, "visible_ms": _MS, "feed_age_ms": 0},
        **{"nodes": dict.fromkeys(TARGETS, NODE), "hops": []},
        **more,
    }


class ConsoleClient:
    """A client of one listener; unless others are given, it sends the headers of the page."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.cookie = ""

    def request(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (lower-case names), body. A header whose value is "" is not sent."""
        sent = {"Host": f"127.0.0.1:{self.port}", "Lab-Page": "1", "Content-Type": JSON}
        sent |= {"Cookie": self.cookie} if self.cookie else {}
        sent |= headers or {}
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        with closing(self._connect()) as connection:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in sent.items():
                if value:
                    connection.putheader(name, value)
            if content is not None:
                connection.putheader("Content-Length", str(len(content)))
            connection.endheaders(content)
            response = connection.getresponse()
            response_headers = {name.lower(): value for name, value in response.getheaders()}
            streams = response_headers.get("content-type") == "text/event-stream"
            return response.status, response_headers, b"" if streams else response.read()

    def get(self, path: str) -> Any:
        status, _, body = self.request("GET", path)
        assert status == 200, body
        return json.loads(body)

    def post(self, path: str, **body: Any) -> Any:
        """The answer to a POST that must succeed."""
        status, _, response_body = self.request("POST", path, body)
        assert status == 200, response_body
        return json.loads(response_body)

    def blog(self, pane: str, newest: str = "") -> Any:
        """The feed of that pane as a reader sees it, from the post `newest` on if given."""
        return self.get(f"/api/blog?half={pane}" + (f"&newest={newest}" if newest else ""))

    def log_in(self, token: str) -> None:
        status, headers, _ = self.request("POST", "/api/enter", {"token": token})
        assert status == 204
        self.cookie = headers["set-cookie"].partition(";")[0]

    @contextmanager
    def stream(self) -> Iterator["EventStream"]:
        with closing(self._connect()) as connection:
            headers = {"Host": f"127.0.0.1:{self.port}"}
            connection.request("GET", "/api/stream", None, headers | {"Cookie": self.cookie})
            response = connection.getresponse()
            assert response.status == 200
            yield EventStream(response)

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)


class EventStream:
    """The events of one screen, read as they arrive."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response

    def next(self) -> tuple[str, Any]:
        name, data = "", b""
        while line := self._response.readline().rstrip(b"\n"):
            key, _, value = line.partition(b": ")
            name, data = (value.decode(), data) if key == b"event" else (name, value)
        assert name, "the stream has ended"
        return name, json.loads(data)

    def until(self, name: str, matches: Callable[[Any], bool] = lambda data: True) -> Any:
        """The data of the first event of that name for which `matches` is true."""
        give_up_at_s, last = time.perf_counter() + PATIENCE_S, None
        while time.perf_counter() < give_up_at_s:
            event_name, data = self.next()
            if event_name == name:
                last = data
                if matches(data):
                    return data
        raise AssertionError(f"no such {name}; the last one was {last}")

    def tick(self, matches: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The panes of the first tick for which `matches` is true."""
        found: dict[str, Any] = self.until("tick", lambda tick: matches(tick["halves"]))
        halves: dict[str, Any] = found["halves"]
        return halves

    def until_healthy(self) -> dict[str, Any]:
        """The panes of the first tick by which each had a successful read and no failure since."""
        healthy: set[str] = set()

        def all_are_healthy(panes: Any) -> bool:
            for name, half in panes.items():
                if half["reads"]["failed"]:
                    healthy.discard(name)
                elif half["reads"]["ok"]:
                    healthy.add(name)
            return healthy == set(panes)

        return self.tick(all_are_healthy)

    def wait_for(self, probe: Callable[[], Any]) -> Any:
        """The first true result of `look`, called at every tick."""
        while not (found := probe()):
            self.until("tick")
        return found


class ConsoleProcess(ConsoleClient):
    """`lab live` in a new process, with its own folder for saved instances and runs."""

    def __init__(self, folder: Path, *words: str) -> None:
        paths = {"PYTHONPATH": str(ROOT), "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.programs.patient", "--no-open", *words],
            cwd=folder,
            env={**os.environ, **paths},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        output = ""
        while "Both halves are up" not in output:
            line = self.process.stdout.readline()
            assert line, self.process.communicate()[1]
            output += line
        self.addresses = re.findall(r"https?://\S+", output)
        self.token = urlsplit(self.addresses[0]).fragment.removeprefix("token=")
        local = next(address for address in self.addresses if "//127.0.0.1:" in address)
        super().__init__(urlsplit(local).port or 0)
        self.tree = psutil.Process(self.process.pid).children(recursive=True)

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode


@contextmanager
def run_console_process(folder: Path, *words: str) -> Iterator[ConsoleProcess]:
    console = ConsoleProcess(folder, *words)
    try:
        yield console
    finally:
        if console.process.poll() is None:
            assert console.end(signal.SIGTERM) == 128 + signal.SIGTERM


class UnreachableSession:
    """Replaces a session that no request may reach: a request that does reach it gets a 500."""

    def __init__(self, broadcast: Broadcast) -> None:
        self.broadcast = broadcast

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"a request that should have been refused came to session.{name}")


def console_routes(broadcast: Broadcast, credentials: Credentials) -> list[AccessRoute]:
    """All routes of the console, with no session behind them."""
    unreachable = cast(Session, UnreachableSession(broadcast))
    phones = Phones(broadcast, BlogClient(unreachable))
    return [
        *route_table(
            unreachable,
            credentials,
            Script(unreachable),
            static_file,
            stream_handler(broadcast, "presenter"),
        ),
        *audience_routes(Bets(broadcast, phones), phones, None),
    ]


class ConsoleServer(ConsoleClient):
    """A console without stacks, already logged in. `shared`: the port for spectators."""

    def __init__(self, proxy: ProxyRules = DIRECT) -> None:
        self.broadcast = Broadcast()
        console_socket, spectator_socket = listen_on("127.0.0.1", 0), listen_on("127.0.0.1", 0)
        super().__init__(console_socket.getsockname()[1])
        self.credentials = Credentials.for_port(self.port)
        self.shared = ConsoleClient(spectator_socket.getsockname()[1])
        routes = console_routes(self.broadcast, self.credentials)
        console_app = ConsoleApp(routes, self.port, self.broadcast, self.credentials, proxy)
        unreachable = cast(Session, UnreachableSession(self.broadcast))
        self.spectator_app = SpectatorApp(routes, unreachable, self.shared.port, proxy)
        self.spectator_app.refused_after_s = 0.05
        self._loop, self._up = asyncio.new_event_loop(), threading.Event()
        self._end = asyncio.Event()

        async def serve_both() -> None:
            async with (
                serve(console_app, console_socket),
                serve(self.spectator_app, spectator_socket),
            ):
                self._up.set()
                await self._end.wait()

        def run() -> None:
            self._loop.run_until_complete(serve_both())
            self._loop.close()

        self._thread = threading.Thread(target=run)
        self._thread.start()
        assert self._up.wait(PATIENCE_S)
        self.log_in(self.credentials.token)

    def run_in_loop(self, function: Callable[[], object]) -> None:
        """Call `what` in the server's own event loop."""

        async def run() -> None:
            function()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(PATIENCE_S)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(PATIENCE_S)


def with_patience(scenario: Scenario) -> Scenario:
    """The same scenario, with a load that never times out."""
    load = scenario.load.model_copy(update={"timeout_ms": PATIENCE_S * 1_000})
    return scenario.model_copy(update={"load": load})


class ConsoleThread(ConsoleClient):
    """`lab live` in a thread of this process, already logged in."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.printed: list[str] = []
        self._changed = threading.Condition()
        self._folder = folder
        self._options = LiveOptions(**{"panes": TWIN_PANES, "rate": 5.0, "mix": MIX, **options})
        self._error: BaseException | None = None
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="live")
        self._thread.start()
        url = self.wait_for_line("#token=").strip()
        self.token = url.partition("#token=")[2]
        super().__init__(urlsplit(url).port or 0)
        self.wait_for_line("Both halves are up")
        self.log_in(self.token)

    def wait_for_line(self, part: str) -> str:
        """The printed line that contains `part`."""
        with self._changed:
            done = self._changed.wait_for(lambda: self._find_line(part) or self._error, PATIENCE_S)
            assert done, f"never said {part!r}: {self.printed}"
            if self._error:
                raise self._error
            return self._find_line(part)

    def close(self) -> None:
        if self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def _find_line(self, part: str) -> str:
        return next((line for line in self.printed if part in line), "")

    def _echo(self, text: str) -> None:
        with self._changed:
            self.printed += text.splitlines()
            self._changed.notify_all()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._task = self._loop.create_task(run_live(self._options, self._folder, self._echo))
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()
        finally:
            self._loop.close()


@contextmanager
def run_console(folder: Path, **options: Any) -> Iterator[ConsoleThread]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        be_patient(patch.setattr)
        console = ConsoleThread(folder, open_browser=False, **options)
        try:
            yield console
        finally:
            console.close()


def spectator_port(pid: int | None = None) -> int:
    """The spectator port of a process (default: this one), the only one open to other machines."""
    (port,) = (
        connection.laddr.port
        for connection in psutil.Process(pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.ip == "0.0.0.0"
    )
    return port
