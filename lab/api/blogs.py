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
from types import TracebackType
from typing import Any
from urllib.parse import quote

from lab.api.display import Shown
from lab.api.own_service import OwnServices
from lab.api.tasks import Broken, Do, InTurn, OwnLoop, Work, to_its_end
from lab.api.trace import follow
from lab.cluster.errors import LabCannotRun
from lab.cluster.stack import Stack
from lab.domain.errors import Invalid
from lab.domain.services import BUS, BY_HAND_PORTS, TWINS
from lab.report.html import notebook
from lab.results.run_folder import RUNS, drop_databases, new_folder
from lab.sandbox.fault_controller import Deed, Switchboard
from lab.sandbox.session import BOTH, WHICH, raised, settings_by_stack
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
        said = f"{status}: {detail}" if status else f"no answer ({error})"
        super().__init__(f"{what}: {said} (after {ms:.0f} ms)")


class Written(dict[str, Any]):
    """A post or a comment, as the service returned it. `ms`: how long the writer waited."""

    ms: float = 0.0


class Feed(list[dict[str, Any]], Shown):
    """Posts, newest first, each with its comments. `ms`: how long the reader waited."""

    ms: float = 0.0

    def _text(self) -> str:
        lines = [f"{len(self)} posts, in {self.ms:.1f} ms"]
        for post in self:
            lines.append(f"  {post['title']}")
            lines += [f"    {one['status']:<9} {one['content']}" for one in post["comments"]]
        return "\n".join(lines)

    def _html(self) -> str:
        rows = [
            [post["title"] if not number else "", one.get("content", ""), one.get("status", "")]
            for post in self
            for number, one in enumerate(post["comments"] or [{}])
        ]
        caption = f"Feed of {len(self)} posts, in {self.ms:.1f} ms"
        return notebook.piece(notebook.table(caption, ["post", "comment", "status"], rows, left=3))


class Events(list[dict[str, Any]], Shown):
    """Events on the bus (CloudEvents), oldest first."""

    def _rows(self) -> list[list[str]]:
        return [
            [
                str(one.get("sequence", "")),
                str(one["type"]),
                str(one.get("source", "")).rpartition("/")[2],
                json.dumps(one.get("data"), ensure_ascii=False),
            ]
            for one in self
        ]

    def _text(self) -> str:
        lines = [
            f"{number:>6}  {what:<17} {who:<11} {data}" for number, what, who, data in self._rows()
        ]
        return "\n".join(lines or ["No event yet."])

    def _html(self) -> str:
        headings = ["number", "type", "told by", "data"]
        caption = f"{len(self)} events on the bus"
        return notebook.piece(notebook.table(caption, headings, self._rows(), left=4))


