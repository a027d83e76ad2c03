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

from lab.live.app import Wanted, run_live
from lab.live.broadcast import Show
from lab.live.panes import TWO
from lab.live.routes import Door, doors
from lab.live.security import Keys, loopback_hosts
from lab.live.server import Desk, OwnHosts, listen_on, serving, shared_doors, static_file, streaming
from lab.live.session import MIX, Session
from lab.live.terminal import TARGETS
from lab.scenarios.scenario import Scenario
from tests.programs.labs import ROOT
from tests.programs.patient import PATIENCE_S, be_patient

JSON = "application/json"
NODE = {"up": True, "busy": 0, "workers": 8, "queue": 0, "untold": 0, "lag": 0}
_KIND = {"sent": 4, "ok": 4, "failed": 0, "errors": {}}
_MS = {"p50": 4.0, "max": 5.0}


def tenth(**more: Any) -> dict[str, Any]:
    """One pane of a tick; everything is healthy except what `more` sets."""
    return {
        **{"reads": _KIND, "writes": _KIND, "waiting": 0, "unseen": 0, "feed_ok": True},
        **{"answered_ms": _MS, "read_ms": _MS, "visible_ms": _MS, "feed_age_ms": 0},
        **{"nodes": dict.fromkeys(TARGETS, NODE), "hops": []},
        **more,
    }


class Asker:
    """A client of one listener; unless others are given, it sends the headers of the page."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.cookie = ""

    def ask(
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
            told = {name.lower(): value for name, value in response.getheaders()}
            streams = told.get("content-type") == "text/event-stream"
            return response.status, told, b"" if streams else response.read()

    def get(self, path: str) -> Any:
        status, _, body = self.ask("GET", path)
        assert status == 200, body
        return json.loads(body)

    def post(self, path: str, **body: Any) -> Any:
        """The answer to a POST that must succeed."""
        status, _, told = self.ask("POST", path, body)
        assert status == 200, told
        return json.loads(told)

    def blog(self, half: str, newest: str = "") -> Any:
        """The feed of that pane as a reader sees it, from the post `newest` on if given."""
        return self.get(f"/api/blog?half={half}" + (f"&newest={newest}" if newest else ""))

    def enter(self, token: str) -> None:
        status, headers, _ = self.ask("POST", "/api/enter", {"token": token})
        assert status == 204
        self.cookie = headers["set-cookie"].partition(";")[0]

    @contextmanager
    def stream(self) -> Iterator["Stream"]:
        with closing(self._connect()) as connection:
            headers = {"Host": f"127.0.0.1:{self.port}"}
            connection.request("GET", "/api/stream", None, headers | {"Cookie": self.cookie})
            response = connection.getresponse()
            assert response.status == 200
            yield Stream(response)

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)


class Stream:
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

    def until(self, name: str, is_meant: Callable[[Any], bool] = lambda data: True) -> Any:
        """The data of the first event of that name for which `is_meant` is true."""
        give_up_at_s, last = time.perf_counter() + PATIENCE_S, None
        while time.perf_counter() < give_up_at_s:
            seen, data = self.next()
            if seen == name:
                last = data
                if is_meant(data):
                    return data
        raise AssertionError(f"no such {name}; the last one was {last}")

    def tick(self, is_meant: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The panes of the first tick for which `is_meant` is true."""
        found: dict[str, Any] = self.until("tick", lambda tick: is_meant(tick["halves"]))
        halves: dict[str, Any] = found["halves"]
        return halves

    def until_well(self) -> dict[str, Any]:
        """The panes of the first tick by which each had a successful read and no failure since."""
        well: set[str] = set()

        def all_are_well(told: Any) -> bool:
            for name, half in told.items():
                if half["reads"]["failed"]:
                    well.discard(name)
                elif half["reads"]["ok"]:
                    well.add(name)
            return well == set(told)

        return self.tick(all_are_well)

    def once(self, look: Callable[[], Any]) -> Any:
        """The first true result of `look`, called at every tick."""
        while not (found := look()):
            self.until("tick")
        return found


class Typed(Asker):
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
        said = ""
        while "Both halves are up" not in said:
            line = self.process.stdout.readline()
            assert line, self.process.communicate()[1]
            said += line
        self.addresses = re.findall(r"http://\S+", said)
        address = urlsplit(self.addresses[0])
        super().__init__(address.port or 0)
        self.token = address.fragment.removeprefix("token=")
        self.tree = psutil.Process(self.process.pid).children(recursive=True)

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode


