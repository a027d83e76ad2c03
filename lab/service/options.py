"""The command-line options that every program of the lab has."""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

WORKERS = 8
MAX_WORKERS = 1_000


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """A type for argparse: a whole number from `least` to `most`."""

    def parse(text: str) -> int:
        is_number = text.isascii() and text.isdigit() and len(text) <= len(str(most))
        if not is_number or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(
                f"{text!r}: expected a whole number from {least} to {most}."
            )
        return int(text)

    return parse


@dataclass(frozen=True)
class ShellOptions:
    """How a process runs; port 0 takes a free port.

    `host`: the address to listen on. `allowed_hosts`: more names by which requests may address it.
    `enforce_deadlines`: requests are refused once their deadline has passed. `work_ms`: how long
    each request holds the single server; with 0 there is none.
    """

    port: int
    host: str = "127.0.0.1"
    allowed_hosts: tuple[str, ...] = ()
    workers: int = WORKERS
    reuse_port: bool = False
    spans: Path | None = None
    token: str = ""
    enforce_deadlines: bool = False
    work_ms: float = 0.0

    @staticmethod
    def arguments(parser: argparse.ArgumentParser, port: int) -> None:
        """Add the options that every program of the lab has; `port` is the default."""
        add = parser.add_argument
        add(
            "--port",
            type=whole_number(0, 65_535),
            default=port,
            help=f"port to listen on; 0 takes a free one ({port})",
        )
        add("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
        add(
            "--allow-host",
            action="append",
            default=[],
            metavar="NAME",
            help="accept requests whose Host is NAME, with this port; may be repeated",
        )
        add(
            "--workers",
            type=whole_number(1, MAX_WORKERS),
            default=WORKERS,
            help=f"threads that run handlers ({WORKERS})",
        )
        add("--spans", type=Path, metavar="FILE", help="append a JSON line for each request")
        add("--reuse-port", action="store_true", help="the lab holds the port for us")

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> "ShellOptions":
        return cls(
            port=arguments.port,
            host=arguments.host,
            allowed_hosts=tuple(arguments.allow_host),
            workers=arguments.workers,
            reuse_port=arguments.reuse_port,
            spans=arguments.spans,
            token=_read_token(),
        )


def _read_token() -> str:
    """The run's token: from LAB_TOKEN, or from the file LAB_TOKEN_FILE, a secret of a container."""
    if file := os.environ.get("LAB_TOKEN_FILE"):
        return Path(file).read_text("utf-8").strip()
    return os.environ.get("LAB_TOKEN", "")


class Main(Protocol):
    """The `main` of a program: started by hand, or called in a forked process."""

    def __call__(self, argv: Sequence[str] | None = None) -> None: ...
