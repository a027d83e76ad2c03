"""The command `lab export`."""

from pathlib import Path
from typing import Annotated

import typer

from lab.commands import completion
from lab.commands.console import echo, fail, load_scenario

app = typer.Typer()


@app.command(epilog="Example: lab export slow-service --k6   Next: k6 run slow-service.js")
def export(
    name: Annotated[
        str,
        typer.Argument(help="name or file of a scenario", autocompletion=completion.scenarios),
    ],
    k6: Annotated[bool, typer.Option("--k6", help="as a script for k6")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="in half the time")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="write it into this file")
    ] = None,
) -> None:
    """Write a scenario's load for another tool, with what that tool counts differently."""
    from lab.scenarios.k6 import NotForK6, to_k6

    if not k6:
        fail(f"For which tool? Try: lab export {name} --k6", 2)
    scenario = load_scenario(name)
    try:
        script = to_k6(scenario.quick() if quick else scenario)
    except NotForK6 as error:
        fail(error, 2)
    if output is None:
        echo(script)
        return
    try:
        output.write_text(script, "utf-8")
    except OSError as error:
        fail(f"{output} can't be written: {error.strerror or error}.", 3)
    echo(f"{output} is written; its first lines say how to run it.")
