"""The commands for external services: `adopt`, `check`, and `validate` for targets."""

import json as documents
from pathlib import Path
from typing import Annotated, Any

import typer

from lab.commands.console import echo, echo_error, fail, run_until_done
from lab.support.text import shell_word

app = typer.Typer()


@app.command(
    epilog="Example: lab adopt ../my-blog   Next: lab validate my-blog.toml",
)
def adopt(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="folder with the services")],
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="file to write (DIR.toml in this folder)")
    ] = None,
) -> None:
    """Write a first target file for the services in a folder. Starts nothing."""
    from lab.external.adopt import write

    file = to or Path(f"{folder.resolve().name or 'mine'}.toml")
    try:
        guesses = write.adopt(folder, file)
    except (write.NoServiceFound, write.NoBlog, FileExistsError, NotADirectoryError) as error:
        fail(error, 2)
    except OSError as error:
        fail(f"{file} can't be written: {error.strerror or error}. Try --to OTHER.toml.", 3)
    echo(f"{file} is written. Nothing was started.")
    if guesses:
        echo(f"Guesses to check: {len(guesses)}")
        for line in guesses:
            echo(f"  {line}")
    echo(f"Next: lab validate {shell_word(file)}")


@app.command(
    epilog="Example: lab check my-blog.toml   Next: lab run downed-service --with my-blog.toml",
)
def check(
    file: Annotated[Path, typer.Argument(metavar="TARGET", help="file of the target")],
    json: Annotated[bool, typer.Option("--json", help="print one JSON document")] = False,
    contract: Annotated[
        bool, typer.Option("--contract", help="only the contract, without outages: a few seconds")
    ] = False,
    bus: Annotated[str, typer.Option(help="log: the lab's log replaces your bus")] = "own",
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="also write JUnit XML, for CI")
    ] = None,
) -> None:
    """Check your services: the contract, then some outages. What holds, and what does not?"""
    from lab.conformance import formats
    from lab.conformance.outages import OUTAGES
    from lab.conformance.runner import check_system
    from lab.external.arrangement import why_incomplete

    target = _load_target(file)
    if problems := why_incomplete(target, bus):
        hint = [_replace_hint(file)] if target.missing_services() else []
        fail("\n".join((*problems, *hint)), 2)
    outages = () if contract else OUTAGES
    card = run_until_done(
        check_system(target, outages, lambda step: echo_error(f"... {step}"), bus)
    )
    if junit is not None:
        try:
            junit.write_text(formats.to_junit(card), "utf-8")
        except OSError as error:
            fail(f"{junit} can't be written: {error.strerror or error}.", 3)
    if json:
        echo(documents.dumps(formats.to_json(card), indent=2))
    else:
        echo("\n".join(formats.to_text(card, str(file))))
    raise typer.Exit(0 if card.passed else 1)


def is_target_file(name: str) -> bool:
    """Whether this is the name of a target file; exits with code 2 if the file is malformed."""
    from lab.external.target import TargetError, is_target

    path = Path(name)
    try:
        return path.suffix == ".toml" and path.is_file() and is_target(path)
    except TargetError as error:
        fail(error, 2)


def validate(file: Path) -> None:
    """Print whether a target can be started, and what to repair first."""
    from lab.cluster.fault_rules import no_sidecar_note
    from lab.external.target import start_problems

    target = _load_target(file)
    problems = list(start_problems(target))
    state = "is valid, but can't be started here" if problems else "can be started"
    echo(f"{file} {state}. Services: {', '.join(target.services)}.")
    for sentence in problems:
        echo(sentence)
    if without_sidecar := [name for name in target.services if not target.can_have_sidecar(name)]:
        echo(no_sidecar_note(*without_sidecar))
    missing = target.missing_services()
    for sentence in missing:
        echo(sentence)
    echo(_replace_hint(file) if missing else f"Next: lab check {shell_word(file)}")


def _load_target(file: Path) -> Any:
    from lab.external.target import TargetError, read_target

    try:
        return read_target(file)
    except TargetError as error:
        fail(error, 2)


def _replace_hint(file: Path) -> str:
    replacement = shell_word(f"NAME={file}")
    return (
        f"It is a part of a blog: lab run downed-service --replace {replacement} runs it with the "
        "lab's services."
    )
