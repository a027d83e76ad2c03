"""A service on a disk that fails says so in a sentence; its ids grow whatever the clock does."""

import errno
import io
import json
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
import requests

from lab.cluster.ports import reserve
from lab.domain import model
from lab.domain.model import new_id
from lab.service.http import Route
from lab.service.server import Shell, ShellOptions
from lab.service.service import Service
from lab.service.tracing import SpanLog
from lab.sync_chain.ask.events import dispatch
from tests.support.laboratory import PATIENCE_S, eventually

SCHEMA = """
CREATE TABLE IF NOT EXISTS posts (id TEXT PRIMARY KEY, title TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS copies (id TEXT PRIMARY KEY);
"""


def a_service() -> Service:
    return Service("tests", "posts", SCHEMA)


def test_ids_of_a_service_grow_across_a_restart_with_an_earlier_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(a_service().open_store(tmp_path)) as store, store.transaction() as change:
        change.execute("INSERT INTO posts VALUES (?, '')", last := new_id())
        change.execute("INSERT INTO copies VALUES ('an id of another program')")
    hour_earlier_ns = time.time_ns() - 3_600_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: hour_earlier_ns)
    monkeypatch.setattr(model, "_last_microsecond", 0)
    assert new_id() < last
    with closing(a_service().open_store(tmp_path)):
        assert new_id() > last


def test_a_folder_that_takes_no_database_is_said_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "posts.db").write_bytes(b"garbage" * 1_000)
    for folder in (tmp_path / "file", tmp_path):
        with pytest.raises(SystemExit) as exited:
            a_service().open_store(folder)
        assert exited.value.code == 3
        assert f"{folder / 'posts.db'} can't be read or written" in capsys.readouterr().err


def test_a_span_file_that_cannot_be_written_is_said_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exited:
        Shell("tests", "posts", [], ShellOptions(port=0, spans=tmp_path))
    assert exited.value.code == 3
    assert "give another --spans" in capsys.readouterr().err


async def test_a_full_disk_is_answered_and_logged_in_one_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def store_post() -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    shell = Shell("tests", "posts", [Route("POST", "/posts", store_post)], ShellOptions(port=0))
    for _ in range(2):
        response = await dispatch(shell, "POST", "/posts", {}, b"", "")
        assert response is not None
        assert response.status == 503
        assert "database or disk is full" in str(response.text)
        assert '"definite":false' in str(response.text)
    printed = capsys.readouterr().err
    assert printed.count("Is its disk full") == 1
    assert "Traceback" not in printed


async def test_a_wrong_statement_stays_a_bug(capsys: pytest.CaptureFixture[str]) -> None:
    def ask_nonsense() -> None:
        with closing(sqlite3.connect(":memory:")) as database:
            database.execute("SELECT nothing FROM nowhere")

    shell = Shell("tests", "posts", [Route("GET", "/posts", ask_nonsense)], ShellOptions(port=0))
    response = await dispatch(shell, "GET", "/posts", {}, b"", "")
    assert response is not None
    assert response.status == 500
    assert "Traceback" in capsys.readouterr().err


async def test_a_full_disk_for_spans_harms_no_request(capsys: pytest.CaptureFixture[str]) -> None:
    options = ShellOptions(port=0, spans=Path("/dev/full"))
    shell = Shell("tests", "posts", [Route("GET", "/posts", lambda: ["a post"])], options)
    for _ in range(3):
        response = await dispatch(shell, "GET", "/posts", {}, b"", "")
        assert response is not None
        assert response.status == 200
        shell.spans.flush()
    shell.spans.close()
    printed = capsys.readouterr().err
    assert printed.count("spans are left out") == 1
    assert "Traceback" not in printed


def test_a_disk_that_was_full_leaves_no_half_span(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class SmallDisk(io.BytesIO):
        space = 100

        def write(self, data: bytearray) -> int:  # type: ignore[override]
            if not self.space:
                raise OSError(errno.ENOSPC, "No space left on device")
            written = super().write(bytes(data)[: self.space])
            self.space -= written
            return written

    disk = SmallDisk()
    monkeypatch.setattr(Path, "open", lambda *_, **__: disk)
    spans = SpanLog(tmp_path / "spans.ndjson", "posts")
    for name in ("first", "second", "left out"):
        with spans.span(name, "server", None):
            pass
        spans.flush()
    disk.space = 10_000
    with spans.span("last", "server", None):
        pass
    spans.flush()
    written = [json.loads(line)["name"] for line in disk.getvalue().splitlines()]
    assert written == ["first", "last"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /dev/full")
def test_a_full_disk_for_the_log_of_a_service_ends_nothing(tmp_path: Path) -> None:
    """A service prints its address at the start, and a sentence at each error."""
    with reserve() as place, open("/dev/full", "w") as full:
        options = ("--port", str(place.port), "--reuse-port", "--data", str(tmp_path))
        command = [sys.executable, "-m", "lab.sync_chain.posts", *options]
        with subprocess.Popen(command, stdout=full, stderr=full) as service:
            try:
                eventually(lambda: is_healthy(place.port) or service.poll(), "a healthy service")
                assert service.poll() is None
            finally:
                service.kill()


def is_healthy(port: int) -> bool:
    with requests.Session() as session, suppress(requests.ConnectionError):
        session.trust_env = False
        return session.get(f"http://127.0.0.1:{port}/health", timeout=PATIENCE_S).ok
    return False
