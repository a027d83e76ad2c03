"""The command `lab merge`."""

from pathlib import Path
from typing import Annotated

import typer

from lab.commands.console import console, echo, fail, make_run_folder, print_json

app = typer.Typer()


@app.command(epilog="Example: lab merge runs   Next: open the page that it names")
def merge(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUNS...", help="folders of runs, folders with many, result.json"),
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="where the page and document are saved"),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="print the document instead")] = False,
) -> None:
    """Merge the runs of many people and machines: what they predicted, and what they measured."""
    from lab.results.merge import find_results
    from lab.results.merge import merge as merge_runs

    merged = merge_runs(find_results(runs))
    if not merged.scenarios:
        why = merged.left_out[0]
        fail(f"There is no run to merge. {why.name}: {why.why}", 2)
    if json:
        print_json(merged.model_dump(mode="json", by_alias=True))
        return
    from lab.report import merged as report
    from lab.report.formatting import TextFormat
    from lab.report.terminal.writer import to_rich
    from lab.results.run_folder import create_run_folder

    screen = console()
    fmt = TextFormat.for_console(screen)
    for part in merged.scenarios:
        screen.print(fmt.text(report.heading(part), "bold"))
        for block in to_rich(report.blocks(part), fmt):
            screen.print(block)
    for block in to_rich(report.left_out(merged), fmt):
        screen.print(block)
    try:
        if output:
            output.mkdir(parents=True, exist_ok=True)
        page, document = report.save(merged, output or make_run_folder(create_run_folder, "merge"))
    except OSError as error:
        fail(f"{output} can't be written: {error.strerror or error}. Try another folder.", 3)
    echo(f"\nPage      {page}\nDocument  {document}")
