"""The twins side by side: the differences between asking and telling, line by line."""

import difflib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from lab.cluster.arrangements import ARRANGEMENTS
from lab.domain.services import SERVICES

CHAIN, BUS = "sync-chain", "async-bus"
FILES = (*SERVICES, "stack")
TRANSPORTS = {
    CHAIN: "lab/sync_chain/ask/http.py (HTTP)",
    "request-reply": "lab/sync_chain/ask/events.py (events)",
    "monolith": "lab/sync_chain/ask/call.py (a plain call)",
}
TWO_COLUMN_WIDTH = 150
_STYLES = {"-": "dark_orange", "+": "deep_sky_blue1", " ": "dim"}
_SIDE_LABELS = {"-": "only sync-chain", "+": "only async-bus"}


def source_path(arrangement: str, file: str) -> Path:
    """The source file of a service, or of the stack, in an arrangement."""
    posts_module = ARRANGEMENTS[arrangement].programs.get("posts", "lab.sync_chain.posts")
    spec = find_spec(f"{posts_module.rpartition('.')[0]}.{file}")
    assert spec
    assert spec.origin
    return Path(spec.origin)


def diff_lines(file: str) -> list[tuple[str, str, str]]:
    """Lines as (sign, chain, bus): `" "` in both, `"-"` only in chain, `"+"` only in bus."""
    chain, bus = (source_path(one, file).read_text("utf-8").splitlines() for one in (CHAIN, BUS))
    lines: list[tuple[str, str, str]] = []
    matcher = difflib.SequenceMatcher(None, chain, bus, autojunk=False)
    for operation, a, b, c, d in matcher.get_opcodes():
        if operation == "equal":
            lines += [(" ", line, line) for line in chain[a:b]]
        else:
            lines += [("-", line, "") for line in chain[a:b]]
            lines += [("+", "", line) for line in bus[c:d]]
    return lines


def show_same_file(file: str, other: str, console: Console) -> None:
    """Print that an arrangement runs the same file as the chain, and what differs instead."""
    if other == CHAIN:
        console.print(f"{file}.py of {CHAIN} is what all are compared with. Name another one.")
        return
    console.print(
        Text.assemble(
            (f"{file}.py", "bold"),
            f" of {other} is the file of {CHAIN} itself: the two run the same handlers.\n",
            f"What differs is how a question travels: {TRANSPORTS[CHAIN]} or {TRANSPORTS[other]}.",
        )
    )


def show_diff(file: str, other: str, console: Console) -> None:
    """Print the differences of the twins: in two columns on a wide terminal, otherwise in one."""
    if source_path(CHAIN, file) == source_path(other, file):
        show_same_file(file, other, console)
        return
    lines = diff_lines(file)
    same = sum(sign == " " for sign, _, _ in lines)
    chain_only = sum(sign == "-" for sign, _, _ in lines)
    bus_only = sum(sign == "+" for sign, _, _ in lines)
    head = Text.assemble(
        (f"{file}.py", "bold"),
        f"   {same} lines in both   ",
        (f"- {chain_only} {_SIDE_LABELS['-']}", _STYLES["-"]),
        "   ",
        (f"+ {bus_only} {_SIDE_LABELS['+']}", _STYLES["+"]),
    )
    wide = console.width >= TWO_COLUMN_WIDTH
    body = _two_columns(lines) if wide else Group(*_one_column(lines))
    console.print(Group(head, Text(), body))


def _one_column(lines: list[tuple[str, str, str]]) -> Iterator[RenderableType]:
    for sign, chain, bus in lines:
        yield Text(f"{sign} {chain or bus}", style=_STYLES[sign])


def _two_columns(lines: list[tuple[str, str, str]]) -> Table:
    table = Table(box=None, padding=(0, 1), expand=True)
    table.add_column(CHAIN, ratio=1, overflow="fold")
    table.add_column(BUS, ratio=1, overflow="fold")
    unmatched: list[str] = []

    for sign, chain, bus in lines:
        if sign == "-":
            unmatched.append(chain)
            continue
        if sign == "+":
            left = f"- {unmatched.pop(0)}" if unmatched else ""
            table.add_row(Text(left, _STYLES["-"]), Text(f"+ {bus}", _STYLES["+"]))
            continue
        for left in unmatched:
            table.add_row(Text(f"- {left}", _STYLES["-"]), Text())
        unmatched.clear()
        table.add_row(Text(f"  {chain}", _STYLES[" "]), Text(f"  {bus}", _STYLES[" "]))
    for left in unmatched:
        table.add_row(Text(f"- {left}", _STYLES["-"]), Text())
    return table
