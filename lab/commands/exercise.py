"""The `lab exercise` commands."""

import json as documents
from pathlib import Path
from typing import Annotated

import typer

from lab.commands import completion
from lab.commands.console import echo, fail, run_until_done

app = typer.Typer(
    no_args_is_help=True, help="Repair a small part of the blog, and have it checked."
)

START_EXAMPLE = "lab exercise start timeout mine"


@app.command("list", epilog=f"Example: lab exercise list   Next: {START_EXAMPLE}")
def list_() -> None:
    """List the exercises."""
    from lab.exercises.catalogue import EXERCISES

    width = max(map(len, EXERCISES))
    for exercise in EXERCISES.values():
        echo(f"{exercise.name:<{width}}  {exercise.title}")
    echo(f"Start one: {START_EXAMPLE}")


@app.command(epilog=f"Example: {START_EXAMPLE}   Next: lab exercise check mine")
def start(
    name: Annotated[
        str,
        typer.Argument(
            help="an exercise of `lab exercise list`", autocompletion=completion.exercises
        ),
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="the folder for its files")],
) -> None:
    """Start an exercise: copy its files into a folder."""
    from lab.exercises import catalogue

    try:
        written = catalogue.start(name, folder)
    except catalogue.ExerciseNotFound as error:
        fail(error, 2)
    except OSError as error:
        fail(f"{folder} is not writable: {error.strerror or error}. Try another folder.", 3)
    for path in written:
        echo(path)
    echo(f"Read {folder / 'README.md'} first. Then: lab exercise check {folder}")


@app.command(epilog="Example: lab exercise check mine   Next: lab exercise check mine --json")
def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="the folder with your files")],
    json: Annotated[bool, typer.Option("--json", help="print one JSON document")] = False,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="also write JUnit XML, for CI")
    ] = None,
    gradescope: Annotated[
        Path | None, typer.Option(metavar="FILE", help="also write results.json, for Gradescope")
    ] = None,
) -> None:
    """Check your files in a running blog with faults: what happened, and what was expected."""
    from lab.exercises import formats, grader
    from lab.exercises.catalogue import ExerciseNotFound, exercise_in

    try:
        exercise = exercise_in(folder)
    except ExerciseNotFound as error:
        fail(error, 2)
    except OSError as error:
        fail(f"{folder} can't be read: {error.strerror or error}.", 2)
    verdict = run_until_done(grader.check(exercise, folder))
    written = {
        junit: formats.to_junit(verdict),
        gradescope: documents.dumps(formats.to_gradescope(verdict), indent=2) + "\n",
    }
    for path, text in written.items():
        try:
            if path is not None:
                path.write_text(text, "utf-8")
        except OSError as error:
            fail(f"{path} can't be written: {error.strerror or error}.", 3)
    if json:
        echo(documents.dumps(formats.to_json(verdict), indent=2))
    else:
        echo("\n".join(formats.to_text(verdict, exercise)))
    raise typer.Exit(0 if verdict.passed else 1)
