"""`lab live` as a whole: starts the servers, the session and the terminal, and prints the URLs."""

import asyncio
import os
import sys
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from lab.cluster.ports import HOST
from lab.live.broadcast import Show
from lab.live.panes import Half
from lab.live.routes import doors
from lab.live.script import Script, left_out
from lab.live.security import Keys, loopback_hosts
from lab.live.server import Desk, addresses, listen_on, serving, shared_desk, static_file, streaming
from lab.live.session import cancelled, session
from lab.scenarios.scenario import Scenario

EVERYWHERE = "0.0.0.0"
"""`--share` listens on all addresses of this machine."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """The options of the command line. `port` 0: a free port; `share_port` None: no spectators."""

    halves: Sequence[Half]
    rate: float
    mix: Mapping[str, float]
    port: int = 0
    open_browser: bool = True
    share_port: int | None = None
    script: Scenario | None = None
    terminal: bool = False


async def run_live(wanted: Wanted, folder: Path, say: Say) -> None:
    """Run the console until it is cancelled, then end everything. Raises LabCannotRun."""
    show = Show()
    async with AsyncExitStack() as held:
        held.callback(_tidy, folder)
        # The ports are bound before any process starts: a taken port fails at once.
        listening = held.enter_context(listen_on(HOST, wanted.port))
        port = listening.getsockname()[1]
        shared = None
        if wanted.share_port is not None:
            shared = held.enter_context(listen_on(EVERYWHERE, wanted.share_port))
        live = await held.enter_async_context(session(folder.absolute(), show, wanted.halves))
        live.rate, live.mix = wanted.rate, dict(wanted.mix)
        live.stage(wanted.halves)
        script = None
        if wanted.script is not None:
            script = Script(wanted.script, live)
            live.restarted = script.restart
        keys = Keys.of(port)
        table = doors(live, keys, script, static_file, streaming(show, "presenter"))
        desk = Desk(table, lambda: loopback_hosts(port), keys)
        await held.enter_async_context(serving(desk, listening, show))
        url = f"http://127.0.0.1:{port}/#token={keys.token}"
        say(f"The console is at\n  {url}")
        if shared is not None:
            number = shared.getsockname()[1]
            await held.enter_async_context(serving(shared_desk(table, live, number), shared, show))
            say("Others in this network may look on, and only that, at")
            say("\n".join(f"  {address}" for address in addresses(number)) or "  (no network)")
        if wanted.script is not None and (parts := left_out(wanted.script)):
            say(f"Of {wanted.script.name} this can't be shown live: {', '.join(parts)}.")
        if wanted.open_browser and not wanted.terminal and _has_a_display():
            # Not awaited: some browsers stay in the foreground until they are closed.
            held.callback(asyncio.create_task(asyncio.to_thread(webbrowser.open, url)).cancel)
        if wanted.terminal:
            from lab.live.terminal import run_terminal  # needs termios: not on Windows

            drawing = asyncio.create_task(run_terminal(live, script))
            drawing.add_done_callback(live.end_with)
            held.push_async_callback(cancelled, drawing)
            say = _into_the_log(show)
        await live.begin(wanted.halves)
        say("Both halves are up. `lab fault` and `lab heal` act on them too. Ctrl-C ends it all.")
        await live.ended


def _tidy(folder: Path) -> None:
    """Remove empty logs, and the folder if nothing is left in it."""
    for log in folder.glob("*.log"):
        if not log.stat().st_size:
            log.unlink()
    with suppress(OSError):
        folder.rmdir()


def _into_the_log(show: Show) -> Say:
    """A `say` that writes to the log of the console, which now fills the terminal."""
    return lambda text: show.done(text, "reset")


def _has_a_display() -> bool:
    """Whether a graphical browser can open here. A text browser would take over the terminal."""
    if sys.platform == "darwin":
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
