"""The `lab exercise` commands."""

import json as documents
from pathlib import Path
from typing import Annotated

import typer

from lab.commands.console import fail, say, until_done

app = typer.Typer(
    no_args_is_help=True, help="Mend a small broken piece, and see whether the blog holds."
)

BEGIN = "lab exercise start timeout mine"


@app.command("list", epilog=f"Example: lab exercise list   Next: {BEGIN}")
def list_() -> None:
    """List the exercises."""
    from lab.exercises.catalogue import EXERCISES

    width = max(map(len, EXERCISES))
    for exercise in EXERCISES.values():
        say(f"{exercise.name:<{width}}  {exercise.title}")
    say(f"Begin one: {BEGIN}")


@app.command(epilog=f"Example: {BEGIN}   Next: lab exercise check mine")
def start(
    name: Annotated[str, typer.Argument(help="an exercise, as `lab exercise list` names it")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="where to put its files")],
) -> None:
    """Begin an exercise: put its files into a folder of your own."""
    from lab.exercises.catalogue import NotThere
    from lab.exercises.catalogue import start as begin

    try:
        written = begin(name, folder)
    except NotThere as error:
        fail(error, 2)
    except OSError as error:
        fail(f"Nothing can be written to {folder}: {error.strerror or error}.", 3)
    for path in written:
        say(path)
    say(f"Read {folder / 'README.md'} first. Then: lab exercise check {folder}")


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
    """Try your files in a running blog that is broken on purpose: what was seen, and wanted."""
    from lab.exercises import formats
    from lab.exercises.catalogue import NotThere, begun_in
    from lab.exercises.grader import check as look

    try:
        exercise = begun_in(folder)
    except NotThere as error:
        fail(error, 2)
    except OSError as error:
        fail(f"{folder} can't be read: {error.strerror or error}.", 2)
    verdict = until_done(look(exercise, folder))
    written = {
        junit: formats.junit(verdict),
        gradescope: documents.dumps(formats.gradescope(verdict), indent=2) + "\n",
    }
    for path, text in written.items():
        try:
            if path is not None:
                path.write_text(text, "utf-8")
        except OSError as error:
            fail(f"{path} can't be written: {error.strerror or error}.", 3)
    if json:
        say(documents.dumps(formats.document(verdict), indent=2))
    else:
        say("\n".join(formats.sentences(verdict, exercise)))
    raise typer.Exit(0 if verdict.passed else 1)
