"""How much code a comment passes: the files of `lab/` that work for it, and all their lines.

Each service runs as its own process and records the files in which Python calls a function, from
the moment before the request on. A first comment comes before the recording: what a process loads
or connects once is no part of the way.

`python -m tests.blog.test_way_of_a_comment` prints the files.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import requests

from tests.support.patience import PATIENCE_S
from tests.support.small import ROOT

PROGRAM = ROOT / "tests" / "support" / "traced_program.py"
# Files and lines. A change that needs more says so here, and why in its commit.
MOST_IN_CHAIN = (17, 2_450)
MOST_ON_BUS = (26, 5_250)


class TracedProgram:
    """A running program, its address, and the files that it has recorded."""

    def __init__(self, process: "subprocess.Popen[str]", recorded: Path) -> None:
        assert process.stdout is not None
        self._process = process
        self._recorded = recorded
        self.url = process.stdout.readline().split()[-1]

    def begin(self) -> None:
        self._process.send_signal(signal.SIGUSR1)

    def files(self) -> set[str]:
        """The recorded files, relative to the project."""
        self._process.send_signal(signal.SIGUSR2)
        wait_until(self._recorded.exists)
        return {os.path.relpath(line, ROOT) for line in self._recorded.read_text().splitlines()}


class Client:
    """A client that keeps its connections."""

    def __init__(self) -> None:
        self._session = requests.Session()

    def create(self, url: str, body: Mapping[str, str]) -> str | None:
        """The id of what was created; None when the service refuses it, as for an unknown post."""
        response = self._session.post(url, json=body, timeout=PATIENCE_S)
        return str(response.json()["id"]) if response.ok else None

    def approved(self, url: str) -> set[str]:
        """The contents of the approved comments in the feed of `query` at `url`."""
        feed = self._session.get(f"{url}/feed", timeout=PATIENCE_S).json()
        comments = [comment for post in feed for comment in post["comments"]]
        return {comment["content"] for comment in comments if comment["status"] == "approved"}


def wait_until(condition: Callable[[], object]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.01)


@contextmanager
def traced(folder: Path, module: str, *arguments: str) -> Iterator[TracedProgram]:
    recorded = folder / f"{module}.txt"
    command = [sys.executable, str(PROGRAM), str(recorded), module, "--port", "0"]
    command += ["--data", str(folder), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield TracedProgram(process, recorded)
        finally:
            process.kill()


def way_through_chain(folder: Path) -> dict[str, int]:
    """The files that work from a comment's request until its answer, with their lines."""
    client = Client()
    with ExitStack() as stack:
        posts = stack.enter_context(traced(folder, "lab.sync_chain.posts"))
        moderation = stack.enter_context(traced(folder, "lab.sync_chain.moderation"))
        peers = ["--peer", f"posts={posts.url}", "--peer", f"moderation={moderation.url}"]
        # One worker, so that the first comment has opened its connections.
        comments = stack.enter_context(
            traced(folder, "lab.sync_chain.comments", "--workers", "1", *peers)
        )
        post = client.create(f"{posts.url}/posts", {"title": "A post"})
        url = f"{comments.url}/posts/{post}/comments"
        assert client.create(url, {"content": "The first"})
        programs = (posts, moderation, comments)
        for program in programs:
            program.begin()
        assert client.create(url, {"content": "The second"})
        return lines_of(programs)


def way_over_bus(folder: Path) -> dict[str, int]:
    """The files that work from a comment's request until the feed shows it, with their lines."""
    client = Client()
    with ExitStack() as stack:
        bus = stack.enter_context(traced(folder, "lab.bus.log.server"))
        posts, comments, moderation, query = (
            stack.enter_context(traced(folder, f"lab.async_bus.{name}", "--bus", bus.url))
            for name in ("posts", "comments", "moderation", "query")
        )
        post = client.create(f"{posts.url}/posts", {"title": "A post"})
        url = f"{comments.url}/posts/{post}/comments"
        wait_until(lambda: client.create(url, {"content": "The first"}))
        wait_until(lambda: "The first" in client.approved(query.url))
        programs = (bus, comments, moderation, query)
        for program in programs:
            program.begin()
        assert client.create(url, {"content": "The second"})
        wait_until(lambda: "The second" in client.approved(query.url))
        return lines_of(programs)


def lines_of(programs: Collection[TracedProgram]) -> dict[str, int]:
    files = sorted(set().union(*(program.files() for program in programs)))
    return {file: len((ROOT / file).read_text("utf-8").splitlines()) for file in files}


def test_a_comment_in_the_chain_passes_few_files(tmp_path: Path) -> None:
    way = way_through_chain(tmp_path)
    assert {"lab/sync_chain/comments.py", "lab/sync_chain/moderation.py"} < set(way)
    assert len(way) <= MOST_IN_CHAIN[0], way
    assert sum(way.values()) <= MOST_IN_CHAIN[1], way


def test_a_comment_on_the_bus_passes_few_files(tmp_path: Path) -> None:
    way = way_over_bus(tmp_path)
    assert {"lab/async_bus/inbox.py", "lab/bus/log/storage.py"} < set(way)
    assert len(way) <= MOST_ON_BUS[0], way
    assert sum(way.values()) <= MOST_ON_BUS[1], way


def main() -> None:
    for way in (way_through_chain, way_over_bus):
        with TemporaryDirectory() as folder:
            lines = way(Path(folder))
        for file, count in lines.items():
            sys.stdout.write(f"{count:6} {file}\n")
        sys.stdout.write(f"{way.__name__}: {len(lines)} files, {sum(lines.values())} lines\n\n")


if __name__ == "__main__":
    main()
