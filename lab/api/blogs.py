"""`lab.up`: one running stack or both, for the length of a block, to write to and to break.

    async with lab.up("both") as stacks:                 # in a notebook, or in async code
        chain = stacks["sync-chain"]
        await chain.fault("latency", "comments", ms=300)
        post = await chain.post("Hello")
        await chain.feed()

    with lab.up("both") as stacks:                       # the same without await
        stacks["async-bus"].events()

In `async with`, every method is awaited; in a plain `with`, it returns when it is done. `.ms` of a
post, a comment or a feed is the time that its request took.

Over several cells: `stacks = await lab.up("both")`, and at the end `await stacks.close()`.
Whatever happens to the block, the cell or the kernel, no process and no fault outlives it. Ports
are free ones; `by_hand=True` takes those of the command `lab up` (4000 and so on), for curl.
"""

import asyncio
import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import quote

from lab.api.display import NotebookDisplay
from lab.api.own_service import OwnServices
from lab.api.tasks import Executor, FaultHandle, LoopThread, OrderedExecutor, Work, run_shielded
from lab.api.trace import send_and_trace
from lab.cluster.errors import LabCannotRun
from lab.cluster.stack import Stack
from lab.domain.errors import Invalid
from lab.domain.services import BUS, BY_HAND_PORTS, TWINS
from lab.live.sandbox.fault_controller import FaultAction, FaultController
from lab.live.sandbox.session import BOTH, STACK_CHOICES, running_stacks, settings_by_stack
from lab.report.html import notebook
from lab.results.run_folder import create_run_folder, drop_databases
from lab.results.saved_names import RUNS
from lab.support.text import did_you_mean

# ── A running stack

SETTLE_WITHIN_S = 10.0
PATIENCE_S = 10.0


class RequestFailed(Exception):
    """A request failed. `status`: that of the answer, 0 without an answer; `error` then says why
    (`refused`, `timeout`, `reset`); `problem`: the answer's RFC 9457 document; `ms`: how long it
    took."""

    def __init__(self, what: str, status: int, error: str, problem: Any, ms: float) -> None:
        self.status, self.error, self.problem, self.ms = status, error, problem, ms
        detail = problem.get("detail", "") if isinstance(problem, dict) else ""
        outcome = f"{status}: {detail}" if status else f"no answer ({error})"
        super().__init__(f"{what}: {outcome} (after {ms:.0f} ms)")


class CreatedResource(dict[str, Any]):
    """A post or a comment, as the service returned it. `ms`: how long the writer waited."""

    ms: float = 0.0


class Feed(list[dict[str, Any]], NotebookDisplay):
    """Posts, newest first, each with its comments. `ms`: how long the reader waited."""

    ms: float = 0.0

    def _text(self) -> str:
        lines = [f"{len(self)} posts, in {self.ms:.1f} ms"]
        for post in self:
            lines.append(f"  {post['title']}")
            lines += [
                f"    {comment['status']:<9} {comment['content']}" for comment in post["comments"]
            ]
        return "\n".join(lines)

    def _html(self) -> str:
        rows = [
            [
                post["title"] if not number else "",
                comment.get("content", ""),
                comment.get("status", ""),
            ]
            for post in self
            for number, comment in enumerate(post["comments"] or [{}])
        ]
        caption = f"Feed of {len(self)} posts, in {self.ms:.1f} ms"
        return notebook.cell_html(
            notebook.table(caption, ["post", "comment", "status"], rows, left_columns=3)
        )


class Events(list[dict[str, Any]], NotebookDisplay):
    """Events on the bus (CloudEvents), oldest first."""

    def _rows(self) -> list[list[str]]:
        return [
            [
                str(event.get("sequence", "")),
                str(event["type"]),
                str(event.get("source", "")).rpartition("/")[2],
                json.dumps(event.get("data"), ensure_ascii=False),
            ]
            for event in self
        ]

    def _text(self) -> str:
        lines = [
            f"{number:>6}  {type_:<17} {publisher:<11} {data}"
            for number, type_, publisher, data in self._rows()
        ]
        return "\n".join(lines or ["No event yet."])

    def _html(self) -> str:
        headings = ["number", "type", "published by", "data"]
        caption = f"{len(self)} events on the bus"
        return notebook.cell_html(notebook.table(caption, headings, self._rows(), left_columns=4))


