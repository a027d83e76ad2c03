"""The `lab run` command.

With `--predict` it first prompts for guesses. Prompts go to stderr, so stdout has only the result.
After an invalid answer it prompts again; an empty line skips a question.
"""

import shutil
import sys
import textwrap
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from lab.commands import completion
from lab.commands.console import (
    VERBOSITY,
    console,
    echo_error,
    fail,
    load_scenario,
    note,
    or_usage_error,
)

# ── Guesses (`--predict`)

_NO_INPUT = (
    "--predict asks questions, but the input has ended and nobody is there to answer. "
    'In a script or a notebook: lab.run("…", predict={"fails": "sync-chain"})'
)


def prompt_guesses(scenario: Any, parent: Path) -> list[Any]:
    """Ask for guesses on the terminal; exits with code 2 if stdin has ended.

    `parent`: the folder of the saved runs. Guesses about a run there that is no result are offered
    again.
    """
    from lab.experiment import guesses
    from lab.experiment.guesses import GuessError, build_questions
    from lab.report.sections import format_with_unit

    answers: list[Any] = []
    if scenario.question.strip():
        _echo_wrapped(f"{scenario.title}\n\n{' '.join(scenario.question.split())}\n")
    earlier = guesses.unjudged_guesses(scenario.name, parent)
    _echo_wrapped("What do you expect? An empty line skips a question.")
    if earlier:
        _echo_wrapped(
            "The last run was no result. Your answers before it are in brackets: an empty line "
            "keeps one."
        )
    for number, question in enumerate(build_questions(scenario), 1):
        _echo_wrapped(f"\n{number}. {question.text}\n   (Expected: {question.expected}.)")
        for variant in ("",) if question.kind == "who" else question.variants:
            kept = earlier.get((question.key, variant), "")
            shown = f" [{format_with_unit(kept, question.unit)}]" if kept != "" else ""
            while True:
                answer: object = _read_answer(f"   {variant}{shown}> ") or kept
                if answer == "":
                    break
                try:
                    answers.append(guesses.parse_guess(question, variant, answer))
                    break
                except GuessError as error:
                    _echo_wrapped(f"   {error}")
    _echo_wrapped("")
    return answers


def _echo_wrapped(text: object) -> None:
    from lab.support.text import plain

    width = min(shutil.get_terminal_size().columns, 80)
    for line in str(text).split("\n"):
        indent = " " * (len(line) - len(line.lstrip(" ")))
        words = textwrap.wrap(
            plain(line), width - 1, initial_indent=indent, subsequent_indent=indent
        )
        sys.stderr.write("\n".join(words) + "\n")


def _read_answer(prompt: str) -> str:
    sys.stderr.write(prompt)
    sys.stderr.flush()
    try:
        line = sys.stdin.readline()
    except UnicodeDecodeError:
        return "?"  # undecodable bytes: the same as any invalid answer
    if not line:
        fail(f"\n{_NO_INPUT}", 2)
    return line.strip()


# ── The command

app = typer.Typer()

ALL = "all"
TERSE_MIN_SCENARIOS = 5
"""From this many scenarios on, each has one line; `lab report` shows the tables."""


