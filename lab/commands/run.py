"""The `lab run` command.

With `--predict` it first asks on the terminal for guesses. Questions go to stderr and answers come
from stdin, so stdout contains only the result. An invalid answer is asked for again; an empty line
skips the question.
"""

import shutil
import sys
import textwrap
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from lab.commands.console import checked, complain, console, fail, made, scenario_named, until_done

# ── Guesses (`--predict`)

_NOBODY_THERE = (
    "--predict asks questions, and nobody is there to answer: the input has ended. "
    'In a script or a notebook: lab.run("…", predict={"fails": "sync-chain"})'
)


def ask(scenario: Any) -> list[Any]:
    """The guesses typed on the terminal; exits with code 2 if stdin has ended."""
    from lab.experiment import guesses
    from lab.experiment.guesses import GuessError, questions

    found: list[Any] = []
    if scenario.question.strip():
        _tell(f"{scenario.title}\n\n{' '.join(scenario.question.split())}\n")
    _tell("What do you think? Enter alone leaves a question out.")
    for number, question in enumerate(questions(scenario), 1):
        _tell(f"\n{number}. {question.asks}\n   (Expected: {question.meant}.)")
        for variant in ("",) if question.kind == "who" else question.variants:
            while True:
                answer = _line(f"   {variant}> " if variant else "   > ")
                if not answer:
                    break
                try:
                    found.append(guesses.guess(question, variant, answer))
                    break
                except GuessError as error:
                    _tell(f"   {error}")
    _tell("")
    return found


def _tell(text: object) -> None:
    from lab.support.text import plain

    width = min(shutil.get_terminal_size().columns, 80)
    for line in str(text).split("\n"):
        indent = " " * (len(line) - len(line.lstrip(" ")))
        words = textwrap.wrap(
            plain(line), width - 1, initial_indent=indent, subsequent_indent=indent
        )
        sys.stderr.write("\n".join(words) + "\n")


def _line(prompt: str) -> str:
    sys.stderr.write(prompt)
    sys.stderr.flush()
    try:
        line = sys.stdin.readline()
    except UnicodeDecodeError:
        return "?"  # undecodable bytes: the same as any invalid answer
    if not line:
        fail(f"\n{_NOBODY_THERE}", 2)
    return line.strip()


# ── The command

app = typer.Typer()

ALL = "all"
TERSE_FROM = 5  # from this many scenarios on: a line each, and the tables with `lab report`


