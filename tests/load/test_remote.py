"""The load on another machine: here, a process that is reached by its stdin and stdout only."""

import asyncio
import json
import resource
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import psutil
import pytest

from lab.load.plan import READY_SUFFIX
from lab.load.samples import read_samples
from tests.support.load_blog import PATIENCE_S, SilentPeer, a_plan, a_variant, run_peer, wait_until
from tests.support.small import environment

THERE = (sys.executable, "-m", "lab.load.remote")
SOCKETS = 1_000


async def begin(folder: Path, port: int, **changed: object) -> tuple[subprocess.Popen[str], Path]:
    """A load whose plan has a name in place of an address, once it has its plan."""
    path = folder / "plan.json"
    here = subprocess.Popen(  # noqa: ASYNC220 - it starts in the background
        [*THERE, str(path), *THERE], stderr=subprocess.PIPE, text=True, env=environment()
    )
    await wait_until(lambda: path.with_suffix(READY_SUFFIX).exists() or here.poll() is not None)
    plan = a_plan(folder, a_variant("slow"), start_at=perf_counter() + 0.5, **changed)
    document = plan.model_dump(mode="json")
    urls = dict.fromkeys(plan.variants[0].urls, f"http://localhost:{port}")
    document["variants"][0]["urls"] = urls
    path.write_text(json.dumps(document))
    return here, path


async def test_a_load_elsewhere_holds_more_than_900_sockets(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2 * SOCKETS:
        pytest.skip(f"this machine allows {hard} open files")
    all_are_open, opened = asyncio.Event(), 0

    async def answer_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        if opened == SOCKETS:
            all_are_open.set()
        while await reader.readuntil(b"\r\n\r\n"):
            await all_are_open.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")

    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * SOCKETS), hard))
    try:
        async with run_peer(answer_late) as origin:
            here, path = await begin(
                tmp_path,
                origin.port,
                phases=[{"name": "before", "seconds": 0.5}],
                rate=2.4 * SOCKETS,
                timeout_s=PATIENCE_S,
                max_in_flight=4_000,
            )
            _, errors = await asyncio.to_thread(here.communicate)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (here.returncode, errors) == (0, "")
    samples = read_samples(tmp_path / "samples")
    assert len(samples) > SOCKETS
    assert all(sample.ok and not sample.dropped for sample in samples)
    summary = json.loads((tmp_path / "summary").read_text())
    assert summary["started_at"] == json.loads(path.read_text())["start_at"]
    assert summary["round_trip_ms"] > 0
    last = json.loads((tmp_path / "progress").read_text().splitlines()[-1])
    assert last["variants"]["slow"]["ok"] == len(samples)


async def test_a_load_elsewhere_ends_with_this_side(tmp_path: Path) -> None:
    peer = SilentPeer()
    async with run_peer(peer) as origin:
        phases = [{"name": "before", "seconds": 600}]
        here, _ = await begin(tmp_path, origin.port, phases=phases, timeout_s=600)
        await wait_until(lambda: peer.opened > 0)
        (there,) = psutil.Process(here.pid).children()
        here.terminate()
        await asyncio.to_thread(here.communicate)
        assert here.returncode == 0
        await wait_until(lambda: not there.is_running())


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("echo", '{"ready": "0"}'), "Install the same version on both"),
        (("echo", "Welcome"), "expected lines of JSON"),
        (("false",), "has ended with status 1"),
        (("/nonexistent",), "can't be started"),
    ],
)
def test_a_command_that_starts_no_load_says_why(
    command: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    words = [*THERE, str(tmp_path / "plan.json"), *command]
    done = subprocess.run(words, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_name_without_an_address_ends_the_load_elsewhere(tmp_path: Path) -> None:
    plan = a_plan(tmp_path, a_variant()).model_dump(mode="json")
    plan["variants"][0]["urls"]["query"] = "http://no.invalid:1"
    line = json.dumps({"plan": plan, "in_s": 1}) + "\n"
    done = subprocess.run(
        THERE, input=line, capture_output=True, text=True, env=environment(), check=False
    )
    assert done.returncode == 1
    assert "no address on the machine of the load" in done.stderr
