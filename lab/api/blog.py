"""One blog that is up: written to, read, broken, mended and followed, a method each.

In `async with lab.up(…)` every method is awaited; in a plain `with lab.up(…)` it is not, and
returns when it is done. What was written or read says in `.ms` how long it took.
"""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import quote

from lab.api.doing import Broken, Do, to_its_end
from lab.api.following import follow
from lab.api.own import OwnServices
from lab.api.shown import Shown
from lab.byhand.deeds import Deed
from lab.byhand.switchboard import Switchboard
from lab.cluster.errors import LabCannotRun
from lab.cluster.stack import Stack
from lab.domain.directory import BUS
from lab.domain.errors import Invalid
from lab.report import fragment

SETTLE_WITHIN_S = 10.0
PATIENCE_S = 10.0


class RequestFailed(Exception):
    """A blog did not answer well. `status`: 0 without any answer, and `error` then says why
    (`refused`, `timeout`, `reset`); `problem`: its RFC 9457 document; `ms`: how long it took."""

    def __init__(self, what: str, status: int, error: str, problem: Any, ms: float) -> None:
        self.status, self.error, self.problem, self.ms = status, error, problem, ms
        detail = problem.get("detail", "") if isinstance(problem, dict) else ""
        said = f"{status}: {detail}" if status else f"no answer ({error})"
        super().__init__(f"{what}: {said} (after {ms:.0f} ms)")


class Written(dict[str, Any]):
    """A post or a comment, as it was answered. `ms`: how long its writer waited."""

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
        return fragment.piece(fragment.table(caption, ["post", "comment", "status"], rows, left=3))


class Events(list[dict[str, Any]], Shown):
    """Events on the bus (CloudEvents), the oldest first."""

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
        return fragment.piece(fragment.table(caption, headings, self._rows(), left=4))


class Blog:
    """A running arrangement."""

    def __init__(self, stack: Stack, board: Switchboard, do: Do, own: OwnServices) -> None:
        self._stack, self._board, self._do, self._own = stack, board, do, own
        self.name = stack.name

    @property
    def urls(self) -> dict[str, str]:
        """Where each of its parts answers."""
        return dict(self._stack.urls)

    def __repr__(self) -> str:
        return f"<{self.name}, up: {', '.join(self.urls)}>"

    def post(self, title: str = "A post") -> Any:
        """Write a post: `{"id", "title"}`. Raises RequestFailed."""
        return self._do(lambda: self._write("posts", "/posts", {"title": title}))

    def comment(self, post: str | Mapping[str, Any], content: str = "A comment") -> Any:
        """Comment on a post, or the post with that id: `{"id", "post_id", "content", "status"}`;
        on the bus the status is `pending` at first. Raises RequestFailed."""
        about = post["id"] if isinstance(post, Mapping) else post
        path = f"/posts/{quote(str(about), safe='')}/comments"
        return self._do(lambda: self._write("comments", path, {"content": content}))

    def feed(self, limit: int = 20) -> Any:
        """The newest posts, 1 to 100, each with its comments. Raises RequestFailed."""
        return self._do(lambda: self._read_feed(limit))

    def events(self, after: int = 0, type: str | None = None) -> Any:
        """What lies on the bus behind number `after`, of one type or of all. Raises Invalid where
        there is no bus, RequestFailed where it is down."""
        return self._do(lambda: self._read_events(after, type))

    def fault(self, kind: str, target: str, **options: Any) -> Any:
        """Break a service, or `event-bus`: `fault("latency", "comments", ms=300)`. It stays until
        `heal`, or until the end of a `with` around it, or of the blog. `from_`: for `partition`.

        Raises Invalid or Conflict, in a sentence, where that can't be.
        """
        if "from_" in options:
            options["from"] = options.pop("from_")
        return self._do(lambda: self._break(kind, target, options), order=True)

    def heal(self, target: str | None = None, kind: str | None = None) -> Any:
        """Take back all faults, or those named: what each of them did, with its proof."""
        return self._do(lambda: self._heal(target, kind), order=True)

    def faults(self) -> Any:
        """What is broken now."""
        return self._do(self._list_faults)

    def settle(self, within_s: float = SETTLE_WITHIN_S) -> Any:
        """Wait until no event is under way any more; False when that took too long."""
        return self._do(lambda: self._stack.settle(within_s))

    def add(self, file: str | Path, *, empty: bool = False) -> Any:
        """Start a file as one more service of this blog, called as the file: its URL, once it is
        ready. Faults act on it as on the others. Added again it is started anew; `empty`: without
        what it has kept so far, so that it reads the log from its first event on.

        Raises Invalid or Conflict, in a sentence, where that can't be; OwnServiceFailed, with the
        last lines of its log, when it does not come up.
        """
        return self._do(lambda: self._own.add(self._stack, self._board, file, empty), order=True)

    def trace(self, what: str = "comment") -> Any:
        """Send a `comment`, a `feed` or a `post`, and follow it through every process."""
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
        if body.lstrip().startswith(b"["):  # The course's bus: all so far, without numbers.
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
        except asyncio.CancelledError:  # Whoever wanted it has been interrupted: nobody would heal.
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
