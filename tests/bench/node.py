"""The course's event bus as it is taught: Node, express and axios, everything in memory.

Written here in the few lines it takes: each event is pushed to an array and POSTed to every
subscriber, and nobody waits for that. The subscribers are express, too, and count. The packages
come from npm's registry when they are wanted; without node, npm or a network there is no figure.
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
    """Why the course's bus can't run here, as a sentence."""


@contextmanager
def node_modules() -> Iterator[Path]:
    """A folder with the two programs and what they require. Raises NodeMissing."""
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
    """Events a second through that bus, from the publisher until all three have counted them."""
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