class Blog:
    """One running arrangement."""

    def __init__(
        self,
        stack: Stack,
        controller: FaultController,
        execute: Executor,
        own_services: OwnServices,
    ) -> None:
        self._stack, self._controller, self._execute, self._own_services = (
            stack,
            controller,
            execute,
            own_services,
        )
        self.name = stack.name

    @property
    def urls(self) -> dict[str, str]:
        """The URL of each of its processes, by name."""
        return dict(self._stack.urls)

    def __repr__(self) -> str:
        return f"<{self.name}, up: {', '.join(self.urls)}>"

    def post(self, title: str = "A post") -> Any:
        """Create a post; returns `{"id", "title"}`. Raises RequestFailed."""
        return self._execute(lambda: self._write("posts", "/posts", {"title": title}))

    def comment(self, post: str | Mapping[str, Any], content: str = "A comment") -> Any:
        """Comment on a post, given as returned or by its id; returns
        `{"id", "post_id", "content", "status"}`. On the bus the status is `pending` at first.
        Raises RequestFailed."""
        post_id = post["id"] if isinstance(post, Mapping) else post
        path = f"/posts/{quote(str(post_id), safe='')}/comments"
        return self._execute(lambda: self._write("comments", path, {"content": content}))

    def feed(self, limit: int = 20) -> Any:
        """The newest posts, 1 to 100, each with its comments. Raises RequestFailed."""
        return self._execute(lambda: self._read_feed(limit))

    def events(self, after: int = 0, type: str | None = None) -> Any:
        """The events on the bus behind number `after`, of one type or of all. Raises Invalid if
        there is no bus, RequestFailed if it is down."""
        return self._execute(lambda: self._read_events(after, type))

    def fault(self, kind: str, target: str, **options: Any) -> Any:
        """Break a service, or `event-bus`: `fault("latency", "comments", ms=300)`. The fault stays
        until `heal`, or until the end of a `with` around it, or of the stack. `from_`: for
        `partition`.

        Raises Invalid or Conflict if the fault is not possible.
        """
        if "from_" in options:
            options["from"] = options.pop("from_")
        return self._execute(lambda: self._inject(kind, target, options), ordered=True)

    def heal(self, target: str | None = None, kind: str | None = None) -> Any:
        """Remove all faults, or those named; returns what each of them did, with evidence."""
        return self._execute(lambda: self._heal(target, kind), ordered=True)

    def faults(self) -> Any:
        """The active faults."""
        return self._execute(self._list_faults)

    def settle(self, within_s: float = SETTLE_WITHIN_S) -> Any:
        """Wait until no event is in transit; False if that takes longer than `within_s` seconds."""
        return self._execute(lambda: self._stack.settle(within_s))

    def add(self, file: str | Path, *, empty: bool = False) -> Any:
        """Start a file as one more service of this stack, named after the file; returns its URL,
        once it is ready. Faults act on it as on the others. If it is added again, it restarts;
        `empty`: without its database, so that it reads the log from the first event on.

        Raises Invalid or Conflict if that is not possible, and OwnServiceFailed, with the last
        lines of its log, when it does not become ready.
        """
        return self._execute(
            lambda: self._own_services.add(self._stack, self._controller, file, empty), ordered=True
        )

    def trace(self, what: str = "comment") -> Any:
        """Send a `comment`, a `feed` or a `post`, and trace it through every process."""
        return self._execute(lambda: send_and_trace(self._stack, what))

    async def _write(self, service: str, path: str, body: Mapping[str, Any]) -> CreatedResource:
        data, ms, _ = await self._request("POST", service, path, body)
        created = CreatedResource(data)
        created.ms = ms
        return created

    async def _read_feed(self, limit: int) -> Feed:
        data, ms, _ = await self._request("GET", "query", f"/feed?limit={int(limit)}")
        feed = Feed(data)
        feed.ms = ms
        return feed

    async def _read_events(self, after: int, type_: str | None) -> Events:
        if BUS not in self.urls:
            raise Invalid(f"{self.name} has no bus, so there are no events.")
        _, _, body = await self._request("GET", BUS, f"/events?after={int(after)}")
        if body.lstrip().startswith(b"["):  # The course's bus: all events, without numbers.
            events = [{**event, "sequence": at} for at, event in enumerate(json.loads(body), 1)][
                after:
            ]
        else:
            events = [json.loads(line) for line in body.splitlines() if line.strip()]
        return Events(event for event in events if type_ in (None, event["type"]))

    async def _request(
        self, method: str, service: str, path: str, body: Mapping[str, Any] | None = None
    ) -> tuple[Any, float, bytes]:
        target = service if service in self._stack.urls else next(iter(self._stack.urls))
        started_s = perf_counter()
        response = await self._stack.call(method, self._stack.urls[target], path, body, PATIENCE_S)
        ms = (perf_counter() - started_s) * 1_000
        if not response.ok:
            what = f"{method} {path} of {service}, {self.name}"
            raise RequestFailed(what, response.status, response.error, response.data, ms)
        return response.data, ms, response.body

    async def _inject(self, kind: str, target: str, options: dict[str, Any]) -> FaultHandle:
        try:
            actions = _raise_if_failed(
                await run_shielded(self._controller.inject(kind, target, options, self.name))
            )
        except asyncio.CancelledError:  # The caller was interrupted and can't heal it.
            await run_shielded(self._controller.heal(target, kind, self.name))
            raise
        return FaultHandle(actions, lambda: self.heal(target, kind))

    async def _heal(self, target: str | None, kind: str | None) -> FaultHandle:
        actions = await run_shielded(self._controller.heal(target, kind, self.name))
        return FaultHandle(_raise_if_failed(actions), None)

    async def _list_faults(self) -> FaultHandle:
        return FaultHandle(
            [action for action in self._controller.faults() if action.stack == self.name], None
        )


