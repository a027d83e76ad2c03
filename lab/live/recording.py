"""A recorded session: every message of the lab to its screens, and what readers saw.

While the lab runs, the messages are appended to `session.ndjson.gz`: lines `[r, name, data]`, where
`r` is seconds since the recording began. A piece of CHUNK_S is a gzip member of its own, and begins
with a complete `hello`: so a player can start at any piece, memory stays flat, and a lab that is
killed leaves a file that plays. At the end the file becomes one page, `session.html`, which needs
no network: the page of `lab live` with its code, the pieces, and a summary for its timeline.
"""

import base64
import gzip
import html
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

from lab.domain.errors import Invalid
from lab.live.broadcast import Broadcast, encode

FORMAT = "lab.session/1"
RECORDING_NAME, PAGE_NAME = "session.ndjson.gz", "session.html"
GZIP_MAGIC = b"\x1f\x8b"
CHUNK_S = 10.0
FEED_EVERY_S = 1.0
MAX_CHUNK_BYTES = 1 << 26
IN_TIMELINE = ("done", "card", "faults")

# ── While the lab runs


class Recorder:
    """Appends the messages of a broadcast to a file. An error of the disk ends the recording, with
    a line in the log, and nothing else."""

    def __init__(self, path: Path, broadcast: Broadcast) -> None:
        self.path, self._broadcast = path, broadcast
        self._lines: list[bytes] = []
        self._began_s = self._chunk_began_s = perf_counter()
        self._feeds: dict[str, tuple[float, bytes]] = {}
        self._is_open = True
        broadcast.subscribers.on_message = self._on_message

    def record_feed(self, pane: str, answer: Any) -> None:
        """Record what readers of this pane saw; at most once a second, and only what is new."""
        now_s, data = perf_counter(), encode(answer)
        recorded_s, before = self._feeds.get(pane, (float("-inf"), b""))
        if self._lines and now_s - recorded_s >= FEED_EVERY_S and data != before:
            self._feeds[pane] = now_s, data
            self._append("blog", encode({"half": pane, "answer": answer}))

    def close(self) -> None:
        """Write what is left. No message is recorded after this."""
        self._flush()
        self._is_open = False

    def _on_message(self, name: str, data: bytes) -> None:
        if not self._is_open:
            return
        is_due = perf_counter() - self._chunk_began_s >= CHUNK_S
        if name == "hello" or (is_due and self._lines):
            self._flush()
            self._feeds.clear()
            self._chunk_began_s = perf_counter()
            self._append("hello", self._broadcast.hello_message("watcher", with_ticks=False))
        if name != "hello" and self._lines:
            self._append(name, data)

    def _append(self, name: str, data: bytes) -> None:
        r = perf_counter() - self._began_s
        self._lines.append(b'[%.3f,"%s",%s]\n' % (r, name.encode(), data))

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        if not lines or not self._is_open:
            return
        try:
            with self.path.open("ab") as file:
                file.write(gzip.compress(b"".join(lines), 6, mtime=0))
        except OSError as error:
            self._is_open = False
            text = f"The recording ends here: {error.strerror}. The lab goes on."
            self._broadcast.log_action(text, "exit")


# ── A recording that is complete


@dataclass(frozen=True)
class Chunk:
    """A piece of a recording: a gzip member, and its lines."""

    member: bytes
    lines: list[list[Any]]


def read_chunks(data: bytes) -> Iterator[Chunk]:
    """The pieces in the bytes of a recording. A last piece that was cut off is left out.

    Raises Invalid for other bytes."""
    found = False
    while data:
        unpacker = zlib.decompressobj(wbits=31)
        try:
            text = unpacker.decompress(data, MAX_CHUNK_BYTES)
            if not unpacker.eof:
                break
            lines = [json.loads(line) for line in text.splitlines()]
            if not (isinstance(lines[0], list) and lines[0][1] == "hello"):
                raise ValueError
        except (zlib.error, ValueError, LookupError, TypeError):
            break
        found = True
        yield Chunk(data[: len(data) - len(unpacker.unused_data)], lines)
        data = unpacker.unused_data
    if not found:
        raise Invalid("This is no recording of lab live.")


