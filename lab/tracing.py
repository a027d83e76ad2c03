"""The command that follows one request: a door only, mounted on the command line by `cli.py`."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from lab.terminal import checked, console, fail, until_done

app = typer.Typer()


@app.command(
    rich_help_panel="The code",
    epilog="Example: lab trace comment   Next: lab run slow-service --quick, and then "
    "lab trace --run with the folder it names",
)
def trace(
    what: Annotated[str, typer.Argument(help="comment, feed, or post")] = "comment",
    in_: Annotated[
        list[str] | None,
        typer.Option("--in", metavar="NAME", help="an arrangement; may be repeated (the twins)"),
    ] = None,
    run: Annotated[
        Path | None, typer.Option(metavar="DIR", help="of this kept run, the slowest of `during`")
    ] = None,
    id_: Annotated[
        str | None, typer.Option("--id", metavar="TRACE", help="of the run, the one with this id")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="one JSON document on stdout")] = False,
    otlp: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="write the spans as OTLP/JSON too, as for Jaeger"),
    ] = None,
) -> None:
    """Follow one request through every process, and draw who waited for whom."""
    from lab.meant import did_you_mean
    from lab.scenarios.trace import REQUESTS

    if what not in REQUESTS:
        fail(f"There is no request {what!r}. {did_you_mean(what, REQUESTS)}", 2)
    if id_ and not run:
        fail("--id needs the run in which it was: lab trace --run runs/… --id TRACE", 2)
    if otlp and (otlp.is_dir() or not otlp.parent.is_dir()):
        fail(f"--otlp {otlp}: expected a file's name, in a folder that is there.", 2)
    stories = _of_run(run, what, in_ or [], id_) if run else _sent_now(what, in_)
    if otlp:
        from lab.report.otlp import otlp as as_otlp

        try:
            otlp.write_text(as_otlp(stories), "utf-8")
        except OSError as error:
            fail(f"--otlp {otlp}: can't be written: {error.strerror}.", 3)
    if json:
        from json import dumps

        data = {"schema": "lab.trace/1", "traces": [story.to_data() for story in stories]}
        sys.stdout.buffer.write(f"{dumps(data, indent=2)}\n".encode())
    else:
        from lab.report.trace import show

        show(stories, console())


def _of_run(run: Path, what: str, variants: list[str], id_: str | None) -> Any:
    from lab.scenarios import trace_of_run

    if id_:
        return checked(trace_of_run.by_id, run, id_)
    return checked(trace_of_run.slowest, run, what, variants)


def _sent_now(what: str, arrangements: list[str] | None) -> Any:
    from lab.cluster.topology import ARRANGEMENTS
    from lab.domain.directory import TWINS
    from lab.meant import did_you_mean
    from lab.scenarios.trace import followed

    for name in arrangements or ():
        if name not in ARRANGEMENTS:
            fail(f"There is no arrangement {name!r}. {did_you_mean(name, ARRANGEMENTS)}", 2)
    stories = []
    for name in dict.fromkeys(arrangements or TWINS):
        with TemporaryDirectory(prefix="lab-trace-") as folder:
            stories.append(until_done(followed(name, what, Path(folder))))
    return stories
