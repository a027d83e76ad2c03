"""How a process of the lab is told to run: what every program's command line understands."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

WORKERS = 8


@dataclass(frozen=True)
class ShellOptions:
    """How a process is to run; port 0 takes a free one.

    `obeys_deadlines`: it begins nothing for which nobody waits any more. `work_ms`: how long each
    request needs what there is only one of; 0: there is no such thing.
    """

    port: int
    workers: int = WORKERS
    reuse_port: bool = False
    spans: Path | None = None
    token: str = ""
    obeys_deadlines: bool = False
    work_ms: float = 0.0

    @staticmethod
    def arguments(parser: argparse.ArgumentParser, port: int) -> None:
        """Add the options that every program of the lab understands."""
        add = parser.add_argument
        add(
            "--port", type=int, default=port, help=f"port on 127.0.0.1; 0 takes a free one ({port})"
        )
        add("--workers", type=int, default=WORKERS, help=f"threads that run handlers ({WORKERS})")
        add("--spans", type=Path, metavar="FILE", help="append a JSON line for each request")
        add("--reuse-port", action="store_true", help="the lab holds the port for us")

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> "ShellOptions":
        return cls(
            port=arguments.port,
            workers=arguments.workers,
            reuse_port=arguments.reuse_port,
            spans=arguments.spans,
            token=os.environ.get("LAB_TOKEN", ""),
        )


class Main(Protocol):
    """The `main` of a program: starts it by hand, or in a process that was forked for it."""

    def __call__(self, argv: Sequence[str] | None = None) -> None: ...
