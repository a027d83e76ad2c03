"""The commands for external services: `adopt`, `check`, and `validate` for targets."""

import json as documents
from pathlib import Path
from typing import Annotated, Any

import typer

from lab.commands.console import complain, fail, say, until_done

app = typer.Typer()


@app.command(
    rich_help_panel="Your own services",
    epilog="Example: lab adopt ../my-blog   Next: lab validate my-blog.toml",
)
def adopt(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="the folder with the services")],
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="what to write (DIR.toml, here)")
    ] = None,
) -> None:
    """Write a first target file by looking at a folder. Nothing in it is run."""
    from lab.external.adopt.write import NothingFound
    from lab.external.adopt.write import adopt as look

    file = to or Path(f"{folder.resolve().name or 'mine'}.toml")
    try:
        unsure = look(folder, file)
    except (NothingFound, FileExistsError, NotADirectoryError) as error:
        fail(error, 2)
    except OSError as error:
        fail(f"{file} can't be written: {error.strerror or error}. Try --to ELSEWHERE.toml.", 3)
    say(f"{file} is written. Nothing was run.")
    if unsure:
        say(f"Guesses that need your eye: {len(unsure)}")
        for line in unsure:
            say(f"  {line}")
    say(f"Next: lab validate {file}")


@app.command(
    rich_help_panel="Your own services",
    epilog="Example: lab check my-blog.toml   Next: lab run downed-service --with my-blog.toml",
)
def check(
    file: Annotated[Path, typer.Argument(metavar="TARGET", help="the target's file")],
    json: Annotated[bool, typer.Option("--json", help="print one JSON document")] = False,
    contract: Annotated[
        bool, typer.Option("--contract", help="only the contract, and no outage: some seconds")
    ] = False,
    bus: Annotated[
        str, typer.Option(help="log puts the lab's log in the place of your bus")
    ] = "own",
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="also write JUnit XML, for CI")
    ] = None,
) -> None:
    """Try your own services: their contract, then a few outages. What holds, and what does not."""
    from lab.conformance import formats
    from lab.conformance.outages import OUTAGES
    from lab.conformance.runner import report_card
    from lab.external.arrangement import why_not_whole

    target = _target_in(file)
    if problems := why_not_whole(target, bus):
        part = [_as_a_part(file)] if target.not_whole() else []
        fail("\n".join((*problems, *part)), 2)
    outages = () if contract else OUTAGES
    card = until_done(report_card(target, outages, lambda what: complain(f"... {what}"), bus))
    if junit is not None:
        try:
            junit.write_text(formats.junit(card), "utf-8")
        except OSError as error:
            fail(f"{junit} can't be written: {error.strerror or error}.", 3)
    if json:
        say(documents.dumps(formats.document(card), indent=2))
    else:
        say("\n".join(formats.sentences(card, str(file))))
    raise typer.Exit(0 if card.passed else 1)


def is_target_file(name: str) -> bool:
    """Whether the name is that of a target file. Ends the command if the file is malformed."""
    from lab.external.target import TargetError, is_target

    path = Path(name)
    try:
        return path.suffix == ".toml" and path.is_file() and is_target(path)
    except TargetError as error:
        fail(error, 2)


def validate(file: Path) -> None:
    """Print whether a target can be started, and what to repair first."""
    from lab.cluster.fault_rules import why_unmoved
    from lab.external.target import remarks

    target = _target_in(file)
    in_the_way = list(remarks(target))
    what = "is understood, and can't be started here as it is" if in_the_way else "can be started"
    say(f"{file} {what}. Services: {', '.join(target.services)}.")
    for sentence in in_the_way:
        say(sentence)
    if unmoved := [name for name in target.services if not target.stands_behind(name)]:
        say(why_unmoved(*unmoved))
    missing = target.not_whole()
    for sentence in missing:
        say(sentence)
    say(_as_a_part(file) if missing else f"Next: lab check {file}")


def _target_in(file: Path) -> Any:
    from lab.external.target import TargetError, read_target

    try:
        return read_target(file)
    except TargetError as error:
        fail(error, 2)


def _as_a_part(file: Path) -> str:
    return (
        f"It is a part: lab run downed-service --replace NAME={file} puts it among the lab's own."
    )
