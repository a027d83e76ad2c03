"""The child's side of the lifeline: a program exits when the holder of the other end does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.support import parent_watch
from tests.support.laboratory import PATIENCE_S

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("watcher", ["thread", "loop"])
def test_a_program_ends_when_its_lifeline_does(watcher: str) -> None:
    code = {
        "thread": "parent_watch.exit_with_parent(); print('up', flush=True); signal.pause()",
        "loop": "loop = asyncio.new_event_loop(); parent_watch.exit_with_parent(loop); "
        "loop.call_soon(functools.partial(print, 'up', flush=True)); loop.run_forever()",
    }[watcher]
    code = f"import asyncio, functools, signal; from lab.support import parent_watch; {code}"
    read, held = os.pipe()
    env = {**os.environ, parent_watch.LIFELINE: str(read)}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, cwd=ROOT, env=env, pass_fds=[read], stdout=subprocess.PIPE
    ) as program:
        os.close(read)
        assert program.stdout is not None
        assert program.stdout.readline() == b"up\n"
        assert program.poll() is None
        os.close(held)
        assert program.wait(PATIENCE_S) == parent_watch.EXIT_STATUS


def test_a_program_started_by_hand_has_no_lifeline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(parent_watch.LIFELINE, raising=False)
    assert parent_watch.exit_with_parent() is False
