"""The commands that run no scenario: `list`, `show`, `report`, `diff`, `trace` and others."""

import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from lab.commands import completion
from lab.commands.console import (
    console,
    echo,
    fail,
    load_scenario,
    or_usage_error,
    print_json,
    progress_line,
    run_until_done,
)

# ── Scenarios, saved runs, code

app = typer.Typer()

LAST = "last"
SavedRun = Annotated[
    str,
    typer.Argument(
        help="a saved run: its folder, the name of its scenario, or: last",
        autocompletion=completion.saved_runs,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document")]


@app.command(epilog="Example: lab start   Next: lab run slow-service --predict")
def start() -> None:
    """Start here: the blog in one picture, and five runs to begin with."""
    from lab.report.terminal.start import show_start

    show_start(console())


@app.command("list", epilog="Example: lab list   Next: lab show slow-service")
def list_(
    everything: Annotated[
        bool, typer.Option("--all", help="a line for each scenario, by theme")
    ] = False,
    json: AsJson = False,
) -> None:
    """List the scenarios: the first hour, the afternoon, and the reference."""
    from lab.scenarios import catalogue

    scenarios = catalogue.builtin_scenarios()
    if json:
        from lab.report import documents

        print_json(documents.scenarios_data(scenarios))
    else:
        from lab.report.terminal import listing

        listing.show_scenarios(scenarios, console(), everything)


@app.command(
    epilog="Example: lab show downed-service   Next: lab run downed-service",
)
def show(
    name: Annotated[
        str,
        typer.Argument(
            help="name of a scenario, or path of a .toml file", autocompletion=completion.scenarios
        ),
    ],
    json: AsJson = False,
) -> None:
    """Show one scenario: its question, its load, and its faults over time."""
    from lab.report import documents
    from lab.report.terminal import listing

    scenario = load_scenario(name)
    if json:
        print_json(documents.scenario_data(scenario))
    else:
        listing.show_scenario(scenario, console(), name)


@app.command(
    epilog="Example: lab report slow-service --full   Next: lab open, for its charts",
)
def report(
    run: SavedRun = LAST,
    full: Annotated[
        bool, typer.Option("--full", help="print every table instead of the answer")
    ] = False,
    html: Annotated[
        bool, typer.Option("--html", help="write its page again, and print its path")
    ] = False,
    plot: Annotated[bool, typer.Option("--plot", help="also draw the run over time")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="print the whole result as one JSON document")
    ] = False,
) -> None:
    """Show a saved run again: the answer, or with --full every table."""
    from lab.commands.run import print_run
    from lab.report.charts import ChartData
    from lab.report.html import page
    from lab.report.terminal.plots import print_plots

    if json and (html or plot):
        fail("--json prints one document, so there is no place for --html or --plot.", 2)
    folder, result = _load_run(run)
    if json:
        sys.stdout.buffer.write(result.to_json().encode())
    elif html:
        try:
            echo(page.save(result, folder))
        except OSError as error:
            fail(f"{folder / page.NAME} can't be written: {error.strerror or error}.", 3)
    else:
        print_run(result, folder, full)
    if plot:
        print_plots(result, ChartData.read(result, folder), console())


@app.command(
    "open",
    epilog="Example: lab open slow-service   Next: lab report --full",
)
def open_page(
    run: SavedRun = LAST,
    print_path: Annotated[
        bool, typer.Option("--print", help="print the address, do not open a browser")
    ] = False,
) -> None:
    """Open the page of a saved run, with its charts, in the browser."""
    import webbrowser

    from lab.report.html import page

    folder, result = _load_run(run)
    path = folder / page.NAME
    if not path.exists():
        try:
            page.save(result, folder)
        except OSError as error:
            fail(f"{path} can't be written: {error.strerror or error}.", 3)
    address = path.resolve().as_uri()
    if print_path or not webbrowser.open(address):
        echo(address)


@app.command(
    epilog="Example: lab runs --limit 5   Next: lab report last",
)
def runs(
    limit: Annotated[int, typer.Option(help="show the newest N", min=1)] = 20,
    json: Annotated[bool, typer.Option("--json", help="print a JSON list")] = False,
) -> None:
    """List the saved runs in this folder, newest first."""
    from itertools import islice
    from json import dumps

    from lab.report.sections import headline
    from lab.results.run_folder import saved_runs
    from lab.results.saved_names import RUNS

    found = list(islice(saved_runs(), limit))
    if json:
        keys = ("scenario", "started", "seed", "quick", "valid", "simulated")
        echo(
            dumps(
                [
                    {"folder": str(path)} | {key: getattr(one, key) for key in keys}
                    for path, one in found
                ]
            )
        )
        return
    if not found:
        echo(f"There is no saved run in {RUNS}/ here. Run a scenario first: lab run slow-service")
    for path, one in found:
        echo(f"{one.started[:16].replace('T', ' ')}  {headline(one)}  ({path})")


@app.command(
    epilog="Example: lab compare runs/20260101-101500-calm runs/20260101-101600-calm   "
    "Next: lab report, to see one of them",
)
def compare(
    one: Annotated[
        str,
        typer.Argument(
            help="a run: its folder, or the name of its scenario",
            autocompletion=completion.saved_runs,
        ),
    ],
    other: Annotated[
        str,
        typer.Argument(
            help="another run, if possible of the same scenario, or: last",
            autocompletion=completion.saved_runs,
        ),
    ],
    json: AsJson = False,
) -> None:
    """Compare two saved runs: what was the same, and which results differ."""
    from lab.report.terminal import compare

    runs = _load_run(one)[1], _load_run(other)[1]
    if json:
        print_json(compare.comparison_data(*runs))
    else:
        compare.render(*runs, console())


@app.command(
    epilog="Example: lab diff comments   Next: lab diff comments request-reply",
)
def diff(
    service: Annotated[
        str,
        typer.Argument(
            help="posts, comments, moderation, query, or stack",
            autocompletion=completion.code_files,
        ),
    ],
    other: Annotated[
        str,
        typer.Argument(
            help="the arrangement to compare with sync-chain",
            autocompletion=completion.arrangements,
        ),
    ] = "async-bus",
) -> None:
    """Show a service in two architectures, side by side: how the code differs."""
    from lab.cluster.arrangements import ARRANGEMENTS
    from lab.report.terminal import code_diff
    from lab.support.text import did_you_mean

    if service not in code_diff.FILES:
        fail(f"There is no service {service!r}. {did_you_mean(service, code_diff.FILES)}", 2)
    if other not in ARRANGEMENTS:
        fail(f"There is no arrangement {other!r}. {did_you_mean(other, ARRANGEMENTS)}", 2)
    code_diff.show_diff(service, other, console())


@app.command(
    epilog="Example: lab design   Next: lab diff comments, to see the code",
)
def design() -> None:
    """Show the four design steps of the course, as measured in the running system."""
    from lab.cluster.arrangements import ARRANGEMENTS
    from lab.report.terminal import listing as tables
    from lab.report.tracing import design as observed

    def observe() -> Iterator[tuple[str, Any]]:
        """Each arrangement and its dependencies; a terminal shows which one is running."""
        for number, name in enumerate(ARRANGEMENTS, 1):
            doing = f"Starting {name} to observe it ({number} of {len(ARRANGEMENTS)}) ..."
            with TemporaryDirectory(prefix="lab-design-") as folder, progress_line(doing):
                found = run_until_done(observed.observed_dependencies(name, Path(folder)))
            yield name, found

    owners = observed.responsibilities("async-bus")
    tables.show_design(owners, observe(), observed.goals("sync-chain"), console())


@app.command(
    epilog="Example: lab claims   Next: lab run, to test one that has no result yet",
)
def claims(json: AsJson = False) -> None:
    """List the claims of the course, and what the runs saved here measured for each."""
    from lab.report import documents
    from lab.report.terminal import listing
    from lab.results.run_folder import saved_runs
    from lab.scenarios import catalogue

    scenarios = catalogue.builtin_scenarios()
    results = [result for _, result in saved_runs()]
    if json:
        print_json(documents.claims_data(scenarios, results))
    else:
        listing.show_claims(scenarios, results, console())


def _load_run(run: str) -> tuple[Path, Any]:
    """The folder and the result of a saved run; exits with code 2 if there is none."""
    from lab.results.result import ResultError, RunResult
    from lab.results.run_folder import find_run

    try:
        folder = find_run(run)
        return folder, RunResult.load_file(folder / "result.json")
    except ResultError as error:
        fail(error, 2)


def _run_folder(run: str) -> Path:
    """The folder of a run, which need not have a result; exits with code 2 if there is none."""
    folder = Path(run)
    return folder if folder.is_dir() else _load_run(run)[0]


# ── Traces


@app.command(
    epilog="Example: lab trace comment   Next: lab run slow-service --quick, and then "
    "lab trace --run last",
)
def trace(
    what: Annotated[
        str, typer.Argument(help="comment, feed, or post", autocompletion=completion.requests)
    ] = "comment",
    in_: Annotated[
        list[str] | None,
        typer.Option(
            "--in",
            metavar="NAME",
            help="in this arrangement; may be repeated (both twins)",
            autocompletion=completion.arrangements,
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="the slowest request of phase `during` in this saved run: its folder, the name of "
            "its scenario, or: last",
            autocompletion=completion.saved_runs,
        ),
    ] = None,
    id_: Annotated[
        str | None,
        typer.Option("--id", metavar="TRACE", help="with --run: the request with this trace id"),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="print one JSON document")] = False,
    otlp: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="also write the spans as OTLP/JSON, for Jaeger"),
    ] = None,
) -> None:
    """Follow one request through all processes, and draw which one waited for which."""
    from lab.report.tracing.trace import REQUESTS
    from lab.support.text import did_you_mean

    if what not in REQUESTS:
        fail(f"There is no request {what!r}. {did_you_mean(what, REQUESTS)}", 2)
    if id_ and not run:
        fail("--id needs the run of that trace. Try: lab trace --run last --id TRACE", 2)
    if otlp and (otlp.is_dir() or not otlp.parent.is_dir()):
        fail(f"--otlp {otlp}: expected a file in an existing folder.", 2)
    traces = (
        _traces_of_run(_run_folder(run), what, in_ or [], id_) if run else _new_traces(what, in_)
    )
    if otlp:
        from lab.report.tracing.otlp import to_otlp

        try:
            otlp.write_text(to_otlp(traces), "utf-8")
        except OSError as error:
            fail(f"--otlp {otlp} can't be written: {error.strerror}.", 3)
    if json:
        print_json({"schema": "lab.trace/1", "traces": [trace.to_data() for trace in traces]})
    else:
        from lab.report.terminal.trace import show_traces

        show_traces(traces, console())


def _traces_of_run(run: Path, request_name: str, variants: list[str], id_: str | None) -> Any:
    from lab.report.tracing import trace

    if id_:
        return or_usage_error(trace.trace_by_id, run, id_)
    return or_usage_error(trace.slowest_traces, run, request_name, variants)


def _new_traces(request_name: str, arrangements: list[str] | None) -> Any:
    from lab.cluster.arrangements import ARRANGEMENTS
    from lab.domain.services import TWINS
    from lab.report.tracing.trace import trace_request
    from lab.support.text import did_you_mean

    for name in arrangements or ():
        if name not in ARRANGEMENTS:
            fail(f"There is no arrangement {name!r}. {did_you_mean(name, ARRANGEMENTS)}", 2)
    traces = []
    for name in dict.fromkeys(arrangements or TWINS):
        with TemporaryDirectory(prefix="lab-trace-") as folder:
            traces.append(run_until_done(trace_request(name, request_name, Path(folder))))
    return traces