class Summary:
    """What the timeline of a player shows: deeds, cards, faults, and the reads of each half."""

    def __init__(self) -> None:
        self._chunks: list[float] = []
        self._events: list[list[Any]] = []
        self._reads: dict[str, dict[int, list[int]]] = {}
        self._bets: dict[int, list[Any]] = {}
        self._hello: dict[str, Any] = {}
        self._until = 0.0

    def add(self, chunk: Chunk) -> None:
        (began, _, self._hello), self._until = chunk.lines[0], chunk.lines[-1][0]
        self._chunks.append(began)
        for r, name, data in chunk.lines:
            if name == "tick":
                self._count_reads(int(r), data["halves"])
            elif name in IN_TIMELINE:
                self._events.append([r, name, data])
            elif name == "bet" and data and data["state"] == "closed":
                self._bets[data["n"]] = [r, data]  # the newest state of a bet has all of it

    def _count_reads(self, second: int, halves: dict[str, Any]) -> None:
        for half, pane in halves.items():
            counts = self._reads.setdefault(half, {}).setdefault(second, [0, 0])
            counts[0] += pane["reads"]["ok"]
            counts[1] += pane["reads"]["failed"]

    def to_json(self, ended: datetime) -> dict[str, Any]:
        """`reads`: for each half its seconds, each with the reads that succeeded and failed."""
        return {
            "format": FORMAT,
            "version": self._hello["version"],
            "ended": ended.isoformat(timespec="minutes"),
            "from": self._chunks[0],
            "until": self._until,
            "halves": [half["name"] for half in self._hello["halves"]],
            "reads": {
                half: [[second, *counts] for second, counts in seconds.items()]
                for half, seconds in self._reads.items()
            },
            "events": self._events,
            "bets": list(self._bets.values()),
            "chunks": self._chunks,
        }


def page_of(recording: bytes, ended: datetime, static: Path) -> str:
    """The page that plays a recording. Raises Invalid if it is none."""
    summary, members = Summary(), []
    for chunk in read_chunks(recording):
        summary.add(chunk)
        members.append(base64.b64encode(chunk.member).decode())
    text = json.dumps(summary.to_json(ended), separators=(",", ":")).replace("<", "\\u003c")
    lines = "\n".join(members)
    return _bundle(static).replace(
        "</body>",
        f'<script type="application/json" id="session">{text}</script>\n'
        f'<script type="text/plain" id="session-chunks">\n{lines}\n</script>\n</body>',
    )


def recording_in(page: str) -> bytes:
    """The recording in a page of `page_of`. Raises Invalid if there is none."""
    match = re.search(
        r'<script type="text/plain" id="session-chunks">\n(.*?)\n</script>', page, re.S
    )
    if match is None:
        raise Invalid("There is no recorded session in this file.")
    try:
        return b"".join(base64.b64decode(line, validate=True) for line in match[1].split("\n"))
    except ValueError:
        raise Invalid("The recorded session in this file is damaged.") from None


# ── The page as one file

_IMPORT = re.compile(r'from "\./([\w]+\.js)"')
PAGE_CSP = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline' data:; img-src data:"
)


def _bundle(static: Path) -> str:
    """The page with all its files inside. A module imports another by its name in an import map,
    which maps it to its code as a data URL."""
    page = (static / "index.html").read_text("utf-8")
    modules = {
        f"lab/{path.name}": _data_url(
            "text/javascript", _IMPORT.sub(r'from "lab/\1"', path.read_text("utf-8"))
        )
        for path in sorted(static.glob("*.js"))
    }
    icon = _data_url("image/svg+xml", (static / "icon.svg").read_text("utf-8"))
    head = (
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(PAGE_CSP)}">\n'
        f'<script type="importmap">{json.dumps({"imports": modules})}</script>\n'
    )
    page = page.replace('<meta charset="utf-8">\n', f'<meta charset="utf-8">\n{head}')
    page = re.sub(
        r'<link rel="stylesheet" href="[./]*static/([\w]+\.css)">',
        lambda match: f"<style>{(static / match[1]).read_text('utf-8')}</style>",
        page,
    )
    page = re.sub(r'href="[./]*static/icon.svg"', lambda match: f'href="{icon}"', page)
    return re.sub(
        r'<script type="module" src="[./]*static/main.js"></script>',
        '<script type="module">import "lab/main.js";</script>',
        page,
    )


def _data_url(kind: str, text: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(text.encode()).decode()}"


def finish(recording: Path, static: Path) -> Path | None:
    """Replace a recording by its page in the same folder, and return that; None if it is empty.

    Raises OSError."""
    try:
        page = page_of(recording.read_bytes(), datetime.now(UTC), static)
    except (FileNotFoundError, Invalid):
        return None
    target = recording.with_name(PAGE_NAME)
    target.write_text(page, "utf-8")
    recording.unlink()
    return target


def read_session(path: Path, static: Path) -> str:
    """The page for a `session.html` or a recording. Raises Invalid, OSError."""
    data = path.read_bytes()
    ended = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    if not data.startswith(GZIP_MAGIC):
        data = recording_in(data.decode("utf-8", "replace"))
    return page_of(data, ended, static)
