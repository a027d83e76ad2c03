"""The command `lab search`: find the smallest outage that breaks a promise."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lab.commands.console import (
    VERBOSITY,
    console,
    echo,
    fail,
    make_run_folder,
    or_usage_error,
    run_until_done,
)
from lab.support.text import shell_word

app = typer.Typer()


@app.command(
    epilog="Example: lab search lost --variant outbox=off   "
    "Next: lab search lost --variant outbox=on",
)
def search(
    goal: Annotated[
        str,
        typer.Argument(
            metavar="GOAL",
            help="lost, missing, doubled, diverged, stale:5s, out-of-order, refused-kept, stuck, "
            "any, or an expression such as 'missing > 1'",
        ),
    ] = "any",
    variant: Annotated[
        list[str] | None,
        typer.Option(
            "--variant",
            metavar="WORDS",
            help="an arrangement, or options such as outbox=off; may be repeated (async-bus)",
        ),
    ] = None,
    seed: Annotated[
        str, typer.Option("--seed", metavar="N[:K]", help="which histories, from the K-th on")
    ] = "1",
    histories: Annotated[
        int | None, typer.Option("--histories", min=1, help="try at most this many (no limit)")
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", min=0, help="stop after this time (60; 5 with --ladder)"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="write the history as JSON there"),
    ] = None,
    ladder: Annotated[
        bool,
        typer.Option("--ladder", help="climb the switches: what breaks each promise without one"),
    ] = False,
    svg: Annotated[
        Path | None,
        typer.Option(
            "--svg", metavar="FILE", help="draw the history as a space-time diagram there"
        ),
    ] = None,
    prove: Annotated[
        int,
        typer.Option(
            "--prove",
            metavar="N",
            min=0,
            max=100,
            help="do the same on real processes, in N runs of ten seconds, and count how often it "
            "happens",
        ),
    ] = 0,
    json: Annotated[bool, typer.Option("--json", help="print the history as JSON")] = False,
) -> None:
    """Search for the smallest history of failures that breaks a promise.

    Exits with 0 when no history was found, and with 1 when one was.
    """
    from lab.report.terminal.outage import outcome_lines
    from lab.simulation.histories.judge import Goal
    from lab.simulation.histories.search import parse_seed
    from lab.simulation.histories.search import search as search_histories
    from lab.simulation.histories.variant import parse_variant

    if ladder:
        if goal != "any" or any((variant, histories, output, svg, prove, json)):
            fail("--ladder has its own goals and variants. Beside it: --seed and --seconds.", 2)
        _climb(or_usage_error(parse_seed, seed)[0], 5.0 if seconds is None else seconds)
        return
    wanted = or_usage_error(Goal, goal)
    chosen = or_usage_error(parse_variant, variant or [])
    seed_number, first = or_usage_error(parse_seed, seed)
    if prove and json:
        fail("--prove prints sentences, and --json only the history. Leave out one of them.", 2)
    for file in filter(None, (output, svg)):
        if file.is_dir() or not file.parent.is_dir():  # said before a search of a minute
            what = "is a folder" if file.is_dir() else f"there is no folder {file.parent}"
            fail(f"{file} can't be written: {what}. Try another file.", 3)
    if histories is None and seconds is None:
        seconds = 60.0
    with console(stderr=True).status("") as status:
        outcome = search_histories(
            wanted,
            chosen,
            seed=seed_number,
            first=first,
            histories=histories,
            seconds=seconds,
            progress=lambda tried: (
                status.update(f"{tried:,} histories of {chosen}") if VERBOSITY.level >= 0 else None
            ),
        )
    history = outcome.history
    lines = outcome_lines(outcome, goal, chosen)
    if history is None:
        echo("null" if json else "\n".join(lines))
        if not json:
            echo(f"Others: lab search {_words(goal, variant)} --seed {seed_number + 1}")
        return
    from lab.report.charts.space_time import space_time_chart
    from lab.simulation.histories.drawing import diagram_of

    if output:
        _write(output, history.to_json())
    if svg:
        _write(svg, space_time_chart(diagram_of(history)).svg())
    if json:
        echo(history.to_json())
        raise typer.Exit(1)
    echo("\n".join(lines))
    if output:
        echo(f"History   {output}")
    if svg:
        echo(f"Drawing   {svg}")
    if prove:
        _prove(history, prove)
    again = f"lab search {_words(goal, variant)} --seed {history.seed}"
    echo(f"Again     {again}" if prove else f"Next      {again} --prove 3")
    raise typer.Exit(1)


def _climb(seed: int, seconds: float) -> None:
    """Print each promise with the smallest history that breaks it, and what keeps it."""
    from lab.simulation.histories.ladder import climb
    from lab.simulation.histories.sentence import describe

    echo("Each promise, first without what keeps it, then with it:")
    echo("")
    kept = True
    for number, one in enumerate(climb(seed, seconds), 1):
        broken, whole = one.broken.history, one.kept.history
        deeds = "; ".join(map(describe, broken.deeds)) if broken else ""
        echo(f"{number}  {one.rung.promise}")
        echo(
            _wrapped(
                f"{one.without}: {deeds}."
                if broken
                else f"{one.without}: not broken in {one.broken.tried:,} histories.",
                indent="   ",
            )
        )
        if whole:
            kept = False
            deeds = "; ".join(map(describe, whole.deeds))
            echo(_wrapped(f"{one.kept_by}: BROKEN, too: {deeds}.", indent="   "))
        else:
            echo(f"   {one.kept_by}: not broken in {one.kept.tried:,} histories.")
    echo("Next      lab search missing --variant outbox=off --prove 3")
    if not kept:
        raise typer.Exit(1)


def _prove(history: Any, runs: int) -> None:
    """Run the history's scenario on real processes, and print how often it happened."""
    from lab.cluster.errors import LabCannotRun
    from lab.results.run_folder import create_run_folder
    from lab.scenarios.scenario import Scenario
    from lab.simulation.histories.proof import NotOnProcesses, prove, scenario_text

    try:
        text = scenario_text(history)
    except NotOnProcesses as error:
        echo(f"Not proved: {error}")
        return
    folder = make_run_folder(create_run_folder, "search")
    file = folder / "found.toml"
    _write(folder / "history.json", history.to_json())
    _write(file, text)
    scenario = Scenario.load_file(file)
    proofs = []
    for number in range(runs):
        with console(stderr=True).status(f"run {number + 1} of {runs} on real processes"):
            try:
                work = prove(scenario, folder / f"run-{number + 1:02d}", seed=7 + number)
                proofs.append(run_until_done(work))
            except LabCannotRun as error:
                fail(error, LabCannotRun.exit_code)
    happened = [one.happened for one in proofs]
    unknown = f", {happened.count(None)} say nothing" if None in happened else ""
    echo(
        _wrapped(
            f"On real processes it happened in {happened.count(True)} of {runs} runs{unknown}: "
            + "; ".join(one.measured for one in proofs)
        )
    )
    echo(f"Scenario  {shell_word(file)}")


def _wrapped(text: str, indent: str = "") -> str:
    from lab.report.terminal.outage import wrapped

    return "\n".join(wrapped(text, indent))


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        fail(f"{file} can't be written: {error.strerror}. Try another file.", 3)


def _words(goal: str, variant: list[str] | None) -> str:
    words = [shell_word(goal)]
    words += [f"--variant {shell_word(one)}" for one in variant or []]
    return " ".join(words)
