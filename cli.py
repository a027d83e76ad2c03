"""The lab's command line: doors only, one function a command.

Nothing heavy is imported before a command needs it, so that `lab --help` answers at once.

Exit codes: 0 all expectations hold; 1 one does not; 2 a word was wrong; 3 the lab could not run
honestly; 130 Ctrl-C.
"""

import asyncio
import io
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NoReturn, TypeVar

import typer

T = TypeVar("T")

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

    listing.scenarios(catalogue.built_in(), _console())


@app.command(epilog="Example: lab show downed-service   Next: lab run downed-service")
def show(
    name: Annotated[str, typer.Argument(help="a scenario's name, or the path of a .toml file")],
) -> None:
    """Show one scenario: its question, its load, what is broken and when."""
    from lab.report import listing

    listing.scenario(_scenario(name), _console(), name)


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

    chosen = [_scenario(name) for name in names]
    if only:
        chosen = [_checked(scenario.only, only) for scenario in chosen]
    if rate:
        chosen = [scenario.at_rate(rate) for scenario in chosen]
    if quick:
        chosen = [scenario.quick() for scenario in chosen]
    results, codes = [], []
    for scenario in chosen:
        folder = _made(new_folder, scenario.name, keep or RUNS)
        try:
            with Watching(scenario, _console(stderr=True)) as watching:
                one = Run(scenario, folder, seed=seed, quick=quick, progress=watching)
                results.append(_until_done(one()))
        except LabCannotRun as error:  # It has no result; those before it and after it have.
            codes.append(error.exit_code)
            _complain(error)
            continue
        finally:
            if keep is None:
                drop_databases(folder)
        if not json:
            tables.render(results[-1], _console())
            _complain(f"\nKept in {folder}")
    if json and results:
        documents = [result.to_json() for result in results]
        document = documents[0] if len(chosen) == 1 else f"[{','.join(documents)}]\n"
        sys.stdout.buffer.write(document.encode())  # JSON is UTF-8, whatever the terminal is
    elif len(results) > 1:
        tables.summary(results, _console())
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
        _fail(error, 2)
    tables.render(result, _console())
    raise typer.Exit(result.exit_code)


@app.command(
    epilog="Example: lab up both   Next, in another terminal: lab fault latency comments --ms 300"
)
def up(
    which: Annotated[
        str,
        typer.Argument(
            help="sync-chain, async-bus, request-reply, monolith, or both", metavar="STACK"
        ),
    ] = "both",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SWITCH=VALUE", help="as dead_letter=true; may be repeated"),
    ] = None,
) -> None:
    """Start the stacks on their by-hand ports, and keep them up until Ctrl-C."""
    from lab.byhand.control import running_labs
    from lab.byhand.settings import settings_by_stack
    from lab.byhand.up import run_up
    from lab.domain.directory import BY_HAND_PORTS, TWINS
    from lab.scenarios.figures import did_you_mean
    from lab.scenarios.runs import new_folder

    known = (*BY_HAND_PORTS, "both")
    if which not in known:
        _fail(f"There is no stack {which!r}. {did_you_mean(which, known)}", 2)
    stacks = list(TWINS) if which == "both" else [which]
    options = _checked(settings_by_stack, settings or [], stacks)
    if there := [lab for lab in running_labs() if set(stacks) & set(lab.stacks)]:
        _fail(f"A lab is up already (pid {there[0].pid}): use it, or end it with Ctrl-C there.", 3)
    _until_done(run_up(which, _made(new_folder, "up"), _say, options=options))


