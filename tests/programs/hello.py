"""A minimal service: answers /health, and misbehaves on request.

It uses bare sockets because the tests of `lab.cluster` start it dozens of times.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

from lab.support.parent_watch import exit_with_parent

ANSWERS = {
    "ready": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "waiting": b'HTTP/1.1 503 No\r\nConnection: close\r\n\r\n{"waits_for": "event-bus"}',
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--say", default="ready", choices=ANSWERS)
    parser.add_argument("--exit", type=int)
    parser.add_argument("--raise", dest="fault")
    parser.add_argument("--deaf", action="store_true", help="ignore SIGTERM")
    parser.add_argument("--child", action="store_true", help="start a process of its own")
    parser.add_argument("--facts", action="store_true", help="print what surrounds us, and end")
    options = parser.parse_args(argv)
    exit_with_parent()
    if options.deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if options.child:
        child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
        print("child", child.pid, flush=True)  # noqa: T201
    if options.facts:
        print("\n".join(_facts()))  # noqa: T201
        return
    if options.exit is not None:
        for line in range(12):
            print("line", line)  # noqa: T201
        raise SystemExit(options.exit)
    if options.fault:
        raise RuntimeError(options.fault)
    if options.port is None:
        signal.pause()
    _serve(options.port, ANSWERS[options.say])


def _serve(port: int, answer: bytes) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()
        while True:
            client, _ = listener.accept()
            with client:
                client.recv(4096)
                client.sendall(answer)


def _facts() -> Iterator[str]:
    yield f"argv {sys.argv[1:]}"
    yield f"env {os.environ.get('COLOUR')}"
    yield f"blocked {sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))}"
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGCHLD"):
        yield f"{name} {signal.getsignal(getattr(signal, name))!r}"
    yield f"stdin {os.read(0, 1)!r}"
    lifeline = os.environ["LAB_LIFELINE"]
    yield f"fds {sorted(set(_open_fds()) - {int(lifeline)})}"


def _open_fds() -> Iterator[int]:
    for fd in range(256):
        try:
            os.fstat(fd)
        except OSError:
            continue
        yield fd


if __name__ == "__main__":
    main()
