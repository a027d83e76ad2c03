"""`lab live --terminal`: the console without a browser, with the same keys.

It looks on as a browser's page does, by a queue of its own; what it does, it does by the same
switches.
"""

import asyncio
import json
import os
import sys
import termios
import tty
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console
from rich.live import Live

from lab.cluster.errors import LabCannotRun
from lab.live.script import Script
from lab.live.session import Session
from lab.live.terminal_keys import Keys
from lab.live.terminal_view import Screen, drawn

DRAW_EVERY_S = 0.2


def take_in(screen: Screen, name: str, data: Any) -> None:
    """One event of the stream."""
    if name == "hello":
        screen.ticks.clear()
        screen.behind, screen.frozen = 0, None
        for key in ("faults", "seen", "script", "load"):
            setattr(screen, key, data[key])
    elif name == "tick":
        screen.ticks.append(data)
        screen.load = data.get("load", screen.load)
    elif name == "done":
        where = f"{data['half']} " if data["half"] else ""
        screen.log.append(f"{data['t']:6.1f} s  {where}{data['says']}")
    else:
        setattr(screen, name, data)


async def run_terminal(session: Session, script: Script | None) -> None:
    """Draw and obey until it is cancelled. Raises LabCannotRun without a terminal."""
    if not sys.stdin.isatty() or not sys.stdout.isatty():
        raise LabCannotRun("--terminal needs a terminal, for its keys. Try lab live --no-open.")
    screen = Screen(session.halves)
    keys = Keys(screen, session, script)
    pressed: asyncio.Queue[str] = asyncio.Queue()
    with (
        _each_key(pressed),
        session.show.watchers.one_more(shared=False) as watcher,
        Live(console=Console(), screen=True, auto_refresh=False) as live,
    ):
        take_in(screen, "hello", json.loads(session.show.hello("presenter")))

        async def look() -> None:
            while data := await watcher.next():
                for name, told in events_in(data):
                    take_in(screen, name, told)
                    screen.halves = session.halves

        async def obey() -> None:
            while True:
                await keys.press(await pressed.get())
                live.update(drawn(screen, keys.shown), refresh=True)

        async def draw() -> None:
            while True:
                live.update(drawn(screen, keys.shown), refresh=True)
                await asyncio.sleep(DRAW_EVERY_S)

        await asyncio.gather(look(), obey(), draw())


def events_in(data: bytes) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Names and data of the events in some bytes of a stream."""
    for one in data.split(b"\n\n")[:-1]:
        name, _, told = one.partition(b"\n")
        yield name.removeprefix(b"event: ").decode(), json.loads(told.removeprefix(b"data: "))


@contextmanager
def _each_key(pressed: asyncio.Queue[str]) -> Iterator[None]:
    """Every key at once, and none of them shown; Ctrl-C stays what it is."""
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    loop = asyncio.get_running_loop()

    def read() -> None:
        with suppress(OSError, UnicodeDecodeError):
            for key in os.read(fd, 64).decode():
                pressed.put_nowait(key)

    tty.setcbreak(fd)
    loop.add_reader(fd, read)
    try:
        yield
    finally:
        loop.remove_reader(fd)
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
