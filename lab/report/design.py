"""The four steps of the course as tables, made from the running code."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lab.report.text import styled
from lab.scenarios.design import Dependency, Goal, Responsibility

_WIDEST_PATH = 20


def show(
    owners: Sequence[Responsibility],
    dependencies: Mapping[str, Sequence[Dependency]],
    goals: Sequence[Goal],
    console: Console,
) -> None:
    """Print the steps: resources, responsibilities, dependencies by arrangement, goals."""
    _head(console, "1", "Resources, and a service for each (as in async-bus)")
    table = _table("service", "owns", "a database of its own")
    for owner in owners:
        own = "yes" if owner.database else "-"
        table.add_row(styled(owner.service, "bold"), styled(owner.owns), own)
    console.print(table)

    _head(console, "2", "Responsibilities in async-bus: what each asks, tells and hears")
    table = _table("service", "asks", "tells", "hears")
    for owner in owners:
        texts = (owner.asks, owner.tells, owner.hears)
        table.add_row(styled(owner.service, "bold"), *map(styled, texts))
    console.print(table)
    console.print(Text("In sync-chain they ask instead; `lab diff comments` shows both.", "dim"))

    _head(console, "3", "Dependencies, as observed in one run of each arrangement")
    for arrangement, found in dependencies.items():
        asks = [one for one in found if one.how == "asks"]
        hears = [one for one in found if one.how == "hears"]
        console.print(Text.assemble((arrangement, "bold"), f"  {_counted(asks, hears)}"))
        for one in (*asks, *hears):
            console.print(_line(one))

    _head(console, "4", "Goals: what is asked, and what is answered")
    table = _table("goal", "method and path", "body", "answer")
    for goal in goals:
        table.add_row(
            styled(goal.goal, "bold"),
            styled(f"{goal.method} {_foldable(goal.path)}"),
            styled(goal.body or "-"),
            styled(goal.answer),
        )
    console.print(table)


def _line(one: Dependency) -> Text:
    """One observed dependency, as a line."""
    verb = "asks" if one.how == "asks" else "hears from"
    return Text("  ") + styled(f"{one.service} {verb} {one.other}: {one.what}")


def _foldable(path: str) -> str:
    """A path that may be broken between its parts: what is broken elsewhere is hard to read."""
    head, slash, tail = path.rpartition("/")
    return f"{head} {slash}{tail}" if len(path) > _WIDEST_PATH else path


def _counted(asks: Sequence[Dependency], hears: Sequence[Dependency]) -> str:
    needed = len({(one.service, one.other) for one in asks})
    if not needed and not hears:
        return "one process: nobody asks anybody over a wire"
    if not needed:
        return "nobody needs anybody to answer; what is heard may come late"
    return f"{needed} direct dependencies: without the other there is no answer"


def _head(console: Console, number: str, text: str) -> None:
    console.print(Text(f"\n{number}. {text}", "bold"))


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
