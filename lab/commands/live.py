"""The `lab live` command."""

from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from lab.commands import completion
from lab.commands.console import (
    echo,
    fail,
    load_scenario,
    make_run_folder,
    or_usage_error,
    read_lecture_file,
    run_until_done,
)

if TYPE_CHECKING:
    from lab.results.space_time import Diagram

app = typer.Typer()


@app.command(
    epilog="Example: lab live   Next: press k to kill comments, u to heal it, ? for all keys",
)
def live(
    left: Annotated[
        str,
        typer.Argument(help="the arrangement on the left", autocompletion=completion.arrangements),
    ] = "sync-chain",
    right: Annotated[
        str,
        typer.Argument(help="the arrangement on the right", autocompletion=completion.arrangements),
    ] = "async-bus",
    port: Annotated[
        int, typer.Option(help="port of the page; 0: a free one", min=0, max=65535)
    ] = 0,
    no_open: Annotated[bool, typer.Option("--no-open", help="do not open a browser")] = False,
    bus: Annotated[str | None, typer.Option(help="event bus: log, course or nats")] = None,
    rate: Annotated[
        float | None,
        typer.Option(help="requests per second on each side (20)", min=0, max=1_000),
    ] = None,
    share: Annotated[
        bool, typer.Option("--share", help="let others in this network watch and answer bets")
    ] = False,
    share_port: Annotated[
        int, typer.Option(help="port for spectators; 0: a free one", min=0, max=65535)
    ] = 0,
    terminal: Annotated[
        bool, typer.Option("--terminal", help="show it in this terminal, with the same keys")
    ] = False,
    script: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="a scenario or a lecture; the space bar starts each step",
            autocompletion=completion.scenarios,
        ),
    ] = None,
    replay: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="play a recorded session: the session.html of a run's folder"
        ),
    ] = None,
    base_url: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="address at which a proxy serves the page, as https://example.org/lab/",
        ),
    ] = "",
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST", help="another name under which requests arrive; may be repeated"
        ),
    ] = None,
    forwarded_from: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS",
            help="believe the X-Forwarded headers of this proxy or network; may be repeated",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SWITCH=VALUE",
            help="such as workers=4, on each side that has this switch; may be repeated",
        ),
    ] = None,
) -> None:
    """Show both architectures under load on one page, and break them with keys."""
    if replay is not None:
        _replay(replay, port, not no_open)
    from dataclasses import replace

    from lab.cluster.errors import LabCannotRun
    from lab.domain.errors import Invalid
    from lab.live.app import LiveOptions, run_live
    from lab.live.panes import ENGINES, make_panes
    from lab.live.proxy import SECRET_VARIABLE, TOKEN_VARIABLE, ProxyRules, take_variable
    from lab.live.sandbox.session import settings_by_stack
    from lab.live.script import panes_of
    from lab.live.session import MIX, RATE
    from lab.results.run_folder import create_run_folder
    from lab.scenarios.overrides import with_settings
    from lab.scenarios.switches import parse_assignment
    from lab.support.text import did_you_mean

    # Taken out of the environment before anything else starts, which would inherit them.
    token, secret = take_variable(TOKEN_VARIABLE), take_variable(SECRET_VARIABLE)
    proxy = or_usage_error(
        ProxyRules.parse, base_url, allow_host or [], forwarded_from or [], secret
    )
    switches = dict(or_usage_error(parse_assignment, text) for text in settings or [])
    bus = bus or switches.pop("bus", None)
    if bus is not None and bus not in ENGINES:
        fail(f"There is no bus {bus!r}. {did_you_mean(bus, ENGINES)}", 2)
    lecture = read_lecture_file(script) if script else None
    scenario = lecture or (load_scenario(script) if script else None)
    if lecture and switches:
        fail("A lecture sets its switches under [variants], not with --set.", 2)
    if scenario and switches:
        scenario = or_usage_error(with_settings, scenario, switches)
    try:
        panes = panes_of(scenario) if scenario else make_panes((left, right), bus)
    except Invalid as error:
        fail(error, 2)
    if switches and not scenario:
        words = [text for text in settings or [] if not text.startswith("bus=")]
        by_stack = or_usage_error(settings_by_stack, words, [pane.arrangement for pane in panes])
        panes = tuple(
            replace(pane, options={**pane.options, **by_stack[pane.arrangement]}) for pane in panes
        )
    if lecture and rate:
        fail("A lecture sets its rate under [load], not with --rate.", 2)
    if scenario and rate:
        scenario = scenario.at_rate(rate)
    if len(panes) < 2:
        fail(f"{script} has one variant, but lab live shows two. Add another variant to it.", 2)
    options = LiveOptions(
        panes=panes,
        rate=rate if rate is not None else scenario.load.rate if scenario else RATE,
        mix=scenario.load.mix if scenario else MIX,
        port=port,
        open_browser=not no_open,
        share_port=share_port if share else None,
        script=scenario,
        terminal=terminal,
        proxy=proxy,
        draw=_draw,
        token=token,
    )
    try:
        run_until_done(run_live(options, make_run_folder(create_run_folder, "live"), echo))
    except LabCannotRun as error:
        fail(error, LabCannotRun.exit_code)


def _draw(diagram: "Diagram") -> tuple[str, list[tuple[float, float]]]:
    """The drawing of slow motion."""
    from lab.report.charts.space_time import revealed, space_time_chart

    return space_time_chart(diagram).svg(), revealed(diagram)


def _replay(file: str, port: int, open_browser: bool) -> NoReturn:
    from pathlib import Path

    from lab.cluster.errors import LabCannotRun
    from lab.domain.errors import Invalid
    from lab.live.replay import run_replay

    try:
        run_until_done(run_replay(Path(file), port, open_browser, echo))
    except Invalid as error:
        fail(f"{file}: {error} lab live leaves a session.html in the folder of its run.", 2)
    except OSError as error:
        fail(f"{file} can't be read: {error.strerror}.", 2)
    except LabCannotRun as error:
        fail(error, LabCannotRun.exit_code)
    raise AssertionError("it plays until it is cancelled")
