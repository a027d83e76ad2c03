"""The lab's command line: doors only, one function a command.

Nothing heavy is imported before a command needs it, so that `lab --help` answers at once.

Exit codes: 0 all expectations hold; 1 one does not; 2 a word was wrong; 3 the lab could not run
honestly; 130 Ctrl-C.
"""

import io
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from lab.byhand import commands as by_hand
from lab.terminal import checked, complain, console, fail, made, say, scenario_named, until_done

app = typer.Typer(
    name="lab",
    help="Break a small application, in two architectures at once, and see who gets hurt.",
    epilog="Start with: lab list   then: lab run slow-service --quick",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command("list", epilog="Example: lab list   Next: lab show slow-service")
def list_() -> None:
    """List the scenarios."""
    from lab.report import listing
    from lab.scenarios import catalogue

    listing.scenarios(catalogue.built_in(), console())


@app.command(epilog="Example: lab show downed-service   Next: lab run downed-service")
def show(
    name: Annotated[str, typer.Argument(help="a scenario's name, or the path of a .toml file")],
) -> None:
    """Show one scenario: its question, its load, what is broken and when."""
    from lab.report import listing

    listing.scenario(scenario_named(name), console(), name)


@app.command(
    epilog="Example: lab run slow-service downed-service --quick   "
    "Next: lab claims, to see which claims have been answered"
)
def run(
    names: Annotated[list[str], typer.Argument(help="scenarios by name, or paths of .toml files")],
    quick: Annotated[bool, typer.Option("--quick", help="half the time, half the samples")] = False,
    json: Annotated[bool, typer.Option("--json", help="one JSON document on stdout")] = False,
    seed: Annotated[int, typer.Option(help="what fixes the schedule of arrivals")] = 7,
    rate: Annotated[
        float | None, typer.Option(help="arrivals a second for each variant", min=0.1, max=1_000)
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="run only this variant; may be repeated")
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="keep the run, its databases too, under this folder"),
    ] = None,
) -> None:
    """Run scenarios and print what was measured: who got slow, who failed, what was lost."""
    from lab.cluster.errors import LabCannotRun
    from lab.report import tables
    from lab.report.progress import Watching
    from lab.scenarios.runner import Run
    from lab.scenarios.runs import RUNS, drop_databases, new_folder

    chosen = [scenario_named(name) for name in names]
    if only:
        chosen = [checked(scenario.only, only) for scenario in chosen]
    if rate:
        chosen = [scenario.at_rate(rate) for scenario in chosen]
    if quick:
        chosen = [scenario.quick() for scenario in chosen]
    results, codes = [], []
    for scenario in chosen:
        folder = made(new_folder, scenario.name, keep or RUNS)
        try:
            with Watching(scenario, console(stderr=True)) as watching:
                one = Run(scenario, folder, seed=seed, quick=quick, progress=watching)
                results.append(until_done(one()))
        except LabCannotRun as error:  # It has no result; those before it and after it have.
            codes.append(error.exit_code)
            complain(error)
            continue
        finally:
            if keep is None:
                drop_databases(folder)
        if not json:
            tables.render(results[-1], console())
            complain(f"\nKept in {folder}")
    if json and results:
        documents = [result.to_json() for result in results]
        document = documents[0] if len(chosen) == 1 else f"[{','.join(documents)}]\n"
        sys.stdout.buffer.write(document.encode())  # JSON is UTF-8, whatever the terminal is
    elif len(results) > 1:
        tables.summary(results, console())
    raise typer.Exit(max([*codes, *(result.exit_code for result in results)]))


@app.command(
    epilog="Example: lab report runs/20260101-101500-calm   Next: lab claims, for what it proves"
)
def report(
    folder: Annotated[Path, typer.Argument(help="a run's folder, as `lab run` names it")],
) -> None:
    """Show a kept run again."""
    from lab.report import tables
    from lab.scenarios.result import Result, ResultError

    try:
        result = Result.load_file(folder / "result.json" if folder.is_dir() else folder)
    except ResultError as error:
        fail(error, 2)
    tables.render(result, console())
    raise typer.Exit(result.exit_code)


@app.command(epilog="Example: lab diff comments   Next: lab diff comments request-reply")
def diff(
    service: Annotated[str, typer.Argument(help="posts, comments, moderation, query, or stack")],
    other: Annotated[
        str, typer.Argument(help="compare sync-chain with this arrangement")
    ] = "async-bus",
) -> None:
    """Show a service's twins side by side: what asking and telling change in the code."""
    from lab.cluster.topology import ARRANGEMENTS
    from lab.report import twins
    from lab.scenarios.figures import did_you_mean

    if service not in twins.FILES:
        fail(f"There is no service {service!r}. {did_you_mean(service, twins.FILES)}", 2)
    if other not in ARRANGEMENTS:
        fail(f"There is no arrangement {other!r}. {did_you_mean(other, ARRANGEMENTS)}", 2)
    twins.show(service, other, console())


@app.command(epilog="Example: lab design   Next: lab diff comments, to see it in the code")
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


@app.command(epilog="Example: lab claims   Next: lab run, for one that has no answer yet")
def claims() -> None:
    """List the claims of the course, and what the runs kept here say about each."""
    from lab.report import listing
    from lab.scenarios import catalogue
    from lab.scenarios.runs import kept

    listing.claims(catalogue.built_in(), [result for _, result in kept()], console())


@app.command(epilog="Example: lab doctor   Next: lab doctor --fix, to mend what it found")
def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="mend what can be mended")] = False,
) -> None:
    """Look at this machine: what is missing, in the way, or left over."""
    from lab.doctor import examine
    from lab.report import findings

    found = examine(fix)
    findings.show(found, console())
    raise typer.Exit(3 if any(finding.level == "bad" for finding in found) else 0)


@app.command(epilog="Example: lab version   Next: lab doctor, for the machine around it")
def version() -> None:
    """Say which version this is, and on what it runs."""
    import platform

    from lab.scenarios.environment import lab_version

    say(f"sync-async-lab {lab_version()}, Python {platform.python_version()}")


app.add_typer(by_hand.app)


def main() -> None:
    """The console script: typer's exit codes, and a sentence instead of a traceback."""
    from lab.cluster.errors import LabCannotRun

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # A sign that a terminal can't show is a `?`.
    try:
        app()
    except LabCannotRun as error:
        fail(error, 3)


if __name__ == "__main__":
    main()