@contextmanager
def typed(folder: Path, *words: str) -> Iterator[Typed]:
    one = Typed(folder, *words)
    try:
        yield one
    finally:
        if one.process.poll() is None:
            assert one.end(signal.SIGTERM) == 128 + signal.SIGTERM


class Unreachable:
    """Replaces a session that no request may reach: a request that does reach it gets a 500."""

    def __init__(self, show: Show) -> None:
        self.show = show

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"a request that should have been refused came to session.{name}")


def table(show: Show, keys: Keys) -> list[Door]:
    """All routes of the console, with no session behind them."""
    unreachable = cast(Session, Unreachable(show))
    return list(doors(unreachable, keys, None, static_file, streaming(show, "presenter")))


class Served(Asker):
    """A console without stacks, already logged in. `shared`: the port for spectators."""

    def __init__(self) -> None:
        self.show = Show()
        listening, elsewhere = listen_on("127.0.0.1", 0), listen_on("127.0.0.1", 0)
        super().__init__(listening.getsockname()[1])
        self.keys = Keys.of(self.port)
        self.shared = Asker(elsewhere.getsockname()[1])
        full = table(self.show, self.keys)
        here = Desk(full, lambda: loopback_hosts(self.port), self.keys)
        unreachable = cast(Session, Unreachable(self.show))
        there = Desk(shared_doors(full, unreachable), OwnHosts(self.shared.port), None)
        self._loop, self._up = asyncio.new_event_loop(), threading.Event()
        self._end = asyncio.Event()

        async def serve() -> None:
            async with (
                serving(here, listening, self.show),
                serving(there, elsewhere, self.show),
            ):
                self._up.set()
                await self._end.wait()

        def run() -> None:
            self._loop.run_until_complete(serve())
            self._loop.close()

        self._thread = threading.Thread(target=run)
        self._thread.start()
        assert self._up.wait(PATIENCE_S)
        self.enter(self.keys.token)

    def call(self, what: Callable[[], object]) -> None:
        """Call `what` in the server's own event loop."""

        async def there() -> None:
            what()

        asyncio.run_coroutine_threadsafe(there(), self._loop).result(PATIENCE_S)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(PATIENCE_S)


def with_patience(scenario: Scenario) -> Scenario:
    """The same scenario, with a load that never times out."""
    load = scenario.load.model_copy(update={"timeout_ms": PATIENCE_S * 1_000})
    return scenario.model_copy(update={"load": load})


class Console(Asker):
    """`lab live` in a thread of this process, already logged in."""

    def __init__(self, folder: Path, **wanted: Any) -> None:
        self.said: list[str] = []
        self._news = threading.Condition()
        self._folder = folder
        self._wanted = Wanted(**{"halves": TWO, "rate": 5.0, "mix": MIX, **wanted})
        self._error: BaseException | None = None
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="live")
        self._thread.start()
        url = self.line("#token=").strip()
        self.token = url.partition("#token=")[2]
        super().__init__(urlsplit(url).port or 0)
        self.line("Both halves are up")
        self.enter(self.token)

    def line(self, part: str) -> str:
        """The printed line that contains `part`."""
        with self._news:
            done = self._news.wait_for(lambda: self._found(part) or self._error, PATIENCE_S)
            assert done, f"never said {part!r}: {self.said}"
            if self._error:
                raise self._error
            return self._found(part)

    def close(self) -> None:
        if self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def _found(self, part: str) -> str:
        return next((line for line in self.said if part in line), "")

    def _say(self, text: str) -> None:
        with self._news:
            self.said += text.splitlines()
            self._news.notify_all()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._task = self._loop.create_task(run_live(self._wanted, self._folder, self._say))
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            with self._news:
                self._error = error
                self._news.notify_all()
        finally:
            self._loop.close()


@contextmanager
def a_console(folder: Path, **wanted: Any) -> Iterator[Console]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        be_patient(patch.setattr)
        console = Console(folder, open_browser=False, **wanted)
        try:
            yield console
        finally:
            console.close()


def port_for_watchers(pid: int | None = None) -> int:
    """The spectator port of a process (default: this one), the only one open to other machines."""
    (port,) = (
        one.laddr.port
        for one in psutil.Process(pid).net_connections("tcp")
        if one.status == psutil.CONN_LISTEN and one.laddr.ip == "0.0.0.0"
    )
    return port
