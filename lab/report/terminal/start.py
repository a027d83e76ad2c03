"""The first page: the blog, the five runs of the first hour, and where the reader is among them."""

import textwrap
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.text import Text

from lab.report.formatting import TextFormat
from lab.report.terminal.picture import draw_blog
from lab.results.saved_names import has_valid_run
from lab.scenarios.names import FIRST_HOUR, read_title

_INTRODUCTION = (
    "One small blog, built twice. The lab puts both under the same load, breaks both in the same "
    "way, and measures which requests became slow, failed, or showed old data."
)
_NEXT_STEPS = (
    ("lab list", "the scenarios of the afternoon, and all others"),
    ("lab live", "both sides on one page, to break with keys"),
    ("lab exercise list", "repair a part of the blog, and have it checked"),
)


def show_start(console: Console, is_done: Callable[[str], bool] = has_valid_run) -> None:
    """Print the page. `is_done`: whether a saved run of this scenario is a result."""
    fmt = TextFormat.for_console(console)
    for line in _lines(fmt, is_done):
        console.print(line, soft_wrap=True)


def _lines(fmt: TextFormat, is_done: Callable[[str], bool]) -> Iterator[Text]:
    for line in textwrap.wrap(_INTRODUCTION, min(fmt.width, 80)):
        yield Text(line)
    yield Text()
    yield from draw_blog(fmt)
    yield Text()
    yield Text("The first hour: five runs. Each first asks what you expect.", "bold")
    done = [name for name in FIRST_HOUR if is_done(name)]
    here = next((name for name in FIRST_HOUR if name not in done), None)
    tick, arrow = ("+", ">") if fmt.ascii_only else ("✓", "►")
    command_width = max(map(len, FIRST_HOUR)) + len("lab run  --predict") + 2
    for name in FIRST_HOUR:
        sign = tick if name in done else arrow if name == here else " "
        yield Text.assemble(
            f"  {sign} ",
            (f"lab run {name} --predict".ljust(command_width), "bold" if name == here else ""),
            fmt.plain(read_title(name)),
            ("   (you are here)", "dim") if name == here else "",
        )
    yield Text()
    yield Text("After these five:" if here else "All five are done. Go on with:", "bold")
    width = max(len(command) for command, _ in _NEXT_STEPS) + 2
    for command, what in _NEXT_STEPS:
        yield Text(f"    {command:<{width}}{what}")
    yield Text("All commands: lab --help", "dim")
