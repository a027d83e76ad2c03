"""The course's event bus as it is taught: Node, express and axios, everything in memory.

It pushes each event to an array and POSTs it to every subscriber without waiting for the answer.
The packages come from npm's registry when needed.
"""

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import requests

from lab.support.http_client import HttpClient, HttpOrigin, HttpResult
from tests.bench.buses import CONSUMERS, events, until
from tests.bench.ratio import Measure, Skipped
from tests.bench.running import program

_INSTALLED_WITHIN_S = 180

_BUS = """
const express = require('express');
const axios = require('axios');
const subscribers = process.argv.slice(2);
const app = express();
app.use(express.json());
const events = [];
app.post('/events', (req, res) => {
  const event = req.body;
  events.push(event);
  for (const subscriber of subscribers) {
    axios.post(subscriber + '/events', event).catch((err) => console.error(err.message));
  }
  res.status(201).send({ status: 'OK' });
});
const host = '127.0.0.1';
const server = app.listen(0, host, () => console.log(`http://${host}:${server.address().port}`));
server.keepAliveTimeout = 60_000; // an idle client of a busy machine is no failure
"""

_SUBSCRIBER = """
const express = require('express');
const app = express();
app.use(express.json());
let heard = 0;
app.post('/events', (req, res) => { heard += 1; res.send({}); });
app.get('/heard', (req, res) => res.send({ heard }));
const host = '127.0.0.1';
const server = app.listen(0, host, () => console.log(`http://${host}:${server.address().port}`));
server.keepAliveTimeout = 60_000; // an idle client of a busy machine is no failure
"""


@contextmanager
def node_throughput(count: int, in_flight: int) -> Iterator[Measure]:
    """Events per second through the course's bus to three subscribers. Raises Skipped."""
    with tempfile.TemporaryDirectory() as place, ExitStack() as running:
        folder = Path(place)
        _install(folder)

        def node(*words: str) -> str:
            return running.enter_context(program("node", *words, cwd=folder))[1]

        subscribers = [node("subscriber.js") for _ in range(CONSUMERS)]
        address = node("bus.js", *subscribers)
        session = running.enter_context(requests.Session())
        session.trust_env = False
        published = 0

        def heard() -> int:
            return min(int(session.get(f"{one}/heard").json()["heard"]) for one in subscribers)

        def rate() -> float:
            nonlocal published
            published += count
            envelopes = events(count)
            begun = perf_counter()
            asyncio.run(_post_each(address, envelopes, in_flight))
            until(lambda: heard() >= published, every_s=0.005)
            return count / (perf_counter() - begun)

        yield rate


def _install(folder: Path) -> None:
    for name in ("node", "npm"):
        if shutil.which(name) is None:
            raise Skipped(f"{name} is not installed. Try: apt-get install nodejs npm")
    (folder / "bus.js").write_text(_BUS)
    (folder / "subscriber.js").write_text(_SUBSCRIBER)
    (folder / "package.json").write_text('{"private": true}')
    command = ["npm", "install", "--no-audit", "--no-fund", "express", "axios"]
    how: dict[str, Any] = {"capture_output": True, "timeout": _INSTALLED_WITHIN_S}
    try:
        subprocess.run(command, cwd=folder, check=True, **how)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        said = (error.stderr or b"").decode(errors="replace").strip().splitlines()
        raise Skipped(f"npm could not install express and axios: {said[-1:]}") from None


async def _post_each(url: str, envelopes: list[str], in_flight: int) -> None:
    """Send one POST per event through the load's own client; returns when all are acknowledged."""
    loop = asyncio.get_running_loop()
    client = HttpClient(loop, in_flight)
    origin = HttpOrigin.from_url(url)
    finished = loop.create_future()
    waiting = iter(envelopes)
    unanswered = len(envelopes)

    def send_next() -> None:
        if (envelope := next(waiting, None)) is not None:
            body = envelope.encode()
            assert client.send("POST", origin, "/events", body, perf_counter() + 120, answered)

    def answered(outcome: HttpResult) -> None:
        nonlocal unanswered
        unanswered -= 1
        if finished.done():
            return
        if outcome.status != 201:
            finished.set_exception(RuntimeError(f"not acknowledged: {outcome}"))
        elif not unanswered:
            finished.set_result(None)
        send_next()

    for _ in range(in_flight):
        send_next()
    await finished
    client.close()
