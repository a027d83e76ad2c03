"""`lab live` as a whole: starts the servers, the session and the terminal, and prints the URLs."""

import asyncio
import os
import shutil
import sys
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from lab.cluster.ports import HOST
from lab.live.audience import allow_many_connections, audience_routes, run_audience
from lab.live.bets import Bets
from lab.live.blog import BlogClient
from lab.live.broadcast import Broadcast
from lab.live.panes import Pane
from lab.live.phones import Phones
from lab.live.proxy import DIRECT, ProxyRules
from lab.live.recording import RECORDING_NAME, Recorder, finish
from lab.live.routes import route_table
from lab.live.script import Script, unsupported_parts
from lab.live.security import Credentials
from lab.live.server import (
    STATIC_FOLDER,
    ConsoleApp,
    SpectatorApp,
    listen_on,
    spectator_urls,
    static_file,
    stream_handler,
)
from lab.live.session import cancel_and_wait, session
from lab.live.slow_motion import Draw, SlowMotion
from lab.scenarios.lecture import Lecture
from lab.scenarios.scenario import Scenario
from lab.service.listener import serve
from lab.support.nats import NatsNotInstalled

ALL_INTERFACES = "0.0.0.0"
"""`--share` listens on all addresses of this machine."""

Echo = Callable[[str], None]


@dataclass(frozen=True)
class LiveOptions:
    """The options of the command line. `port` 0: a free port; `share_port` None: no spectators."""

    panes: Sequence[Pane]
    rate: float
    mix: Mapping[str, float]
    port: int = 0
    open_browser: bool = True
    share_port: int | None = None
    script: Scenario | Lecture | None = None
    terminal: bool = False
    proxy: ProxyRules = DIRECT
    draw: Draw | None = None
    """Draws the diagrams of slow motion; None: there is none."""
    token: str = field(default="", repr=False)
    """The token of the console; "" for a new one."""


async def run_live(options: LiveOptions, folder: Path, echo: Echo) -> None:
    """Run the console until it is cancelled, then end everything. Raises LabCannotRun."""
    broadcast = Broadcast()
    recorder = Recorder(folder.absolute() / RECORDING_NAME, broadcast)
    async with AsyncExitStack() as exit_stack:
        exit_stack.callback(_remove_empty_logs, folder)
        exit_stack.callback(_keep_session, recorder, echo)
        # The ports are bound before any process starts: a taken port fails at once.
        console_socket = exit_stack.enter_context(listen_on(HOST, options.port))
        port = console_socket.getsockname()[1]
        spectator_socket = spectator_port = None
        if options.share_port is not None:
            spectator_socket = exit_stack.enter_context(
                listen_on(ALL_INTERFACES, options.share_port)
            )
            spectator_port = spectator_socket.getsockname()[1]
            allow_many_connections()
        live_session = await exit_stack.enter_async_context(
            session(folder.absolute(), broadcast, options.panes)
        )
        live_session.rate, live_session.mix = options.rate, dict(options.mix)
        live_session.announce_panes(options.panes)
        script = Script(live_session, options.script)
        live_session.on_restart = script.restart
        phones = Phones(broadcast, BlogClient(live_session))
        bets = Bets(broadcast, phones, lambda: script.questions, folder.absolute())
        script.bets = bets
        credentials = Credentials.for_port(port, options.token)
        routes = route_table(
            live_session,
            credentials,
            script,
            static_file,
            stream_handler(broadcast, "presenter"),
            recorder.record_feed,
            SlowMotion(live_session, options.draw) if options.draw else None,
        )
        routes = [*routes, *audience_routes(bets, phones, spectator_port)]
        console = ConsoleApp(routes, port, broadcast, credentials, options.proxy)
        await exit_stack.enter_async_context(serve(console, console_socket))
        address = options.proxy.base_url or f"http://127.0.0.1:{port}/"
        url = f"{address}#token={credentials.token}"
        echo(f"The console is at\n  {url}")
        if options.proxy.base_url:
            echo(f"The proxy reaches it at http://127.0.0.1:{port}/")
        if spectator_socket is not None and spectator_port is not None:
            wanted = options.share_port + 1 if options.share_port else -1
            await _start_phone_bus(exit_stack, phones, folder.absolute() / "phones", wanted, echo)
            spectators = SpectatorApp(
                routes, live_session, spectator_port, options.proxy, lambda: phones.nats_port
            )
            await exit_stack.enter_async_context(serve(spectators, spectator_socket))
            echo("Others in this network can watch and answer bets, without control, at")
            echo(
                "\n".join(f"  {address}" for address in spectator_urls(spectator_port))
                or "  (no network)"
            )
        if isinstance(options.script, Scenario) and (
            unsupported := unsupported_parts(options.script)
        ):
            echo(f"Of {options.script.name} this can't be shown live: {', '.join(unsupported)}.")
        if options.open_browser and not options.terminal and has_display():
            # Not awaited: some browsers stay in the foreground until they are closed.
            exit_stack.callback(asyncio.create_task(asyncio.to_thread(webbrowser.open, url)).cancel)
        if options.terminal:
            from lab.live.terminal import run_terminal  # needs termios: not on Windows

            drawing = asyncio.create_task(run_terminal(live_session, script))
            drawing.add_done_callback(live_session.end_when_done)
            exit_stack.push_async_callback(cancel_and_wait, drawing)
            echo = _log_echo(broadcast)
        audience = asyncio.create_task(run_audience(broadcast, bets, phones))
        audience.add_done_callback(live_session.end_when_done)
        exit_stack.push_async_callback(cancel_and_wait, audience)
        await live_session.start_panes(options.panes)
        echo("Both halves are up. `lab fault` and `lab heal` act on them too. Ctrl-C ends it all.")
        await live_session.ended


async def _start_phone_bus(
    exit_stack: AsyncExitStack, phones: Phones, folder: Path, port: int, echo: Echo
) -> None:
    """Let nats-server send to the phones, if it is installed."""
    from lab.live.phone_bus import phone_bus

    exit_stack.callback(shutil.rmtree, folder, ignore_errors=True)
    try:
        bus = await exit_stack.enter_async_context(phone_bus(phones, folder, port))
    except NatsNotInstalled:
        return
    except OSError as error:
        echo(f"Phones read from the lab itself: {error}")
    else:
        echo(f"Phones read from nats-server, port {bus.port}; where it is closed, from the lab.")


def _keep_session(recorder: Recorder, echo: Echo) -> None:
    """Make the page of the session, and say where it is."""
    recorder.close()
    try:
        page = finish(recorder.path, STATIC_FOLDER)
    except OSError as error:
        echo(f"The page of the session can't be written: {error.strerror}. Its recording is in")
        echo(f"  {recorder.path}\nPlay that with lab live --replay.")
        return
    if page is not None:
        echo(
            f"What happened can be played again, without a network ({_megabytes(page)}):\n  {page}"
        )


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"


def _remove_empty_logs(folder: Path) -> None:
    """Remove empty logs, and the folder if nothing is left in it."""
    for log in folder.glob("*.log"):
        if not log.stat().st_size:
            log.unlink()
    with suppress(OSError):
        folder.rmdir()


def _log_echo(broadcast: Broadcast) -> Echo:
    """An `echo` that writes to the log of the console, which now fills the terminal."""
    return lambda text: broadcast.log_action(text, "reset")


def has_display() -> bool:
    """Whether a graphical browser can open here. A text browser would take over the terminal."""
    if sys.platform == "darwin":
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