def _raise_if_failed(actions: list[FaultAction]) -> list[FaultAction]:
    failed = [action.says for action in actions if action.state == "failed"]
    if failed:
        raise LabCannotRun(" ".join(failed))
    return actions


# ── `lab.up`

WAKE_EVERY_S = 0.2


class Stacks(NotebookDisplay, Mapping[str, Blog]):
    """The running stacks, by name. `folder`: their logs and spans."""

    def __init__(
        self,
        controller: FaultController,
        execute: Executor,
        own_services: OwnServices,
        folder: Path,
        session: "StackSession",
    ) -> None:
        self._blogs = {
            stack.name: Blog(stack, controller, execute, own_services)
            for stack in controller.stacks
        }
        self._session, self.folder = session, folder

    def __getitem__(self, name: str) -> Blog:
        if name not in self._blogs:
            raise KeyError(f"No stack {name!r} is up. {did_you_mean(name, self._blogs)}")
        return self._blogs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._blogs)

    def __len__(self) -> int:
        return len(self._blogs)

    def close(self) -> Any:
        """End all stacks, if no `with` does it."""
        return self._session.close()

    def __repr__(self) -> str:
        return f"<up: {', '.join(self)}>"

    def _text(self) -> str:
        lines = [f"{name}\n" + "\n".join(_address_lines(blog)) for name, blog in self.items()]
        return "\n".join(lines)

    def _html(self) -> str:
        rows = [
            [name if not number else "", part, url]
            for name, blog in self.items()
            for number, (part, url) in enumerate(blog.urls.items())
        ]
        return notebook.cell_html(
            notebook.table("Up", ["stack", "part", "address"], rows, left_columns=3)
        )


class StackSession:
    """What `lab.up` returns: a context manager, plain or `async`. If awaited, the stacks run until
    `close`."""

    def __init__(
        self, which: str, options: Mapping[str, Mapping[str, Any]], by_hand: bool, keep: Path | None
    ) -> None:
        self._which, self._options, self._by_hand, self._keep = which, options, by_hand, keep
        self._exit_stack = AsyncExitStack()
        self._loop_thread: LoopThread | None = None
        self._executor = OrderedExecutor()

    def __await__(self) -> Generator[Any, None, Stacks]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> Stacks:
        stacks = await self._start(self._executor)
        self._exit_stack.callback(asyncio.create_task(_wake_loop()).cancel)
        return stacks

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            await self._executor.finish(cancel=error is not None)
        finally:
            await self._exit_stack.aclose()

    def __enter__(self) -> Stacks:
        self._loop_thread = loop = LoopThread()

        def run_now(work: Work, *, ordered: bool = False) -> Any:
            return loop.run(work())

        try:
            return loop.run(self._start(run_now))
        except BaseException:
            loop.close()
            raise

    def __exit__(self, *error: object) -> None:
        assert self._loop_thread is not None
        try:
            self._loop_thread.run(self._exit_stack.aclose())
        finally:
            self._loop_thread.close()

    def close(self) -> Any:
        """End all stacks, if no `with` does it."""
        return self.__aexit__(None, None, None)

    async def _start(self, execute: Executor) -> Stacks:
        folder = create_run_folder("up", self._keep or RUNS).absolute()
        ports, own_services = BY_HAND_PORTS if self._by_hand else {}, OwnServices()
        try:
            if self._keep is None:
                self._exit_stack.callback(drop_databases, folder)
            self._exit_stack.callback(own_services.kill_leftovers)
            starting = running_stacks(self._which, folder, ports=ports, options=self._options)
            controller = await self._exit_stack.enter_async_context(starting)
        except BaseException:
            await self._exit_stack.aclose()
            raise
        return Stacks(controller, execute, own_services, folder, self)


async def _wake_loop() -> None:
    """Wake the loop regularly: Jupyter's interrupt does not wake it, so without this a cell that
    only waits could not be interrupted."""
    while True:  # noqa: ASYNC110 - waking the loop is the purpose
        await asyncio.sleep(WAKE_EVERY_S)


def up(
    which: str = BOTH,
    *,
    bus: str | None = None,
    settings: Mapping[str, Any] | None = None,
    by_hand: bool = False,
    keep: str | Path | None = None,
) -> StackSession:
    """`which`: `both` twins, or one arrangement; `bus`: its engine; `settings`: switches by name,
    as `{"dead_letter": True}`; `keep`: the folder under which everything is saved, databases
    included.

    Raises ValueError before anything starts.
    """
    if which not in STACK_CHOICES:
        raise ValueError(f"There is no stack {which!r}. {did_you_mean(which, STACK_CHOICES)}")
    switches = {**(settings or {}), **({"bus": bus} if bus else {})}
    assignments = [f"{name}={json.dumps(value)}" for name, value in switches.items()]
    names = list(TWINS) if which == BOTH else [which]
    options = settings_by_stack(assignments, names)
    return StackSession(which, options, by_hand, None if keep is None else Path(keep).expanduser())


def _address_lines(blog: Blog) -> Iterator[str]:
    return (f"  {part:<12}{url}" for part, url in blog.urls.items())
