"""The commands that show something without running a scenario: doors only, mounted by `cli.py`."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from lab.terminal import console, fail, say, scenario_named, until_done

app = typer.Typer()


@app.command(
    "list", rich_help_panel="Scenarios", epilog="Example: lab list   Next: lab show slow-service"
)
def list_() -> None:
    """List the scenarios."""
    from lab.report import listing
    from lab.scenarios import catalogue

    listing.scenarios(catalogue.built_in(), console())


@app.command(
    rich_help_panel="Scenarios",
    epilog="Example: lab show downed-service   Next: lab run downed-service",
)
def show(
    name: Annotated[str, typer.Argument(help="a scenario's name, or the path of a .toml file")],
) -> None:
    """Show one scenario: its question, its load, what is broken and when."""
    from lab.report import listing

    listing.scenario(scenario_named(name), console(), name)


@app.command(
    rich_help_panel="Kept runs",
    epilog="Example: lab report runs/20260101-101500-calm --html   "
    "Next: lab claims, for what it proves",
)
def report(
    folder: Annotated[Path, typer.Argument(help="a run's folder, as `lab run` names it")],
    html: Annotated[
        bool, typer.Option("--html", help="write its page anew, and say where it is")
    ] = False,
    plot: Annotated[
        bool, typer.Option("--plot", help="also draw the course of the run in the terminal")
    ] = False,
) -> None:
    """Show a kept run again."""
    from lab.report import page, tables
    from lab.report.charts import Raw
    from lab.report.plot import plots

    result = _kept(folder)
    place = folder if folder.is_dir() else folder.parent
    if html:
        try:
            say(page.keep(result, place))
        except OSError as error:
            fail(f"{place / page.NAME} can't be written: {error.strerror or error}.", 3)
    else:
        tables.render(result, console())
    if plot:
        plots(result, Raw.of(result, place), console())
    raise typer.Exit(result.exit_code)


@app.command(
    rich_help_panel="Kept runs",
    epilog="Example: lab compare runs/20260101-101500-calm runs/20260101-101600-calm   "
    "Next: lab report, for one of them alone",
)
def compare(
    one: Annotated[Path, typer.Argument(help="a run's folder, as `lab run` names it")],
    other: Annotated[Path, typer.Argument(help="another one, of the same scenario at best")],
) -> None:
    """Set two kept runs beside each other: what was the same, and what came out differently."""
    from lab.report.compare import render

    render(_kept(one), _kept(other), console())


@app.command(
    rich_help_panel="The code",
    epilog="Example: lab diff comments   Next: lab diff comments request-reply",
)
def diff(
    service: Annotated[str, typer.Argument(help="posts, comments, moderation, query, or stack")],
    other: Annotated[
        str, typer.Argument(help="compare sync-chain with this arrangement")
    ] = "async-bus",
) -> None:
    """Show a service's twins side by side: what asking and telling change in the code."""
    from lab.cluster.topology import ARRANGEMENTS
    from lab.meant import did_you_mean
    from lab.report import twins

    if service not in twins.FILES:
        fail(f"There is no service {service!r}. {did_you_mean(service, twins.FILES)}", 2)
    if other not in ARRANGEMENTS:
        fail(f"There is no arrangement {other!r}. {did_you_mean(other, ARRANGEMENTS)}", 2)
    twins.show(service, other, console())


@app.command(
    rich_help_panel="The code",
    epilog="Example: lab design   Next: lab diff comments, to see it in the code",
)
def design() -> None:
    """Show the four steps of the course, made from the running code."""
    from lab.cluster.topology import ARRANGEMENTS
    from lab.report import design as tables
    from lab.scenarios import design as observed

    dependencies = {}
    for name in ARRANGEMENTS:
        with TemporaryDirectory(prefix="lab-design-") as folder:
            found = until_done(observed.observed_dependencies(name, Path(folder)))
            dependencies[name] = found
    owners = observed.responsibilities("async-bus")
    tables.show(owners, dependencies, observed.goals("sync-chain"), console())


@app.command(
    rich_help_panel="Kept runs",
    epilog="Example: lab claims   Next: lab run, for one that has no answer yet",
)
def claims() -> None:
    """List the claims of the course, and what the runs kept here say about each."""
    from lab.report import listing
    from lab.scenarios import catalogue
    from lab.scenarios.runs import kept

    listing.claims(catalogue.built_in(), [result for _, result in kept()], console())


def _kept(folder: Path) -> Any:
    from lab.scenarios.result import Result, ResultError

    try:
        return Result.load_file(folder / "result.json" if folder.is_dir() else folder)
    except ResultError as error:
        fail(error, 2)
