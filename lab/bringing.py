"""The commands around somebody else's services: doors only, mounted by `cli.py`."""

from pathlib import Path
from typing import Annotated

import typer

from lab.terminal import fail, say

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
    from lab.foreign.adopt.writing import NothingFound
    from lab.foreign.adopt.writing import adopt as look

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
