"""`GET /metrics` of the load: what its clients saw, from the moment a request was due."""

import asyncio
from typing import Any

import pytest

from lab.load.metrics_page import ADDRESS, metrics_page, render
from tests.load.test_generator import a_sender, fire_all
from tests.support.exposition import of, parse
from tests.support.load_blog import LoadWorld


def test_the_page_counts_what_clients_saw(world: LoadWorld) -> None:
    sender = a_sender(world, late_s=0.4)
    fire_all(world, sender, "read_feed", "create_post", "read_feed")
    world.script = ["timeout"]
    fire_all(world, sender, "create_post")
    found = parse(render([sender]))
    assert of(found, "lab_load_requests_total", route="/feed", status="200") == 2
    assert of(found, "lab_load_requests_total", route="/posts", status="201") == 1
    assert of(found, "lab_load_requests_total", method="POST", status="timeout") == 1
    assert of(found, "lab_load_request_seconds_count", variant="x") == 4
    assert of(found, "lab_load_lateness_seconds_bucket", le="0.25") == 0
    assert of(found, "lab_load_lateness_seconds_count") == 4
    assert of(found, "lab_load_under_way") == of(found, "lab_load_dropped_total") == 0


async def fetch(port: int, path: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer


async def test_only_the_page_is_served_and_only_where_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.delenv(ADDRESS, raising=False)
    async with metrics_page([]) as nothing:
        assert nothing is None
    async with metrics_page([], "0") as server:
        assert server
        host, port = server.sockets[0].getsockname()
        assert host == "127.0.0.1"
        assert (await fetch(port, "/metrics")).startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/")
        assert (await fetch(port, "/")).startswith(b"HTTP/1.1 404 ")
        for wrong in (str(port), "soon", "127.0.0.1:70000"):
            with pytest.raises(SystemExit, match="expected a free port"):
                async with metrics_page([], wrong):
                    pass
