"""A hop, a service, a sidecar: compared with the least that requests, aiohttp and SQLite can do."""

import asyncio
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import requests

from lab.cluster.ports import reserve
from lab.sync_chain.ask.http import HttpTransport
from tests.bench.buses import lab_program
from tests.bench.ratio import Measure, Pair, Row, Skipped, median_ms
from tests.bench.running import a_started_stack, program
from tests.bench.serving import bare_aiohttp, bare_posts

REQUESTS = 100
CONNECTIONS = 16
FOR_S = 1
_POST = """
wrk.method, wrk.body = "POST", '{"title": "A post"}'
wrk.headers["Content-Type"] = "application/json"
"""


def wrk(url: str, script: Path | None = None) -> Measure:
    """Requests per second that wrk gets answered, one thread. Raises Skipped."""
    if shutil.which("wrk") is None:
        raise Skipped("wrk is not installed. Try: apt-get install wrk")
    words = [
        "wrk",
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{FOR_S}s",
        *(["-s", str(script)] if script else []),
    ]

    def measure() -> float:
        said = subprocess.run([*words, url], capture_output=True, text=True, check=True).stdout
        if "Non-2xx" in said:
            raise RuntimeError(said)
        rate = re.search(r"Requests/sec: *([\d.]+)", said)
        assert rate, said
        return float(rate[1])

    return measure


@contextmanager
def hop() -> Iterator[Pair]:
    with (
        bare_aiohttp() as bare_url,
        asyncio.Runner() as runner,
        a_started_stack(runner, "sync-chain") as stack,
        requests.Session() as session,
    ):
        posts = stack.urls["posts"]
        post = runner.run(stack.call("POST", posts, "/posts", {"title": "A post"})).data
        transport = HttpTransport({"posts": posts}, timeout_s=5.0)
        session.trust_env = False
        yield (
            median_ms(
                lambda: transport("posts", "GET", f"/posts/{post['id']}", None, {}), REQUESTS
            ),
            median_ms(lambda: session.get(f"{bare_url}/posts/0", timeout=5).json(), REQUESTS),
        )


@contextmanager
def service(write: bool) -> Iterator[Pair]:
    with (
        tempfile.TemporaryDirectory(dir=".") as place,
        lab_program("lab.sync_chain.posts", "--port", "0", "--data", place) as ours,
        bare_posts(place) as bare,
    ):
        if write:
            script = Path(place) / "post.lua"
            script.write_text(_POST)
            yield wrk(f"{ours}/posts", script), wrk(f"{bare}/posts", script)
        else:
            urls = (f"{url}/posts" for url in (ours, bare))
            ids = [(url, requests.post(url, json={"title": "A post"}).json()["id"]) for url in urls]
            one, other = (wrk(f"{url}/{post_id}") for url, post_id in ids)
            yield one, other


@contextmanager
def sidecar() -> Iterator[Pair]:
    with ExitStack() as held:
        bare = held.enter_context(bare_aiohttp())
        face, raw = (held.enter_context(reserve()).port for _ in range(2))
        words = [
            *("--name", "query", "--service-port", bare.rpartition(":")[2], "--reuse-port"),
            *("--port", str(face), "--raw-port", str(raw)),
            *("--mapping", json.dumps({"read_feed": {"path": "/posts"}})),
        ]
        held.enter_context(program(sys.executable, "-m", "lab.external.sidecar", *words))
        yield wrk(f"http://127.0.0.1:{raw}/posts"), wrk(f"{bare}/posts")


ROWS = [
    Row(
        name="hop",
        what="one hop, p50",
        ours="a request of the chain",
        other="bare requests to bare aiohttp",
        unit="ms",
        kind="limit",
        better="less",
        reach=1.12,
        pairs=25,
        measure=hop,
    ),
    Row(
        name="service-read",
        what="one read from SQLite",
        ours="`posts`",
        other="a bare aiohttp handler with the same SQL",
        unit="/s",
        kind="limit",
        reach=0.7,
        measure=partial(service, write=False),
    ),
    Row(
        name="service-write",
        what="one durable write to SQLite",
        ours="`posts`",
        other="a bare aiohttp handler with the same SQL",
        unit="/s",
        kind="limit",
        reach=0.8,
        measure=partial(service, write=True),
    ),
    Row(
        name="sidecar",
        what="requests to an external service",
        ours="through the sidecar",
        other="without it",
        unit="/s",
        kind="limit",
        measure=sidecar,
    ),
]