@app.command(epilog="Example: lab fault latency comments --ms 300 --jitter-ms 50   Next: lab heal")
def fault(
    kind: Annotated[
        str | None,
        typer.Argument(
            help="down, hang, latency, error, timeout, reset_peer, partition, drop, duplicate, "
            "reorder, poison"
        ),
    ] = None,
    target: Annotated[str | None, typer.Argument(help="a service, or event-bus")] = None,
    ms: Annotated[float | None, typer.Option(help="latency: how much longer it takes")] = None,
    jitter_ms: Annotated[float | None, typer.Option(help="latency: more or less by this")] = None,
    status: Annotated[int | None, typer.Option(help="error: which one is answered")] = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="partition: whose requests or events are cut")
    ] = None,
    type_: Annotated[
        str | None, typer.Option("--type", help="poison: the event nobody can digest")
    ] = None,
    probability: Annotated[float | None, typer.Option(help="the share that is hit, 0 to 1")] = None,
    first: Annotated[int | None, typer.Option(help="hit only the first so many")] = None,
    stack: Annotated[str | None, typer.Option(help="only in this stack")] = None,
    pid: Annotated[int | None, typer.Option(help="which lab, if several run")] = None,
) -> None:
    """Break something in a running `lab up`, in both stacks at once; alone, list what is broken."""
    from lab.byhand.control import ControlError, faults, find_lab, put_fault

    given = {
        "ms": ms,
        "jitter_ms": jitter_ms,
        "status": status,
        "from": from_,
        "type": type_,
        "probability": probability,
        "first": first,
    }
    options = {name: value for name, value in given.items() if value is not None}
    if kind and not target:
        _fail(f"{kind!r} needs a target. Try: lab fault {kind} comments", 2)
    try:
        running = find_lab(pid)
        if kind and target:
            lines = put_fault(running, kind, target, options, stack)
        else:
            lines = faults(running)
        for line in lines:
            _say(line)
    except ControlError as error:
        _fail(error, error.exit_code)


@app.command(
    epilog="Example: lab heal comments   or: lab heal, for everything   Next: lab fault down posts"
)
def heal(
    target: Annotated[str | None, typer.Argument(help="only faults on this service")] = None,
    kind: Annotated[str | None, typer.Option(help="only faults of this kind")] = None,
    stack: Annotated[str | None, typer.Option(help="only in this stack")] = None,
    pid: Annotated[int | None, typer.Option(help="which lab, if several run")] = None,
) -> None:
    """Take faults back from a running `lab up`, and show what they did."""
    from lab.byhand.control import ControlError, find_lab
    from lab.byhand.control import heal as take_back

    try:
        for line in take_back(find_lab(pid), target, kind, stack):
            _say(line)
    except ControlError as error:
        _fail(error, error.exit_code)


@app.command(epilog="Example: lab events --follow   Next: lab events --dead, for what failed")
def events(
    after: Annotated[int, typer.Option(help="only those behind this number", min=0)] = 0,
    type_: Annotated[
        str | None, typer.Option("--type", help="only this type, as CommentCreated")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="go on until Ctrl-C")] = False,
    dead: Annotated[bool, typer.Option("--dead", help="what services laid aside")] = False,
    json: Annotated[bool, typer.Option("--json", help="a line of JSON for each")] = False,
    stack: Annotated[str | None, typer.Option(help="of this stack (async-bus)")] = None,
    pid: Annotated[int | None, typer.Option(help="which lab, if several run")] = None,
) -> None:
    """Show the events on the bus of a running `lab up`, or those that could not be applied."""
    from lab.byhand.control import ControlError, find_lab
    from lab.byhand.events import show_dead, show_events

    options: dict[str, Any] = {"after": after, "type_": type_, "follow": follow, "stack": stack}
    try:
        if dead:
            show_dead(find_lab(pid), _say, as_json=json)
        else:
            show_events(find_lab(pid), _say, as_json=json, **options)
    except ControlError as error:
        _fail(error, error.exit_code)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@app.command(epilog="Example: lab redrive query   Next: lab events --dead, for what failed again")
def redrive(
    service: Annotated[str | None, typer.Argument(help="only what this service laid aside")] = None,
    stack: Annotated[str | None, typer.Option(help="only in this stack")] = None,
    pid: Annotated[int | None, typer.Option(help="which lab, if several run")] = None,
) -> None:
    """Apply dead letters of a running `lab up` again."""
    from lab.byhand.control import ControlError, find_lab
    from lab.byhand.events import redrive as send_again

    try:
        send_again(find_lab(pid), _say, service, stack)
    except ControlError as error:
        _fail(error, error.exit_code)


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
        _fail(f"There is no service {service!r}. {did_you_mean(service, twins.FILES)}", 2)
    if other not in ARRANGEMENTS:
        _fail(f"There is no arrangement {other!r}. {did_you_mean(other, ARRANGEMENTS)}", 2)
    twins.show(service, other, _console())


