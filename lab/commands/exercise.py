"""The `lab exercise` commands."""

import json as documents
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from lab.commands import completion
from lab.commands.console import echo, fail, run_until_done
from lab.support.text import shell_word

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
    echo(f"Read {folder / 'README.md'} first. Then: lab exercise check {shell_word(folder)}")


@app.command(epilog="Example: lab exercise check mine   Next: lab exercise check mine --json")
def check(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="the folder with your files, or many")
    ],
    json: Annotated[bool, typer.Option("--json", help="print one JSON document")] = False,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="also write JUnit XML, for CI")
    ] = None,
    gradescope: Annotated[
        Path | None, typer.Option(metavar="FILE", help="also write results.json, for Gradescope")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="also write a table, a line for each folder")
    ] = None,
    exercise: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="grade as this exercise, whatever the folders say",
            autocompletion=completion.exercises,
        ),
    ] = "",
) -> None:
    """Check your files in a running blog with faults: what happened, and what was expected.

    Many folders, or --csv: each is checked on a copy, one after the other.
    """
    if len(folders) > 1 or csv:
        if gradescope:
            fail("Gradescope takes the results of one folder: leave out --csv, or the others.", 2)
        _check_many(folders, exercise, json, junit, csv)
    else:
        _check_one(folders[0], exercise, json, junit, gradescope)


@app.command(
    epilog="Example: lab exercise autograder timeout graders   Next: read graders/README.md"
)
def autograder(
    name: Annotated[
        str,
        typer.Argument(
            help="an exercise of `lab exercise list`, or a notebook's file",
            autocompletion=completion.exercises,
        ),
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="a new folder for the graders")],
) -> None:
    """Write graders: for Gradescope, GitHub Classroom and a shell; or for nbgrader and otter."""
    from lab.exercises.autograder import write_graders
    from lab.exercises.catalogue import ExerciseNotFound
    from lab.exercises.notebook_graders import write_notebook_graders
    from lab.exercises.wheel import NotInstalled

    try:
        if name.endswith(".ipynb"):
            written = write_notebook_graders(Path(name), folder)
        else:
            written = write_graders(name, folder)
    except ExerciseNotFound as error:
        fail(error, 2)
    except NotInstalled as error:
        fail(error, 3)
    except OSError as error:
        fail(f"{error.filename or folder}: {error.strerror or error}. Try another folder.", 3)
    for path in written:
        echo(path)


def _check_one(
    folder: Path, name: str, json: bool, junit: Path | None, gradescope: Path | None
) -> NoReturn:
    from lab.exercises import formats, grader
    from lab.exercises.catalogue import ExerciseNotFound, exercise_in

    try:
        exercise = exercise_in(folder, name)
    except ExerciseNotFound as error:
        fail(error, 2)
    except OSError as error:
        fail(f"{folder} can't be read: {error.strerror or error}.", 2)
    verdict = run_until_done(grader.check(exercise, folder))
    _write(junit, formats.to_junit(verdict))
    _write(gradescope, documents.dumps(formats.to_gradescope(verdict), indent=2) + "\n")
    if json:
        echo(documents.dumps(formats.to_json(verdict), indent=2))
    else:
        echo("\n".join(formats.to_text(verdict, exercise)))
    raise typer.Exit(0 if verdict.passed else 1)


def _check_many(
    folders: list[Path], name: str, json: bool, junit: Path | None, csv: Path | None
) -> NoReturn:
    from time import perf_counter

    from lab.exercises import batch
    from lab.exercises.catalogue import ExerciseNotFound, find

    try:
        _ = name and find(name)
    except ExerciseNotFound as error:
        fail(error, 2)
    began_s, grades = perf_counter(), list[batch.FolderGrade]()

    def keep(grade: batch.FolderGrade) -> None:
        """After each folder, so that an interrupted command has written what it knows."""
        grades.append(grade)
        _write(junit, batch.to_junit(grades))
        _write(csv, batch.to_csv(grades))
        if not json:
            echo(batch.to_line(grade))

    run_until_done(batch.grade_folders(folders, name, keep))
    if json:
        echo(documents.dumps(batch.to_json(grades), indent=2))
    else:
        echo(batch.to_summary(grades, perf_counter() - began_s))
    if any(grade.grade is None for grade in grades):
        raise typer.Exit(3)
    raise typer.Exit(0 if all(grade.passed for grade in grades) else 1)


def _write(path: Path | None, text: str) -> None:
    """Write a file that was asked for; one that can't be written ends the command."""
    try:
        if path is not None:
            path.write_text(text, "utf-8")
    except OSError as error:
        fail(f"{path} can't be written: {error.strerror or error}.", 3)
