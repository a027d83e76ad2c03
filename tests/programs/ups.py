"""A running `lab up`, used as a person would: read its terminal and type the printed commands."""

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
from lab.live.sandbox import control_client
from tests.programs.labs import ROOT, assert_ended
from tests.programs.patient import PATIENCE_S
from tests.support.laboratory import eventually

BEFORE_THE_FOLDER = "Logs and data are in"
ON_THE_BUS = {
    "async-bus": {"PostCreated", "CommentCreated"},
    "request-reply": {"Asked", "Answered"},
}


class Up:
    """`lab up` in a new process, and its output."""

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
        """The next printed lines, up to the one that contains `part`."""
        lines = [""]
        while part not in lines[-1]:
            try:
                lines.append(self._unread.get(timeout=PATIENCE_S))
            except queue.Empty:
                pytest.fail(f"never said {part!r}, but {lines}")
        return lines[1:]

    def url(self, stack: str, target: str) -> str:
        """The URL of a target as it was printed."""
        begin = next(n for n, line in enumerate(self.welcome) if line.startswith(f"{stack}:"))
        for line in self.welcome[begin:]:
            if found := re.fullmatch(rf"  {target} +(http://\S+)", line):
                return found[1]
        raise LookupError(target)

    def process_of(self, stack: str, target: str) -> psutil.Process:
        """The process that listens at the target's URL."""
        port = urlsplit(self.url(stack, target)).port
        for process in psutil.Process(self.process.pid).children(recursive=True):
            for connection in process.net_connections(kind="inet"):
                if connection.laddr.port == port and connection.status == psutil.CONN_LISTEN:
                    return process
        raise LookupError(target)

    def end(self, number: int) -> int:
        """Send a signal and wait until the lab has ended; its exit status."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait until the lab has ended; its exit status. `errors` is then its stderr."""
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
            running.process.kill()  # a lab that did not end fails its test and is not left running


def get(url: str, read_within_s: float = PATIENCE_S) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, timeout=(PATIENCE_S, read_within_s))


def assert_free(*urls: str) -> None:
    """Wait until each port is free; another program may use it for a while once it is."""
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
    """Send the request that a shell with curl would send."""
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
    """The printed commands for each stack, continuation lines joined."""
    text = "\n".join(running.welcome).replace("\\\n", "")
    parts = re.split(rf"^({'|'.join(ARRANGEMENTS)}):", text, flags=re.MULTILINE)[1:]
    return {
        stack: re.findall(r"^ +(curl .*)$", part, re.MULTILINE)
        for stack, part in zip(parts[::2], parts[1::2], strict=True)
    }


def do_as_printed(running: Up, stack: str) -> None:
    """Run the commands that are printed for a stack, and check the result of each."""
    post, comment, feed, *events = printed_commands(running)[stack]
    created = run_as_printed(post)
    assert created.status_code == 201
    comment = comment.replace("ID", created.json()["id"])
    # On the bus, `comments` consumes the post a little later.
    eventually(lambda: run_as_printed(comment).status_code == 201, "the comment")

    def is_approved() -> bool:
        comments = [one for entry in run_as_printed(feed).json() for one in entry["comments"]]
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
