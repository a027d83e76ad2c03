"""The course's event bus as it is taught: Node, express and axios, everything in memory.

It pushes each event to an array and POSTs it to every subscriber without waiting for the answer.
The subscribers use express as well, and count. The packages come from npm's registry when needed;
without node, npm or a network there is no figure.
"""

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import perf_counter

from tests.bench.buses import CONSUMERS, events
from tests.bench.publisher import publish_singly
from tests.bench.running import program

_INSTALLED_WITHIN_S = 180
_HEARD_WITHIN_S = 120

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
app.get('/events', (req, res) => res.send(events));
const host = '127.0.0.1';
const server = app.listen(0, host, () => console.log(`http://${host}:${server.address().port}`));
"""

_SUBSCRIBER = """
const express = require('express');
const expected = Number(process.argv[2]);
const app = express();
app.use(express.json());
let heard = 0;
app.post('/events', (req, res) => {
  heard += 1;
  res.send({});
  if (heard === expected) console.log('heard them all');
});
const host = '127.0.0.1';
const server = app.listen(0, host, () => console.log(`http://${host}:${server.address().port}`));
"""


class NodeMissing(Exception):
    """The course's bus cannot run here; the message says why."""


@contextmanager
def node_modules() -> Iterator[Path]:
    """A folder with the two programs and their packages. Raises NodeMissing."""
    for name in ("node", "npm"):
        if shutil.which(name) is None:
            raise NodeMissing(f"{name} is not installed here")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "bus.js").write_text(_BUS)
        (folder / "subscriber.js").write_text(_SUBSCRIBER)
        (folder / "package.json").write_text('{"private": true}')
        command = ["npm", "install", "--no-audit", "--no-fund", "express", "axios"]
        try:
            subprocess.run(
                command, cwd=folder, capture_output=True, check=True, timeout=_INSTALLED_WITHIN_S
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            said = (error.stderr or b"").decode(errors="replace").strip().splitlines()
            raise NodeMissing(f"npm could not install express and axios: {said[-1:]}") from None
        yield folder


def rate_through_node(folder: Path, count: int, in_flight: int) -> float:
    """Events per second through the course's bus, until all three subscribers have counted them."""
    with ExitStack() as running:

        def node(*words: str) -> tuple["subprocess.Popen[str]", str]:
            return running.enter_context(program("node", *words, cwd=folder))

        subscribers = [node("subscriber.js", str(count)) for _ in range(CONSUMERS)]
        _, address = node("bus.js", *(url for _, url in subscribers))
        envelopes = events(count)
        begun = perf_counter()
        asyncio.run(
            asyncio.wait_for(publish_singly(address, envelopes, in_flight), _HEARD_WITHIN_S)
        )
        for subscriber, _ in subscribers:
            assert subscriber.stdout is not None
            if not subscriber.stdout.readline():
                raise RuntimeError("a subscriber ended before it had heard everything")
        return count / (perf_counter() - begun)