@app.command(
    epilog="Example: lab run slow-service downed-service --quick   "
    "Next: lab claims, to see what the runs show",
)
def run(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="names of scenarios, paths of .toml files, or: all",
            metavar="NAMES",
            autocompletion=completion.scenarios_to_run,
        ),
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TAG",
            help="run all scenarios with this tag; may be repeated",
            autocompletion=completion.tags,
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="half the time, half the samples")] = False,
    json: Annotated[bool, typer.Option("--json", help="print one JSON document")] = False,
    seed: Annotated[
        int, typer.Option(help="seed of the schedule of arrivals", envvar="LAB_SEED")
    ] = 7,
    rate: Annotated[
        float | None, typer.Option(help="arrivals per second for each variant", min=0.1, max=1_000)
    ] = None,
    repeat: Annotated[
        int, typer.Option(help="run each N times, alternating, and pool the results", min=1, max=50)
    ] = 1,
    on: Annotated[
        str | None,
        typer.Option(
            metavar="tcp://HOST:PORT",
            help="a Dask scheduler: the runs of --repeat go to its machines, one a machine at a "
            "time",
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VARIANT",
            help="run only this variant; may be repeated",
            autocompletion=completion.arrangements,
        ),
    ] = None,
    settings_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SWITCH=VALUE",
            help="such as retries=3, in each variant that has this switch; may be repeated",
        ),
    ] = None,
    bus: Annotated[
        str | None,
        typer.Option(help="event bus: log, course, nats, or nats://HOST:PORT"),
    ] = None,
    with_: Annotated[
        Path | None,
        typer.Option(
            "--with",
            metavar="TARGET",
            help="your own services, as an additional variant; with --bus log, the lab's log "
            "replaces their bus",
        ),
    ] = None,
    replace: Annotated[
        str | None,
        typer.Option(
            metavar="SERVICE=TARGET",
            help="your own service instead of one of the lab's, on the course's bus, as an "
            "additional variant",
        ),
    ] = None,
    at: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="a blog that runs already on an engine: the file has its URLs and the engine's "
            "commands (.toml), or is its Compose file (.yaml); may be repeated",
        ),
    ] = None,
    predict: Annotated[bool, typer.Option("--predict", help="first ask what you expect")] = False,
    full: Annotated[
        bool, typer.Option("--full", help="print every table instead of the answer")
    ] = False,
    plot: Annotated[
        bool, typer.Option("--plot", help="also draw the run over time (not with --json)")
    ] = False,
    keep: Annotated[
        Path | None,
        typer.Option(
            "--keep",
            "-o",
            "--output",
            metavar="DIR",
            help="save the run in this folder, with its databases; without it, in the folder "
            "LAB_RUNS_DIR (runs), without them",
        ),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="also write JUnit XML, for CI")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="also write all figures as CSV")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no notes, no progress")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="a line on stderr for each step")
    ] = False,
) -> None:
    """Run scenarios and print what was measured: what was slow, failed or lost."""
    from lab.cluster.attached import read_attachments
    from lab.commands.series import ScenarioRun, Series
    from lab.report.charts import ChartData
    from lab.report.run_junit import run_junit
    from lab.report.terminal import run
    from lab.report.terminal.plots import print_plots
    from lab.results.rows import to_csv
    from lab.results.saved_names import RUNS
    from lab.scenarios.overrides import apply_overrides, load_targets
    from lab.scenarios.switches import parse_assignment

    VERBOSITY.level += verbose - quiet
    if json and plot:
        fail(
            "--json prints one document and nothing else, so there is no place for --plot.",
            2,
        )
    for option, file in (("--junit", junit), ("--csv", csv)):
        if file and (file.is_dir() or not file.parent.is_dir()):
            fail(f"{option} {file}: expected a file in an existing folder.", 2)
    if on and (with_ or replace):
        fail("--on sends runs to other machines, which have no files of --with or --replace.", 2)
    if at and (on or with_ or replace or bus or settings_):
        fail("--at runs what is there: leave out --on, --with, --replace, --bus and --set.", 2)
    chosen = _select_scenarios(names or [], tag or [])
    settings = dict(or_usage_error(parse_assignment, text) for text in settings_ or [])
    overrides: dict[str, Any] = {
        **{"bus": bus, "only": only, "rate": rate, "quick": quick},
        "settings": settings,
    }
    service_name, equals, path = (replace or "").partition("=")
    if replace and not (service_name and equals and path):
        fail(f"--replace: saw {replace!r}, expected SERVICE=TARGET, as comments=mine.toml.", 2)
    overrides |= or_usage_error(load_targets, with_, {service_name: path} if replace else {})
    overrides["at"] = or_usage_error(read_attachments, at or [])
    chosen = [
        or_usage_error(partial(apply_overrides, scenario, **overrides)) for scenario in chosen
    ]
    terse = len(chosen) >= TERSE_MIN_SCENARIOS

    def show(result: Any, folder: Path) -> None:
        save_report(result, folder)
        send_spans(folder)
        if json or terse:
            return
        print_run(result, folder, full)
        note(f"Saved in {folder}")
        if plot:
            print_plots(result, ChartData.read(result, folder), console())

    series = Series(
        [ScenarioRun(one, prompt_guesses(one, keep or RUNS) if predict else []) for one in chosen],
        seed=seed,
        quick=quick,
        repeat=repeat,
        parent=keep or RUNS,
        keep_databases=keep is not None,
        predict=predict,
        terse=terse,
        show=show,
        on=on,
    )
    series.run()
    results = [one.result for one in series.runs if one.result]
    if json and results:
        documents = [result.to_json() for result in results]
        document = documents[0] if len(chosen) == 1 else f"[{','.join(documents)}]\n"
        sys.stdout.buffer.write(document.encode())  # JSON is UTF-8, whatever the terminal is
    elif len(results) > 1:
        run.summary(results, console(), list_failures=terse)
        if not terse:
            note("Next: lab start, to see where you are and what to run then")
    if junit:
        _write(junit, run_junit([(one.scenario.name, one.result) for one in series.runs]))
    if csv:
        _write(csv, to_csv(results))
    if terse:
        note(f"\nAll runs are saved in {keep or RUNS}: `lab report NAME` shows one.")
    raise typer.Exit(series.exit_code)


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, "utf-8")
    except OSError as error:
        fail(f"{file} can't be written: {error.strerror or error}.", 3)