class Blog:
    """One running arrangement."""

    def __init__(self, stack: Stack, board: Switchboard, do: Do, own: OwnServices) -> None:
        self._stack, self._board, self._do, self._own = stack, board, do, own
        self.name = stack.name

    @property
    def urls(self) -> dict[str, str]:
        """The URL of each of its processes, by name."""
        return dict(self._stack.urls)

    def __repr__(self) -> str:
        return f"<{self.name}, up: {', '.join(self.urls)}>"

    def post(self, title: str = "A post") -> Any:
        """Create a post; returns `{"id", "title"}`. Raises RequestFailed."""
        return self._do(lambda: self._write("posts", "/posts", {"title": title}))

    def comment(self, post: str | Mapping[str, Any], content: str = "A comment") -> Any:
        """Comment on a post, given as returned or by its id; returns
        `{"id", "post_id", "content", "status"}`. On the bus the status is `pending` at first.
        Raises RequestFailed."""
        about = post["id"] if isinstance(post, Mapping) else post
        path = f"/posts/{quote(str(about), safe='')}/comments"
        return self._do(lambda: self._write("comments", path, {"content": content}))

    def feed(self, limit: int = 20) -> Any:
        """The newest posts, 1 to 100, each with its comments. Raises RequestFailed."""
        return self._do(lambda: self._read_feed(limit))

    def events(self, after: int = 0, type: str | None = None) -> Any:
        """The events on the bus behind number `after`, of one type or of all. Raises Invalid if
        there is no bus, RequestFailed if it is down."""
        return self._do(lambda: self._read_events(after, type))

    def fault(self, kind: str, target: str, **options: Any) -> Any:
        """Break a service, or `event-bus`: `fault("latency", "comments", ms=300)`. The fault stays
        until `heal`, or until the end of a `with` around it, or of the stack. `from_`: for
        `partition`.

        Raises Invalid or Conflict if the fault is not possible.
        """
        if "from_" in options:
            options["from"] = options.pop("from_")
        return self._do(lambda: self._break(kind, target, options), order=True)

    def heal(self, target: str | None = None, kind: str | None = None) -> Any:
        """Remove all faults, or those named; returns what each of them did, with evidence."""
        return self._do(lambda: self._heal(target, kind), order=True)

    def faults(self) -> Any:
        """The active faults."""
        return self._do(self._list_faults)

    def settle(self, within_s: float = SETTLE_WITHIN_S) -> Any:
        """Wait until no event is in transit; False if that takes longer than `within_s` seconds."""
        return self._do(lambda: self._stack.settle(within_s))

    def add(self, file: str | Path, *, empty: bool = False) -> Any:
        """Start a file as one more service of this stack, named after the file; returns its URL,
        once it is ready. Faults act on it as on the others. If it is added again, it restarts;
        `empty`: without its database, so that it reads the log from the first event on.

        Raises Invalid or Conflict if that is not possible, and OwnServiceFailed, with the last
        lines of its log, when it does not become ready.
        """
        return self._do(lambda: self._own.add(self._stack, self._board, file, empty), order=True)

    def trace(self, what: str = "comment") -> Any:
        """Send a `comment`, a `feed` or a `post`, and trace it through every process."""
        return self._do(lambda: follow(self._stack, what))

    async def _write(self, service: str, path: str, body: Mapping[str, Any]) -> Written:
        data, ms, _ = await self._ask("POST", service, path, body)
        written = Written(data)
        written.ms = ms
        return written

    async def _read_feed(self, limit: int) -> Feed:
        data, ms, _ = await self._ask("GET", "query", f"/feed?limit={int(limit)}")
        feed = Feed(data)
        feed.ms = ms
        return feed

    async def _read_events(self, after: int, type_: str | None) -> Events:
        if BUS not in self.urls:
            raise Invalid(f"{self.name} has no bus: nobody there tells anybody anything.")
        _, _, body = await self._ask("GET", BUS, f"/events?after={int(after)}")
        if body.lstrip().startswith(b"["):  # The course's bus: all events, without numbers.
            told = [{**one, "sequence": at} for at, one in enumerate(json.loads(body), 1)][after:]
        else:
            told = [json.loads(line) for line in body.splitlines() if line.strip()]
        return Events(one for one in told if type_ in (None, one["type"]))

    async def _ask(
        self, method: str, service: str, path: str, body: Mapping[str, Any] | None = None
    ) -> tuple[Any, float, bytes]:
        target = service if service in self._stack.urls else next(iter(self._stack.urls))
        begun_s = perf_counter()
        answer = await self._stack.call(method, self._stack.urls[target], path, body, PATIENCE_S)
        ms = (perf_counter() - begun_s) * 1_000
        if not answer.ok:
            what = f"{method} {path} of {service}, {self.name}"
            raise RequestFailed(what, answer.status, answer.error, answer.data, ms)
        return answer.data, ms, answer.body

    async def _break(self, kind: str, target: str, options: dict[str, Any]) -> Broken:
        try:
            deeds = _done(await to_its_end(self._board.put(kind, target, options, self.name)))
        except asyncio.CancelledError:  # The caller was interrupted and can't heal it.
            await to_its_end(self._board.heal(target, kind, self.name))
            raise
        return Broken(deeds, lambda: self.heal(target, kind))

    async def _heal(self, target: str | None, kind: str | None) -> Broken:
        deeds = await to_its_end(self._board.heal(target, kind, self.name))
        return Broken(_done(deeds), None)

    async def _list_faults(self) -> Broken:
        return Broken([one for one in self._board.faults() if one.stack == self.name], None)


