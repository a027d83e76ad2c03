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
CARRIERS = {
    CHAIN: "lab/sync_chain/ask/http.py (HTTP)",
    "request-reply": "lab/sync_chain/ask/events.py (events)",
    "monolith": "lab/sync_chain/ask/call.py (a plain call)",
}
SIDE_BY_SIDE_FROM = 150
_STYLE = {"-": "dark_orange", "+": "deep_sky_blue1", " ": "dim"}
_WHOSE = {"-": "only sync-chain", "+": "only async-bus"}


def path_of(arrangement: str, file: str) -> Path:
    """The source file of a service, or of the stack, in an arrangement."""
    of_posts = ARRANGEMENTS[arrangement].programs.get("posts", "lab.sync_chain.posts")
    spec = find_spec(f"{of_posts.rpartition('.')[0]}.{file}")
    assert spec
    assert spec.origin
    return Path(spec.origin)


def differences(file: str) -> list[tuple[str, str, str]]:
    """Lines as (sign, chain, bus): `" "` in both, `"-"` only in chain, `"+"` only in bus."""
    chain, bus = (path_of(one, file).read_text("utf-8").splitlines() for one in (CHAIN, BUS))
    found: list[tuple[str, str, str]] = []
    matcher = difflib.SequenceMatcher(None, chain, bus, autojunk=False)
    for what, a, b, c, d in matcher.get_opcodes():
        if what == "equal":
            found += [(" ", line, line) for line in chain[a:b]]
        else:
            found += [("-", line, "") for line in chain[a:b]]
            found += [("+", "", line) for line in bus[c:d]]
    return found


def show_same(file: str, other: str, console: Console) -> None:
    """Print that an arrangement runs the same file as the chain, and what differs instead."""
    if other == CHAIN:
        console.print(f"{file}.py of {CHAIN} is what all are compared with. Name another one.")
        return
    console.print(
        Text.assemble(
            (f"{file}.py", "bold"),
            f" of {other} is the file of {CHAIN} itself: the two run the same handlers.\n",
            f"What differs is how a question travels: {CARRIERS[CHAIN]} or {CARRIERS[other]}.",
        )
    )


def show(file: str, other: str, console: Console) -> None:
    """Print the differences of the twins: in two columns on a wide terminal, otherwise in one."""
    if path_of(CHAIN, file) == path_of(other, file):
        show_same(file, other, console)
        return
    lines = differences(file)
    same = sum(sign == " " for sign, _, _ in lines)
    chain_only = sum(sign == "-" for sign, _, _ in lines)
    bus_only = sum(sign == "+" for sign, _, _ in lines)
    head = Text.assemble(
        (f"{file}.py", "bold"),
        f"   {same} lines in both   ",
        (f"- {chain_only} {_WHOSE['-']}", _STYLE["-"]),
        "   ",
        (f"+ {bus_only} {_WHOSE['+']}", _STYLE["+"]),
    )
    wide = console.width >= SIDE_BY_SIDE_FROM
    body = _beside(lines) if wide else Group(*_below(lines))
    console.print(Group(head, Text(), body))


def _below(lines: list[tuple[str, str, str]]) -> Iterator[RenderableType]:
    for sign, chain, bus in lines:
        yield Text(f"{sign} {chain or bus}", style=_STYLE[sign])


def _beside(lines: list[tuple[str, str, str]]) -> Table:
    table = Table(box=None, padding=(0, 1), expand=True)
    table.add_column(CHAIN, ratio=1, overflow="fold")
    table.add_column(BUS, ratio=1, overflow="fold")
    waiting: list[str] = []

    for sign, chain, bus in lines:
        if sign == "-":
            waiting.append(chain)
            continue
        if sign == "+":
            left = f"- {waiting.pop(0)}" if waiting else ""
            table.add_row(Text(left, _STYLE["-"]), Text(f"+ {bus}", _STYLE["+"]))
            continue
        for left in waiting:
            table.add_row(Text(f"- {left}", _STYLE["-"]), Text())
        waiting.clear()
        table.add_row(Text(f"  {chain}", _STYLE[" "]), Text(f"  {bus}", _STYLE[" "]))
    for left in waiting:
        table.add_row(Text(f"- {left}", _STYLE["-"]), Text())
    return table