def print_run(result: Any, folder: Path, full: bool) -> None:
    """Print the answer of a run, or every table of it."""
    from lab.report.answer import build_answer
    from lab.report.charts import ChartData
    from lab.report.terminal import run
    from lab.report.terminal.answer import render_answer

    if full:
        run.render(result, console())
    else:
        render_answer(build_answer(result, ChartData.read(result, folder).samples), console())


def save_report(result: Any, folder: Path) -> None:
    """Write the run's page into its folder; if that fails, print why and continue."""
    from lab.report.html import page

    try:
        page.save(result, folder)
    except OSError as error:
        echo_error(f"{folder / page.NAME} can't be written: {error.strerror or error}.")


def send_spans(folder: Path) -> None:
    """Send the spans of a run to the collector that the environment names, if any."""
    from lab.report.tracing.collector import NotSent, collector_of, send
    from lab.report.tracing.trace import NoSuchTrace, all_traces

    try:
        collector = collector_of()
        if collector is not None:
            count = send(all_traces(folder), collector)
            note(f"{count} spans are sent to {collector.url}.")
    except (NotSent, NoSuchTrace) as error:
        echo_error(f"No spans are sent: {error}")


def _select_scenarios(names: Sequence[str], tags: Sequence[str]) -> list[Any]:
    """The scenarios to run: those given by name, then the other ones of `all` or the tags."""
    from lab.scenarios import catalogue

    if not names and not tags:
        fail("Which scenario? `lab list` shows all; `lab run all` runs them.", 2)
    try:
        tagged = catalogue.find_tagged(tags) if tags else ()
        candidates = catalogue.builtin_scenarios() if ALL in names else tagged
        runnable = [scenario for scenario in candidates if _can_run(scenario)]
    except catalogue.UnknownName as error:
        fail(error, 2)
    chosen = [load_scenario(name) for name in names if name != ALL]
    chosen_names = {scenario.name for scenario in chosen}
    return [*chosen, *(more for more in runnable if more.name not in chosen_names)]


def _can_run(scenario: Any) -> bool:
    """Whether a scenario selected by `all` or a tag has the NATS it needs; prints why not."""
    from lab.support.nats import NatsNotInstalled, find_server, require_client

    if any(variant.options.get("bus") == "nats" for variant in scenario.variants.values()):
        try:
            require_client()
            find_server()
        except NatsNotInstalled as missing:
            echo_error(f"{scenario.name} is skipped. {missing}")
            return False
    return True
