"""A service that misbehaves as requested: `python stray.py PORT HOW…`, see HOW.

It answers 200 to every GET on its port, and writes the pids of all processes it has started to
`family.txt` in its folder, where the tests look for them.
"""

import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


def note(pid: int) -> None:
    with Path("family.txt").open("a") as out:
        out.write(f"{pid}\n")


def forks() -> None:
    note(subprocess.Popen(SLEEP).pid)


def daemonises() -> None:
    """Start a grandchild in a new session whose parent has exited."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            note(os.getpid())
            time.sleep(600)
        os._exit(0)
    os.wait()


def ignores_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def prints_a_million_lines() -> None:
    line = b"a line that is printed a million times, and nobody reads it: " + b"x" * 20
    block = b"\n".join([line] * 10_000) + b"\n"
    for _ in range(100):
        os.write(1, block)
    os.write(1, b"the last line\n")


def exits() -> None:
    sys.stderr.write("Error: Cannot find module 'express'\n")
    sys.exit(3)


def never_listens() -> None:
    sys.stderr.write("waiting for a database\n")
    time.sleep(600)


HOW = {
    one.__name__: one
    for one in (
        *(forks, daemonises, ignores_sigterm, prints_a_million_lines),
        *(exits, never_listens),
    )
}


class Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    note(os.getpid())
    port, *how = sys.argv[1:]
    for one in how:
        HOW[one]()
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), Hello)
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    server.serve_forever()
