"""Small scenarios, and the command line to run them in a new process.

A run here takes two or three seconds. On a busy machine the load may be late; the run is then no
result, and says so.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
CLI = (sys.executable, str(ROOT / "cli.py"))
FINISHED_WITHIN_S = 200.0
DROPPED_VARIABLES = (
    "FORCE_COLOR",
    "GITHUB_ACTIONS",
    "NO_COLOR",
    "CLICOLOR_FORCE",
    "TTY_COMPATIBLE",
)

SLOW_POSTS = {"fault": "latency", "target": "posts", "ms": 20}
TRUE = "sync-chain.data.lost == 0"
FALSE = "sync-chain.data.acknowledged == 0"


def scenario_text(
    *methods: Mapping[str, Any],
    title: str = "A small run",
    question: str = "Who waits?",
    rate: float = 20,
    mix: str = "read_feed = 6, create_post = 1, create_comment = 3",
    timeout_ms: int = 2_000,
    phases: str = "before = 0.6, during = 0.6, after = 0.6",
    variants: tuple[str, ...] = ("sync-chain", "async-bus"),
    steady: str = "read_feed.success >= 0.99",
    expect: str = TRUE,
) -> str:
    """The TOML text of a scenario file; `json.dumps` writes strings as TOML does."""
    lines = [
        f"title = {json.dumps(title)}",
        f"question = {json.dumps(question)}",
        f"load = {{ rate = {rate}, timeout_ms = {timeout_ms}, mix = {{ {mix} }} }}",
        f"phases = {{ {phases} }}",
        f"steady_state = [{json.dumps(steady)}]",
    ]
    for method in methods:
        lines += ["[[method]]", *(f"{key} = {json.dumps(value)}" for key, value in method.items())]
    lines += [f"[variants.{name}]" for name in variants]
    lines += ["[[expect]]", 'says = "It is so."', f"that = {json.dumps(expect)}"]
    return "\n".join(lines) + "\n"


def scenario_file(folder: Path, name: str, *methods: Mapping[str, Any], **more: Any) -> str:
    """Write `<folder>/<name>.toml`; returns the file name, the argument for `lab run` there."""
    path = folder / f"{name}.toml"
    path.write_text(scenario_text(*methods, **more), encoding="utf-8")
    return path.name


def environment(**more: str) -> dict[str, str]:
    """The environment of this process, without variables that change how output looks."""
    inherited = {name: value for name, value in os.environ.items() if name not in DROPPED_VARIABLES}
    return {**inherited, "COLUMNS": "80", "TERM": "xterm", "PYTHONIOENCODING": "utf-8", **more}


def run_lab(
    *words: str, cwd: Path, program: tuple[str, ...] = CLI, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run `lab words…` to its end; stdin is empty, stdout and stderr are pipes."""
    return subprocess.run(
        [*program, *words],
        cwd=cwd,
        env=environment(**env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=FINISHED_WITHIN_S,
        check=False,
    )


def join_lines(text: str) -> str:
    """The words of a text, with line breaks turned into spaces."""
    return " ".join(text.split())


def find_processes(pid: int) -> Iterator[psutil.Process]:
    """Every living process that the lab with this pid has started, by its LAB_RUN variable."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            mark = process.environ().get("LAB_RUN", "")
            if mark.startswith(f"{pid}:") and process.status() != psutil.STATUS_ZOMBIE:
                yield process


def find_own_processes() -> set[int]:
    """The pids of all processes that this process has started as a lab."""
    return {process.pid for process in find_processes(os.getpid())}