@app.command(
    rich_help_panel="Scenarios",
    epilog="Example: lab run slow-service downed-service --quick   "
    "Next: lab claims, to see which claims have been answered",
)
def run(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="scenarios by name, paths of .toml files, or: all", metavar="NAMES"),
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option(help="run all with this tag, as `lab list` shows them; may be repeated"),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="half the time, half the samples")] = False,
    json: Annotated[bool, typer.Option("--json", help="one JSON document on stdout")] = False,
    seed: Annotated[int, typer.Option(help="what fixes the schedule of arrivals")] = 7,
    rate: Annotated[
        float | None, typer.Option(help="arrivals a second for each variant", min=0.1, max=1_000)
    ] = None,
    repeat: Annotated[
        int, typer.Option(help="run each so many times, by turns, into one result", min=1, max=50)
    ] = 1,
    only: Annotated[
        list[str] | None, typer.Option(help="run only this variant; may be repeated")
    ] = None,
    bus: Annotated[
        str | None,
        typer.Option(help="run on this bus: log, nats, or nats://HOST:PORT, a cluster that is up"),
    ] = None,
    with_: Annotated[
        Path | None,
        typer.Option(
            "--with",
            metavar="TARGET",
            help="your own services, as one more variant; --bus log puts the lab's log in the "
            "place of their bus",
        ),
    ] = None,
    replace: Annotated[
        str | None,
        typer.Option(
            metavar="SERVICE=TARGET",
            help="your own service in the place of one of the lab's, on the course's bus, as one "
            "more variant",
        ),
    ] = None,
    predict: Annotated[
        bool, typer.Option("--predict", help="ask first what you think will come out")
    ] = False,
    plot: Annotated[
        bool, typer.Option("--plot", help="draw the course of the run, too (not with --json)")
    ] = False,
    keep: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="keep the run, its databases too, under this folder"),
    ] = None,
) -> None:
    """Run scenarios and print what was measured: who got slow, who failed, what was lost."""
    from lab.cluster.errors import LabCannotRun
    from lab.experiment import guesses
    from lab.experiment.runner import Repeated
    from lab.report.charts import Raw
    from lab.report.terminal import run
    from lab.report.terminal.plots import plots
    from lab.report.terminal.progress import Watching, headline
    from lab.results.run_folder import RUNS, drop_databases, new_folder
    from lab.scenarios.overrides import prepared, theirs

    if json and plot:
        fail("--json prints one document and nothing else, so there is no place for --plot.", 2)
    chosen = _chosen(names or [], tag or [])
    wishes: dict[str, Any] = {"bus": bus, "only": only, "rate": rate, "quick": quick}
    part, equals, path = (replace or "").partition("=")
    if replace and not (part and equals and path):
        fail(f"--replace: saw {replace!r}; meant was SERVICE=TARGET: comments=mine.toml.", 2)
    wishes |= checked(theirs, with_, {part: path} if replace else {})
    chosen = [checked(partial(prepared, scenario, **wishes)) for scenario in chosen]
    guessed = [ask(scenario) if predict else [] for scenario in chosen]
    terse = len(chosen) >= TERSE_FROM
    series: list[Repeated] = []
    results, codes = [], []
    for number in range(repeat):
        for place, scenario in enumerate(chosen):
            if number == 0:
                folder = made(new_folder, scenario.name, keep or RUNS)
                series.append(Repeated(scenario, folder, seed, quick, repeat))
                if predict:
                    guesses.keep(guessed[place], folder)
            one = series[place]
            of_all = f"{place + 1} of {len(chosen)}" if len(chosen) > 1 else ""
            try:
                with Watching(scenario, console(stderr=True), of_all) as watching:
                    until_done(one.run(number, watching))
            except LabCannotRun as error:  # this run has no result; the others have
                complain(f"{of_all:<9} {scenario.name}: {error}" if of_all else error)
            finally:
                if keep is None:
                    drop_databases(one.folder)
            if number < repeat - 1:
                continue
            if (result := one.result()) is None:
                codes.append(LabCannotRun.exit_code)
                continue
            if predict:
                guesses.keep_with(guessed[place], scenario, result, one.folder)
            results.append(result)
            keep_page(result, one.folder)
            if terse:
                complain(f"{of_all:<9} {headline(result)}")
            elif not json:
                run.render(result, console())
                if plot:
                    plots(result, Raw.of(result, one.folder), console())
                complain(f"\nKept in {one.folder}")
    if json and results:
        documents = [result.to_json() for result in results]
        document = documents[0] if len(chosen) == 1 else f"[{','.join(documents)}]\n"
        sys.stdout.buffer.write(document.encode())  # JSON is UTF-8, whatever the terminal is
    elif len(results) > 1:
        run.summary(results, console(), what_fails=terse)
    if terse:
        complain(f"\nEach is kept in {keep or RUNS}: `lab report` shows it whole.")
    raise typer.Exit(max([*codes, *(result.exit_code for result in results)]))


def keep_page(result: Any, folder: Path) -> None:
    """Write the run's page into its folder; if that fails, print why and go on."""
    from lab.report.html import page

    try:
        page.keep(result, folder)
    except OSError as error:
        complain(f"{folder / page.NAME} could not be written: {error.strerror or error}.")


def _chosen(names: Sequence[str], tags: Sequence[str]) -> list[Any]:
    """The scenarios to run: those given by name, then the others of `all` or the tags."""
    from lab.scenarios import catalogue

    if not names and not tags:
        fail("Which scenario? `lab list` shows them; `lab run all` runs every one.", 2)
    try:
        tagged = catalogue.tagged(tags) if tags else ()
        many = [one for one in (catalogue.built_in() if ALL in names else tagged) if _can_run(one)]
    except catalogue.UnknownName as error:
        fail(error, 2)
    chosen = [scenario_named(name) for name in names if name != ALL]
    named = {scenario.name for scenario in chosen}
    return [*chosen, *(one for one in many if one.name not in named)]


def _can_run(one: Any) -> bool:
    """Whether a scenario selected by `all` or a tag has the NATS it needs; prints why not."""
    from lab.support.nats import NatsMissing, find_server, require_client

    if any(variant.options.get("bus") == "nats" for variant in one.variants.values()):
        try:
            require_client()
            find_server()
        except NatsMissing as missing:
            complain(f"{one.name} is left out. {missing}")
            return False
    return True