@app.command(epilog="Example: lab design   Next: lab diff comments, to see it in the code")
def design() -> None:
    """Show the four steps of the course, made from the running code."""
    from lab.cluster.topology import ARRANGEMENTS
    from lab.report import design as tables
    from lab.scenarios import design as observed

    dependencies = {}
    for name in ARRANGEMENTS:
        with TemporaryDirectory(prefix="lab-design-") as folder:
            found = _until_done(observed.observed_dependencies(name, Path(folder)))
            dependencies[name] = found
    owners = observed.responsibilities("async-bus")
    tables.show(owners, dependencies, observed.goals("sync-chain"), _console())


@app.command(epilog="Example: lab claims   Next: lab run, for one that has no answer yet")
def claims() -> None:
    """List the claims of the course, and what the runs kept here say about each."""
    from lab.report import listing
    from lab.scenarios import catalogue
    from lab.scenarios.runs import kept

    listing.claims(catalogue.built_in(), [result for _, result in kept()], _console())


@app.command(epilog="Example: lab doctor   Next: lab doctor --fix, to mend what it found")
def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="mend what can be mended")] = False,
) -> None:
    """Look at this machine: what is missing, in the way, or left over."""
    from lab.doctor import examine
    from lab.report import findings

    found = examine(fix)
    findings.show(found, _console())
    raise typer.Exit(3 if any(finding.level == "bad" for finding in found) else 0)


@app.command(epilog="Example: lab version   Next: lab doctor, for the machine around it")
def version() -> None:
    """Say which version this is, and on what it runs."""
    import platform

    from lab.scenarios.environment import lab_version

    _say(f"sync-async-lab {lab_version()}, Python {platform.python_version()}")


def main() -> None:
    """The console script: typer's exit codes, and a sentence instead of a traceback."""
    from lab.cluster.errors import LabCannotRun

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # A sign that a terminal can't show is a `?`.
    try:
        app()
    except LabCannotRun as error:
        _fail(error, 3)


def _scenario(name: str) -> Any:
    from lab.scenarios.catalogue import UnknownName, find
    from lab.scenarios.reading import ScenarioError

    try:
        return find(name)
    except (UnknownName, ScenarioError) as error:
        _fail(error, 2)


def _checked(change: Any, *arguments: Any) -> Any:
    try:
        return change(*arguments)
    except ValueError as error:
        _fail(error, 2)


def _made(make: Any, *arguments: Any) -> Path:
    try:
        folder: Path = make(*arguments)
    except OSError as error:
        _fail(f"No folder can be made for the run: {error}. Try --keep with another one.", 3)
    return folder


def _until_done(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end; Ctrl-C, SIGTERM and SIGHUP end it in order, with every process it started."""
    from lab.cluster.errors import LabCannotRun

    caught: list[int] = []

    async def guarded() -> T:
        task = asyncio.current_task()
        assert task is not None

        def stop(number: int) -> None:
            caught.append(number)
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, stop, number)
        return await work

    try:
        done = asyncio.run(guarded())
        if not caught:
            return done
    except (asyncio.CancelledError, LabCannotRun):
        if not caught:
            raise
    _fail("Stopped. All faults are taken back and all processes ended.", 128 + caught[0])


def _console(stderr: bool = False) -> Any:
    from rich.console import Console

    return Console(stderr=stderr)


def _say(text: object) -> None:
    from lab.report.text import plain

    for line in str(text).splitlines() or [""]:
        indent = len(line) - len(line.lstrip(" "))
        sys.stdout.write(f"{' ' * indent}{plain(line)}\n")
    sys.stdout.flush()


def _complain(problem: object) -> None:
    from lab.report.text import plain

    for line in str(problem).splitlines():
        sys.stderr.write(f"{plain(line)}\n")


def _fail(problem: object, code: int) -> NoReturn:
    _complain(problem)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
