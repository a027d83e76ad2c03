"""Shared by the suites that observe running stacks: a blog to use, and waiting for conditions.

The supervisor has its own event loop in a second thread. So a stack is started once for many tests,
and the functions here are not async.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar

import requests

from lab.cluster.arrangements import ARRANGEMENTS, PRELOAD
from lab.cluster.injector import Injection
from lab.cluster.program import Program
from lab.cluster.stack import Stack
from lab.cluster.supervisor import Supervisor
from lab.faults.kinds import parse_fault

PATIENCE_S = 60.0  # after which a condition counts as false; no test expects to wait so long
T = TypeVar("T")


def eventually(condition: Callable[[], T], description: str = "the condition") -> T:
    """The first true result of `look`; the test fails if there is none in time."""
    give_up_at_s = time.perf_counter() + PATIENCE_S
    while not (result := condition()):
        assert time.perf_counter() < give_up_at_s, (
            f"{description} did not come true; last seen: {result!r}"
        )
        time.sleep(0.003)
    return result


class Laboratory:
    """A supervisor in its own event loop; `run` executes a coroutine there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.supervisor = Supervisor(PRELOAD, folder)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="laboratory")

    def __enter__(self) -> Self:
        self.supervisor.launch()  # from the main thread, which lives as long as the tests
        self._thread.start()
        self.run(self.supervisor.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.run(self.supervisor.stop())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def run(self, work: Coroutine[Any, Any, T], within_s: float = 3 * PATIENCE_S) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(within_s)

    @contextmanager
    def start(self, *programs: Program) -> Iterator[None]:
        """Programs that are ready inside the block and ended after it."""
        self.run(self.supervisor.start(*programs, ready_within_s=PATIENCE_S))
        try:
            yield
        finally:
            for program in programs:
                if self.supervisor.alive(program.name):
                    self.run(self.supervisor.kill(program.name))

    @contextmanager
    def blog(self, arrangement: str, name: str, **options: Any) -> Iterator["RunningBlog"]:
        """A fresh stack of an arrangement, with its own ports and databases."""

        async def make() -> Stack:
            of = ARRANGEMENTS[arrangement]
            stack = Stack(name, of, self.supervisor, self.folder, options=options)
            stack.programs = [replace(one, ready_within_s=PATIENCE_S) for one in stack.programs]
            return stack

        async def close(stack: Stack) -> None:
            stack.__exit__()

        stack = self.run(make())
        try:
            with self.start(*stack.programs), requests.Session() as session:
                session.trust_env = False
                yield RunningBlog(self, stack, session)
        finally:
            self.run(close(stack))

    @contextmanager
    def blogs(self, prefix: str) -> Iterator[dict[str, "RunningBlog"]]:
        """All arrangements at once; at the end no log may contain a traceback."""
        with ExitStack() as held:
            running = {
                name: held.enter_context(self.blog(name, f"{prefix}-{name}"))
                for name in ARRANGEMENTS
            }
            yield running
            for blog in running.values():
                for target in blog.stack.arrangement.targets:
                    assert blog.ask("GET", target, "/health").ok, target
                    assert "Traceback" not in blog.log(target), blog.log(target)


class RunningBlog:
    """One running stack, with a client's requests and the lab's control."""

    def __init__(self, laboratory: Laboratory, stack: Stack, session: requests.Session) -> None:
        self.laboratory = laboratory
        self.stack = stack
        self.arrangement = stack.arrangement.name
        self.has_bus = stack.arrangement.has_bus
        self.session = session

    # ── Client

    def ask(self, method: str, target: str, path: str, **more: Any) -> requests.Response:
        return self.session.request(
            method, self.stack.urls[target] + path, timeout=more.pop("timeout", PATIENCE_S), **more
        )

    def get(self, target: str, path: str, **query: Any) -> Any:
        """The JSON of a GET that must succeed."""
        response = self.ask("GET", target, path, params=query)
        assert response.status_code == 200, response.text
        return response.json()

    def write_post(self, title: str = "A title") -> dict[str, Any]:
        """A new post that every service knows when this returns."""
        response = self.ask("POST", "posts", "/posts", json={"title": title})
        assert response.status_code == 201, response.text
        post: dict[str, Any] = response.json()
        self.settle()
        return post

    def comment(self, post_id: str, content: str = "A comment", **more: Any) -> requests.Response:
        body = {"content": content}
        return self.ask("POST", "comments", f"/posts/{post_id}/comments", json=body, **more)

    def write_comment(self, post_id: str, content: str = "A comment") -> dict[str, Any]:
        response = self.comment(post_id, content)
        assert response.status_code == 201, response.text
        comment: dict[str, Any] = response.json()
        return comment

    def all_of(self, target: str, path: str) -> list[dict[str, Any]]:
        """Every row of a paged list, newest first."""
        rows: list[dict[str, Any]] = []
        before = "~"
        while page := self.get(target, path, limit=100, before=before):
            rows += page
            before = page[-1]["id"]
        return rows

    def feed_entry(self, post_id: str) -> dict[str, Any] | None:
        entries = self.get("query", "/feed", limit=100)
        return next((entry for entry in entries if entry["id"] == post_id), None)

    # ── Lab

    def settle(self) -> None:
        """Wait until no event is in flight (a chain never has one)."""
        assert self.laboratory.run(self.stack.settle(PATIENCE_S)), f"{self.stack.name} is unsettled"

    def pid(self, target: str) -> int:
        return self.laboratory.supervisor.pid(self.stack.program_name(target))

    def kill(self, target: str) -> None:
        self.laboratory.run(self.laboratory.supervisor.kill(self.stack.program_name(target)))

    def restart(self, target: str) -> None:
        self.laboratory.run(self.laboratory.supervisor.restart(self.stack.program_name(target)))

    def state(self, target: str) -> dict[str, Any]:
        """The state that a running program reports."""
        try:
            reported = eventually(
                lambda: [one for one in (self.laboratory.run(self.stack.state(target)),) if one],
                f"a state of {target}",
            )
        except AssertionError as error:
            raise AssertionError(f"{error}; its log ends: {self.log(target)[-2000:]}") from None
        return reported[0]

    def acted(self, target: str, name: str = "fault") -> int:
        """How often a fault in the target's fault filter has acted so far."""
        response = self.laboratory.run(
            self.stack.call("GET", self.stack.urls[target], "/_lab/faults")
        )
        return int((response.data or {}).get(name, {}).get("acted", 0))

    def log(self, target: str) -> str:
        return (self.laboratory.folder / f"{self.stack.program_name(target)}.log").read_text()

    def spans_file(self, target: str) -> Path:
        return self.laboratory.folder / f"{self.stack.program_name(target)}.spans.ndjson"

    @contextmanager
    def broken(
        self, kind: str, target: str, name: str = "fault", **options: Any
    ) -> Iterator[Injection]:
        """A fault that is active inside the block; after it the injection has its evidence."""
        injection = Injection(self.stack, parse_fault(kind, target, options), name)
        self.laboratory.run(injection.begin(seed=7))
        try:
            yield injection
        finally:
            self.laboratory.run(injection.end())