def _done(deeds: list[Deed]) -> list[Deed]:
    failed = [one.says for one in deeds if one.state == "failed"]
    if failed:
        raise LabCannotRun(" ".join(failed))
    return deeds


# ── `lab.up`

WAKE_EVERY_S = 0.2


class Stacks(Shown, Mapping[str, Blog]):
    """The running stacks, by name. `folder`: their logs and spans."""

    def __init__(
        self, board: Switchboard, do: Do, own: OwnServices, folder: Path, end: "Up"
    ) -> None:
        self._blogs = {one.name: Blog(one, board, do, own) for one in board.stacks}
        self._end, self.folder = end, folder

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
        return self._end.close()

    def __repr__(self) -> str:
        return f"<up: {', '.join(self)}>"

    def _text(self) -> str:
        lines = [f"{name}\n" + "\n".join(_addresses(blog)) for name, blog in self.items()]
        return "\n".join(lines)

    def _html(self) -> str:
        rows = [
            [name if not number else "", part, url]
            for name, blog in self.items()
            for number, (part, url) in enumerate(blog.urls.items())
        ]
        return notebook.piece(notebook.table("Up", ["stack", "part", "address"], rows, left=3))


class Up:
    """What `lab.up` returns: a context manager, plain or `async`. If awaited, the stacks run until
    `close`."""

    def __init__(
        self, which: str, options: Mapping[str, Mapping[str, Any]], by_hand: bool, keep: Path | None
    ) -> None:
        self._which, self._options, self._by_hand, self._keep = which, options, by_hand, keep
        self._held = AsyncExitStack()
        self._loop: OwnLoop | None = None
        self._in_turn = InTurn()

    def __await__(self) -> Generator[Any, None, Stacks]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> Stacks:
        stacks = await self._start(self._in_turn)
        self._held.callback(asyncio.create_task(_wake_the_loop()).cancel)
        return stacks

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._in_turn.finish(broken_off=error is not None)
        finally:
            await self._held.aclose()

    def __enter__(self) -> Stacks:
        self._loop = loop = OwnLoop()

        def at_once(work: Work, *, order: bool = False) -> Any:
            return loop.do(work())

        try:
            return loop.do(self._start(at_once))
        except BaseException:
            loop.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._loop is not None
        try:
            self._loop.do(self._held.aclose())
        finally:
            self._loop.close()

    def close(self) -> Any:
        """End all stacks, if no `with` does it."""
        return self.__aexit__(None, None, None)

    async def _start(self, do: Do) -> Stacks:
        folder = new_folder("up", self._keep or RUNS).absolute()
        ports, own = BY_HAND_PORTS if self._by_hand else {}, OwnServices()
        try:
            if self._keep is None:
                self._held.callback(drop_databases, folder)
            self._held.callback(own.sweep)
            raising = raised(self._which, folder, ports=ports, options=self._options)
            board = await self._held.enter_async_context(raising)
        except BaseException:
            await self._held.aclose()
            raise
        return Stacks(board, do, own, folder, self)


async def _wake_the_loop() -> None:
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
) -> Up:
    """`which`: `both` twins, or one arrangement; `bus`: its engine; `settings`: switches by name,
    as `{"dead_letter": True}`; `keep`: the folder under which everything is saved, databases
    included.

    Raises ValueError before anything starts.
    """
    if which not in WHICH:
        raise ValueError(f"There is no stack {which!r}. {did_you_mean(which, WHICH)}")
    wanted = {**(settings or {}), **({"bus": bus} if bus else {})}
    words = [f"{name}={json.dumps(value)}" for name, value in wanted.items()]
    names = list(TWINS) if which == BOTH else [which]
    options = settings_by_stack(words, names)
    return Up(which, options, by_hand, None if keep is None else Path(keep).expanduser())


def _addresses(blog: Blog) -> Iterator[str]:
    return (f"  {part:<12}{url}" for part, url in blog.urls.items())
