"""`lab live --replay FILE`: a server that plays a recorded session, and nothing else."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from lab.live import recording
from lab.live.broadcast import Broadcast
from lab.live.recording import Recorder
from lab.live.replay import run_replay
from tests.live.test_recording import HOSTILE, Clock, outage
from tests.support.live_world import ConsoleClient


async def test_a_recording_is_served_to_this_machine_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(recording, "perf_counter", clock)
    monkeypatch.setattr("lab.live.broadcast.perf_counter", clock)
    broadcast = Broadcast()
    recorder = Recorder(tmp_path / recording.RECORDING_NAME, broadcast)
    outage(broadcast, recorder, clock)
    printed: list[str] = []
    task = asyncio.create_task(run_replay(recorder.path, 0, False, printed.append))
    while not printed:
        assert not task.done(), task.result()
        await asyncio.sleep(0.003)
    port = int(printed[0].split("127.0.0.1:")[1].split("/")[0])
    client = ConsoleClient(port)
    status, headers, body = await asyncio.to_thread(client.request, "GET", "/")
    assert status == 200
    assert "default-src 'none'" in headers["content-security-policy"]
    assert b"session-chunks" in body
    assert HOSTILE.encode() not in body
    other_host = {"Host": "evil.example"}
    assert (await asyncio.to_thread(client.request, "GET", "/", None, other_host))[0] == 421
    assert (await asyncio.to_thread(client.request, "GET", "/api/stream"))[0] == 404
    assert (await asyncio.to_thread(client.request, "POST", "/", {}))[0] == 405
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
