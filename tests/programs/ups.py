"""A lab that is up, as somebody sees it who reads its terminal and types what is printed there."""

import contextlib
import json
import queue
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import requests

from lab.cluster.arrangements import ARRANGEMENTS
from lab.cluster.errors import PortTaken
from lab.cluster.ports import reserve
from lab.sandbox import control_client
from tests.programs.labs import ROOT, assert_ended
from tests.programs.patient import PATIENCE_S
from tests.support.laboratory import eventually

BEFORE_THE_FOLDER = "Logs and data are in"
ON_THE_BUS = {
    "async-bus": {"PostCreated", "CommentCreated"},
    "request-reply": {"Asked", "Answered"},
}


class Up:
    """A lab in a process of its own, and what it says."""

    def __init__(self, folder: Path, which: str) -> None:
        command = [sys.executable, "-m", "tests.programs.by_hand", str(folder), which]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)
        self._unread: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.welcome = [*self.lines_until(BEFORE_THE_FOLDER), *self.lines_until(str(folder))]
        except BaseException:
            self.process.kill()
            raise
        self.tree = psutil.Process(self.process.pid).children(recursive=True)
        self.lab = control_client.find_lab(self.process.pid)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._unread.put(line.rstrip("\n"))

    def lines_until(self, part: str) -> list[str]:
        """What it says from here to the line that has `part`."""
        lines = [""]
        while part not in lines[-1]:
            try:
                lines.append(self._unread.get(timeout=PATIENCE_S))
            except queue.Empty:
                pytest.fail(f"never said {part!r}, but {lines}")
        return lines[1:]

    def url(self, stack: str, target: str) -> str:
        """As it was printed."""
        begin = next(n for n, line in enumerate(self.welcome) if line.startswith(f"{stack}:"))
        for line in self.welcome[begin:]:
            if found := re.fullmatch(rf"  {target} +(http://\S+)", line):
                return found[1]
        raise LookupError(target)

    def process_of(self, stack: str, target: str) -> psutil.Process:
        """The process that listens there."""
        port = urlsplit(self.url(stack, target)).port
        for process in psutil.Process(self.process.pid).children(recursive=True):
            for connection in process.net_connections(kind="inet"):
                if connection.laddr.port == port and connection.status == psutil.CONN_LISTEN:
                    return process
        raise LookupError(target)

    def end(self, number: int) -> int:
        """Signal it and wait until it has ended; its exit status."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Until it has ended; its exit status. `errors` is then what it wrote to stderr."""
        status = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.errors = self.process.stderr.read()
        self.process.stdout.close()
        self.process.stderr.close()
        return status

    def assert_nothing_is_left(self) -> None:
        assert_ended(*self.tree)
        stacks = self.lab.stacks.values()
        assert_free(self.lab.url, *(url for urls in stacks for url in urls.values()))


@contextlib.contextmanager
def up(folder: Path, which: str = "both") -> Iterator[Up]:
    running = Up(folder, which)
    try:
        yield running
    finally:
        try:
            if running.process.poll() is None:
                running.end(signal.SIGINT)
        finally:
            running.process.kill()  # A lab that did not end fails its test, and is not left behind.


def get(url: str, read_within_s: float = PATIENCE_S) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, timeout=(PATIENCE_S, read_within_s))


def assert_free(*urls: str) -> None:
    """Wait until each port can be had: once it is free, another program may get it for a while."""
    for url in set(urls):
        eventually(partial(_can_be_had, url), f"{url} is free")


def _can_be_had(url: str) -> bool:
    try:
        reserve(urlsplit(url).port or 0).close()
    except PortTaken:
        return False
    return True


def assert_refused(url: str) -> None:
    parts = urlsplit(url)
    with socket.socket() as client:
        assert client.connect_ex((parts.hostname or "", parts.port or 0)) != 0


def run_as_printed(command: str) -> requests.Response:
    """What a shell and curl would do with it."""
    words = iter(shlex.split(command))
    assert next(words) == "curl"
    url, data, headers = "", None, {}
    for word in words:
        if word == "-H":
            name, _, value = next(words).partition(":")
            headers[name] = value
        elif word == "-d":
            data = next(words)
        else:
            url = word
    with requests.Session() as session:
        session.trust_env = False
        method = "GET" if data is None else "POST"
        return session.request(method, url, data=data, headers=headers, timeout=PATIENCE_S)


def printed_commands(running: Up) -> dict[str, list[str]]:
    """The commands for each stack, continuation lines joined."""
    text = "\n".join(running.welcome).replace("\\\n", "")
    parts = re.split(rf"^({'|'.join(ARRANGEMENTS)}):", text, flags=re.MULTILINE)[1:]
    return {
        stack: re.findall(r"^ +(curl .*)$", part, re.MULTILINE)
        for stack, part in zip(parts[::2], parts[1::2], strict=True)
    }


def do_as_printed(running: Up, stack: str) -> None:
    """Type the commands that are printed for a stack, and look at what comes of each."""
    post, comment, feed, *events = printed_commands(running)[stack]
    created = run_as_printed(post)
    assert created.status_code == 201
    comment = comment.replace("ID", created.json()["id"])
    # On the bus, comments hears of the post a little later.
    eventually(lambda: run_as_printed(comment).status_code == 201, "the comment")

    def is_approved() -> bool:
        comments = run_as_printed(feed).json()[0]["comments"]
        return bool(comments) and all(one["status"] == "approved" for one in comments)

    eventually(is_approved, "the comment in the feed")
    assert len(events) == (stack in ON_THE_BUS)
    for command in events:
        seen = [json.loads(line)["type"] for line in run_as_printed(command).text.splitlines()]
        assert ON_THE_BUS[stack] <= set(seen)


def assert_well(running: Up, stack: str, target: str) -> None:
    assert get(f"{running.url(stack, target)}/health").status_code == 200


def posts_status(running: Up, stack: str) -> int:
    return get(f"{running.url(stack, 'posts')}/posts").status_code
