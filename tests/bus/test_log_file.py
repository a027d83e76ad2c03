"""The log and its file: one bus at a time, full and damaged disks, memory, readers cut off."""

import asyncio
import itertools
import json
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import aiohttp
import pytest

from lab.bus.base import BusUnavailable, OffsetExpired
from lab.bus.log.client import LogBus
from lab.bus.log.server import LogServer
from lab.bus.log.storage import MAX_LINES_BYTES, LogFile, LogUnusable
from lab.bus.log.wire import LogDamaged
from lab.domain.errors import DiskFailed
from lab.domain.events import Envelope
from lab.service.http import HttpApp, Route
from lab.service.listener import bind, serve
from tests.support.consumers import post, wait_until
from tests.support.laboratory import PATIENCE_S

PAGE_BYTES = 4096


def an_event(number: int, size: int = 0) -> Envelope:
    event = post(number)
    return event.model_copy(update={"data": {**event.data, "title": "x" * size}})


def fill(path: Path, count: int, size: int = 0) -> None:
    with closing(LogFile(path)) as log:
        log.append([an_event(number, size) for number in range(1, count + 1)])


def damage(path: Path) -> None:
    """Overwrite pages in the middle of the file with noise, behind the head of every table."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // PAGE_BYTES // 3 * PAGE_BYTES)
        file.write(b"\xa5noise" * PAGE_BYTES)


@asynccontextmanager
async def serving(log: LogFile, retain: int | None = None) -> AsyncIterator[tuple[LogServer, str]]:
    """A log server on a free port, and its URL."""
    server = LogServer(log, retain)
    listener = bind(0)
    port = listener.getsockname()[1]
    routes = [
        Route("POST", "/events", server.append, raw=True),
        Route("GET", "/events", server.read, raw=True),
        Route("GET", "/head", server.head, raw=True),
    ]
    committing = asyncio.create_task(server.group_commit_loop())
    try:
        async with serve(HttpApp(routes, port), listener):
            yield server, f"http://127.0.0.1:{port}"
    finally:
        committing.cancel()
        await asyncio.gather(committing, return_exceptions=True)


async def read_until_refused(bus: LogBus) -> None:
    """Consume as a service does: a lost stream is read on where it was. Raises OffsetExpired."""
    position = 0
    while True:
        try:
            async for batch in bus.read(position):
                position += len(batch)
        except OffsetExpired:
            raise
        except BusUnavailable:
            pass


# ── One bus for one file


def test_a_second_bus_on_a_folder_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "event-bus.db"
    with closing(LogFile(path)) as log:
        log.append([an_event(1)])
        before = {file.name: (file.stat(), file.read_bytes()) for file in tmp_path.iterdir()}
        with pytest.raises(LogUnusable, match="open in another process: a log has one bus"):
            LogFile(path)
        after = {file.name: (file.stat(), file.read_bytes()) for file in tmp_path.iterdir()}
        assert {name: stat.st_mtime_ns for name, (stat, _) in after.items()} == {
            name: stat.st_mtime_ns for name, (stat, _) in before.items()
        }
        assert [data for _, data in after.values()] == [data for _, data in before.values()]


def test_a_refused_second_bus_raises_no_alarm_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "event-bus.db"
    with closing(LogFile(path)) as log:
        log.append([an_event(number) for number in range(1, 4)])
        with pytest.raises(LogUnusable):
            LogFile(path)
        log.append([an_event(number) for number in range(4, 7)])
        read_in = log.epoch
    with closing(LogFile(path)) as log:
        assert log.end_of_epoch(read_in) == 6


def test_a_bus_that_cannot_open_its_log_says_why(tmp_path: Path) -> None:
    with closing(LogFile(tmp_path / "event-bus.db")):
        refused = start_bus(tmp_path)
    assert refused.returncode == 3
    assert "a log has one bus" in refused.stderr
    assert "--data" in refused.stderr
    assert "Traceback" not in refused.stderr


def start_bus(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lab.bus.log.server", "--port", "0", "--data", str(folder)],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


# ── Disks


@contextmanager
def limited_file_size(size: int) -> Iterator[None]:
    """No file of this process may become larger, as on a full disk."""
    import signal

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)


async def test_a_full_disk_refuses_an_event_and_the_log_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(LogFile(tmp_path / "event-bus.db")) as log:
        async with serving(log) as (server, url), aiohttp.ClientSession() as session:
            assert await server.commit([an_event(1)]) == [1]
            with limited_file_size((tmp_path / "event-bus.db-wal").stat().st_size + 2 * PAGE_BYTES):
                for _ in range(2):
                    body = [an_event(2, 100_000).model_dump()]
                    async with session.post(f"{url}/events", json=body) as response:
                        assert response.status == 503
                        problem = await response.json(content_type=None)
                        assert "Free space on that disk" in problem["detail"]
            assert server.newest == 1
            assert server.not_ready_because() is None
            assert await server.commit([an_event(3)]) == [2]
    printed = capsys.readouterr().err
    assert printed.count("Free space on that disk") == 1
    assert "Traceback" not in printed


async def test_a_log_removed_while_it_is_open_acknowledges_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "event-bus.db"
    with closing(LogFile(path)) as log:
        async with serving(log) as (server, _):
            assert await server.commit([an_event(1)]) == [1]
            path.rename(tmp_path / "elsewhere.db")
            with pytest.raises(DiskFailed, match="removed or replaced"):
                await server.commit([an_event(2)])
            (tmp_path / "elsewhere.db").rename(path)
            assert await server.commit([an_event(3)]) == [2]
    assert "removed or replaced" in capsys.readouterr().err


def test_a_disk_that_takes_nothing_is_said_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LogUnusable, match="can't be written"):
        LogFile(tmp_path / "file" / "event-bus.db")
    with limited_file_size(0), pytest.raises(LogUnusable, match="Free space on that disk"):
        LogFile(tmp_path / "event-bus.db")


async def test_a_damaged_page_makes_the_log_not_ready(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "event-bus.db"
    fill(path, 400, 3_000)
    damage(path)
    before = path.read_bytes()
    with closing(LogFile(path)) as log:
        async with serving(log) as (server, url):
            assert f"{path} is damaged" in str(server.not_ready_because())
            with pytest.raises(LogDamaged, match="put back a copy"):
                await server.commit([an_event(401)])
            bus = LogBus(url)
            with pytest.raises(OffsetExpired, match="is damaged"):
                await read_until_refused(bus)
            await bus.close()
    assert path.read_bytes() == before
    assert "Traceback" not in capsys.readouterr().err


async def test_damage_found_while_reading_ends_readiness(tmp_path: Path) -> None:
    path = tmp_path / "event-bus.db"
    fill(path, 400, 3_000)
    with closing(LogFile(path)) as log:
        async with serving(log) as (server, url):
            assert server.not_ready_because() is None
            damage(path)
            bus = LogBus(url)
            with pytest.raises(OffsetExpired, match="is damaged"):
                await read_until_refused(bus)
            await bus.close()
            assert "is damaged" in str(server.not_ready_because())
            with pytest.raises(DiskFailed):
                await server.commit([an_event(401)])


def test_a_file_that_is_no_log_is_refused_with_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "event-bus.db"
    fill(path, 3)
    path.write_bytes(b"garbage" + path.read_bytes()[7:])
    refused = start_bus(tmp_path)
    assert refused.returncode == 3
    assert "is damaged" in refused.stderr
    assert "Traceback" not in refused.stderr


# ── Memory


async def test_the_memory_of_the_log_is_bounded_by_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.bus.log.server._CACHED_BYTES", 3_000_000)
    with closing(LogFile(tmp_path / "event-bus.db")) as log:
        async with serving(log) as (server, _):
            for number in range(1, 31):
                await server.commit([an_event(number, 400_000)])
            assert server._newest.size_bytes <= 3_000_000
            assert len(server._newest) >= 6
            heard: list[bytes] = []
            while len(heard) < 30:
                lines = await server.wait_for_events(len(heard))
                assert sum(map(len, lines[:-1])) < MAX_LINES_BYTES
                heard += lines
            assert [json.loads(line)["sequence"] for line in heard] == list(range(1, 31))


# ── Readers that do not follow


async def begin_reading(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask for all events, and read the beginning only: the rest waits for this reader."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=4_096)
    writer.write(f"GET /events?after=0 HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def is_cut_off(reader: asyncio.StreamReader) -> bool:
    """Read to the end; whether the response ends without its last chunk."""
    body = b""
    try:
        while chunk := await reader.read(1 << 20):
            body += chunk
    except ConnectionError:
        return True
    return not body.endswith(b"0\r\n\r\n")


EVENT_COUNT, EVENT_BYTES = 300, 100_000  # more than all buffers between the two ends


async def test_a_slow_reader_overtaken_by_retention_is_cut_off(tmp_path: Path) -> None:
    fill(tmp_path / "event-bus.db", EVENT_COUNT, EVENT_BYTES)
    with closing(LogFile(tmp_path / "event-bus.db")) as log:
        async with serving(log, retain=EVENT_COUNT) as (server, url):
            reader, writer = await begin_reading(url)
            await server.commit([an_event(EVENT_COUNT + n) for n in range(1, EVENT_COUNT)])
            assert await is_cut_off(reader)
            await wait_until(lambda: log.first > 1)  # The deletion runs in a thread.
            writer.close()


async def test_a_log_that_ends_cuts_its_readers_off(tmp_path: Path) -> None:
    fill(tmp_path / "event-bus.db", EVENT_COUNT, EVENT_BYTES)
    with closing(LogFile(tmp_path / "event-bus.db")) as log:
        async with serving(log) as (server, url):
            reader, writer = await begin_reading(url)
            server._closing = True
            assert await is_cut_off(reader)
            writer.close()


async def test_a_reader_that_gets_all_has_a_proper_end(tmp_path: Path) -> None:
    fill(tmp_path / "event-bus.db", EVENT_COUNT, EVENT_BYTES)
    with closing(LogFile(tmp_path / "event-bus.db")) as log:
        async with (
            serving(log) as (_, url),
            aiohttp.request("GET", f"{url}/events?after=0") as response,
        ):
            lines = (await response.read()).splitlines()
    assert [json.loads(line)["sequence"] for line in lines] == list(range(1, EVENT_COUNT + 1))


# ── Readers that have everything


async def test_a_live_reader_that_becomes_slow_gets_every_event(tmp_path: Path) -> None:
    with closing(LogFile(tmp_path / "event-bus.db")) as log:
        async with serving(log) as (server, url):
            async with aiohttp.request(
                "GET", f"{url}/events?after=0&follow=1", read_bufsize=4_096
            ) as response:
                await wait_until(lambda: len(server._live) == 1)
                for number in range(1, EVENT_COUNT + 1):
                    await server.commit([an_event(number, EVENT_BYTES)])
                await wait_until(lambda: not server._live)
                body = b""
                while body.count(b"\n") < EVENT_COUNT:
                    body += await response.content.readany()
            sequences = [json.loads(line)["sequence"] for line in body.splitlines()]
            assert sequences == list(range(1, EVENT_COUNT + 1))


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_live_reader_gets_events_in_the_framing_of_its_version(
    tmp_path: Path, version: str
) -> None:
    with closing(LogFile(tmp_path / "event-bus.db")) as log:
        async with serving(log) as (server, url):
            host, _, port = url.removeprefix("http://").partition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            path = "/events?after=0&follow=1"
            writer.write(f"GET {path} HTTP/{version}\r\nHost: {host}:{port}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            await wait_until(lambda: len(server._live) == 1)
            await server.commit([an_event(1), an_event(2)])
            lines = await server.wait_for_events(0)
            size = sum(len(line) + 1 for line in lines)
            assert (b"chunked" in head) == (version == "1.1")
            if version == "1.1":
                assert int(await reader.readline(), 16) == size
            assert (await reader.readexactly(size)).splitlines() == lines
            writer.close()
            async with asyncio.timeout(PATIENCE_S):
                for number in itertools.count(3):
                    await server.commit([an_event(number)])
                    if not server._live:  # the log has noticed that the reader has gone
                        break
