"""The lab's command line, one function per command.

The functions only parse and print. Heavy imports happen inside a command, so that `lab --help`
answers at once.

Exit codes: 0 all expectations hold; 1 one does not; 2 a wrong argument; 3 the lab could not run or
get a valid result; 130 Ctrl-C.
"""

import io
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lab.commands import (
    completion,
    exercise,
    export,
    inspect,
    live,
    merge,
    run,
    sandbox,
    search,
    simulate,
)
from lab.commands import target as target_commands
from lab.commands.console import (
    VERBOSITY,
    console,
    echo,
    fail,
    load_scenario,
    print_json,
    read_lecture_file,
)
from lab.support.text import shell_word

FRONT = ("start", "live", "run", "show", "report", "trace", "exercise")
"""The commands that `lab --help` shows first; the others are under MORE."""
MORE = "More"


class MainGroup(completion.QuickCompletion, TyperGroup):
    """Lists the commands of FRONT first, in that order, and the others as they are added."""

    def list_commands(self, ctx: Any) -> list[str]:
        others = [name for name in super().list_commands(ctx) if name not in FRONT]
        return [*FRONT, *others]


app = typer.Typer(
    name="lab",
    cls=MainGroup,
    help="Break a small application, built in two architectures, and measure what users notice.",
    epilog="Start with: lab start",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version_option(requested: bool) -> None:
    if requested:
        version()
        raise typer.Exit()


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", callback=_version_option, is_eager=True, help="the same as version"
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="no notes, no progress: results and errors")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="a line on stderr for each step of a run")
    ] = False,
) -> None:
    VERBOSITY.level = verbose - quiet
    if context.invoked_subcommand is None:
        inspect.start()


main_commands = typer.Typer()


@main_commands.command(
    epilog="Example: lab doctor   Next: lab doctor --fix, to repair what it found",
)
def doctor(
    fix: Annotated[
        bool, typer.Option("--fix", help="end left-over processes, remove their files")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="print one JSON document")] = False,
) -> None:
    """Check this machine: what is missing, in the way, or left over."""
    from lab.commands.doctor import exit_code, run_checks, show_diagnoses, to_data

    diagnoses = run_checks(fix)
    if json:
        print_json(to_data(diagnoses))
    else:
        show_diagnoses(diagnoses, console())
    raise typer.Exit(exit_code(diagnoses))


@main_commands.command(
    epilog="Example: lab new my-outage   Next: lab run my-outage.toml --quick",
)
def new(
    name: Annotated[str, typer.Argument(help="its name: small letters, digits, hyphens")],
) -> None:
    """Write a small scenario file into this folder, with every line explained."""
    from lab.scenarios.template import ScenarioFileExists, create_scenario_file

    try:
        path = create_scenario_file(name, Path())
    except (ValueError, ScenarioFileExists) as error:
        fail(error, 2)
    except OSError as error:
        fail(f"This folder is not writable: {error}. Try another folder.", 3)
    echo(f"{path} is written. Run it: lab run {shell_word(path)} --quick")


@main_commands.command(
    epilog="Example: lab validate my-outage.toml   Next: lab run my-outage.toml --quick",
)
def validate(
    file: Annotated[
        str | None,
        typer.Argument(
            help="file or name of a scenario, or file of a lecture or a target",
            autocompletion=completion.scenarios,
        ),
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="print the JSON Schema of scenario files, for editors")
    ] = False,
    target: Annotated[
        bool, typer.Option("--target", help="with --schema: the schema of target files")
    ] = False,
) -> None:
    """Check a scenario, lecture or target file, and print each mistake with its line."""
    if schema:
        import json as documents

        from lab.external.target import target_schema
        from lab.scenarios.schema import schema as scenario_schema

        echo(documents.dumps(target_schema() if target else scenario_schema(), indent=2))
        return
    if file is None:
        fail("Which file? Try: lab validate my-outage.toml", 2)
    if target_commands.is_target_file(file):
        target_commands.validate(Path(file))
        return
    if lecture := read_lecture_file(file):
        bets = sum(scene.bet is not None for scene in lecture.scene)
        echo(f"{file} is valid. Scenes: {len(lecture.scene)}, bets: {bets}.")
        echo(f"Next: lab live --script {shell_word(file)}")
        return
    scenario = load_scenario(file)
    echo(
        f"{file} is valid. Variants: {len(scenario.variants)}, faults: {len(scenario.method)}, "
        f"expectations: {len(scenario.expect)}."
    )
    echo(f"Next: lab run {shell_word(file)} --quick")


@main_commands.command(
    epilog="Example: lab version   Next: lab doctor, to check this machine",
)
def version() -> None:
    """Print the versions of the lab and of Python."""
    import platform

    from lab.results.run_folder import lab_version

    echo(f"sync-async-lab {lab_version()}, Python {platform.python_version()}")


for command in exercise.app.registered_commands:
    command.cls = completion.LabCommand
for commands in (
    inspect.app,
    run.app,
    simulate.app,
    live.app,
    sandbox.app,
    target_commands.app,
    merge.app,
    search.app,
    export.app,
    main_commands,
):
    for command in commands.registered_commands:
        name = command.name or getattr(command.callback, "__name__", "")
        command.rich_help_panel = None if name in FRONT else MORE
        if not (command.cls and issubclass(command.cls, completion.LabCommand)):
            command.cls = completion.LabCommand
    app.add_typer(commands)
app.add_typer(exercise.app, name="exercise")


def _stop(*_: object) -> None:
    os.write(2, b"\nStopped.\n")
    os._exit(130)


def main() -> None:
    """The console script: typer's exit codes, and a sentence instead of a traceback."""
    from lab.cluster.errors import LabCannotRun
    from lab.commands import surroundings

    surroundings.open_closed_streams()
    # An exception raised during an import may be lost. Until `run_until_done` installs handlers
    # for a graceful end, Ctrl-C just exits.
    signal.signal(signal.SIGINT, _stop)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a `?` for what the terminal cannot show
    try:
        try:
            app(prog_name="lab")  # also as `python -m lab`: its completion listens to this name
        finally:
            surroundings.flush_output()
    except LabCannotRun as error:
        fail(error, 3)
    except OSError as error:
        if (problem := surroundings.why_not_written(error)) is None:
            raise
        fail(problem, 3)
