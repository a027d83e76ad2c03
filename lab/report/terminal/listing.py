"""Lists: the scenarios, the claims with their verdicts, and the design of the blog.

The facts of a scenario are pairs of label and line, for the terminal and for documents.
"""

from collections.abc import Iterator, Mapping, Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lab.faults.kinds import Fault
from lab.report.tracing.design import Dependency, Goal, Responsibility
from lab.results.claims import CLAIMS
from lab.results.result import Result
from lab.scenarios.scenario import Scenario
from lab.support.text import plain, styled

# ── Facts of a scenario


def facts(one: Scenario) -> Iterator[tuple[str, str]]:
    """The variants, the load, and the phases with their faults, as (label, line)."""
    yield "variants", ", ".join(one.variants)
    of_all = sum(one.load.mix.values())
    mix = ", ".join(f"{100 * part / of_all:.0f} % {name}" for name, part in one.load.mix.items())
    yield "load", f"{one.load.rate:g} a second for each variant: {mix}"
    if one.load.during_rate:
        yield "surge", f"{one.load.during_rate:g} a second in during"
    if one.history:
        told = f"{one.history.events} posts of a system that is gone, told before it begins"
        yield "history", told
    for newcomer in one.newcomer:
        yield (
            "newcomer",
            f"one more {newcomer.service}, with nothing, {newcomer.at:g} s into during",
        )
    for phase in one.timeline():
        what = [
            f"{window.fault.target}: {window.fault.kind}{_settings(window.fault)},"
            f" {window.fault.says}"
            for window in phase.faults
        ]
        yield phase.name, f"{phase.seconds:g} s" + (f"   {'; '.join(what)}" if what else "")


def length_s(one: Scenario) -> float:
    """The length of all phases of a scenario, in seconds."""
    return sum(phase.seconds for phase in one.timeline())


def _settings(fault: Fault) -> str:
    told = ", ".join(f"{name} {value}" for name, value in fault.settings().items())
    return f" ({told})" if told else ""


# ── Scenarios and claims


def scenarios(found: Sequence[Scenario], console: Console) -> None:
    """Print a line for each scenario, and the scenarios of each tag."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("name", "what happens", "seconds", "quick"):
        table.add_column(heading, justify="right" if heading in ("seconds", "quick") else "left")
    for scenario in found:
        table.add_row(
            styled(scenario.name, "bold"),
            styled(scenario.title),
            f"{length_s(scenario):.0f}",
            f"{length_s(scenario.quick()):.0f}",
        )
    console.print(table)
    console.print("\nTags, as in `lab run --tag notes`:", highlight=False)
    tags = Table.grid(padding=(0, 2))
    for tag in dict.fromkeys(tag for scenario in found for tag in scenario.tags):
        names = ", ".join(scenario.name for scenario in found if tag in scenario.tags)
        tags.add_row(styled(tag, "bold"), styled(names))
    console.print(tags)
    console.print(
        Text("\nNext: lab show slow-service, and then lab run slow-service --quick", "dim")
    )


def scenario(one: Scenario, console: Console, called: str) -> None:
    """Print title, question, facts and claims of a scenario. `called`: its name for `lab run`."""
    table = Table.grid(padding=(0, 2))
    for label, line in facts(one):
        table.add_row(styled(label), styled(line))
    blocks: list[RenderableType] = [
        styled(one.title, "bold"),
        Text(),
        styled(one.question),
        Text(),
        table,
    ]
    if one.claims:
        blocks += [Text(), Text("Claims it bears on", "bold")]
        blocks += [
            Padding(Text.assemble((name, "bold"), "  ", styled(CLAIMS[name].says)), (0, 0, 0, 2))
            for name in one.claims
        ]
    console.print(Group(*blocks))
    console.print(Text(f"\nWrite your answer down; then: lab run {plain(called)}", "dim"))


def claims(found: Sequence[Scenario], results: Sequence[Result], console: Console) -> None:
    """Print each claim, the scenarios that test it, and their newest verdicts.

    `results`: saved runs, newest first.
    """
    blocks: list[RenderableType] = []
    for claim in CLAIMS.values():
        blocks.append(Text.assemble((claim.id, "bold"), "  ", styled(claim.says)))
        bearing = [one for one in found if claim.id in one.claims]
        if not bearing:
            blocks.append(Text("    no run could refute it; see it done: lab design", "dim"))
        for one in bearing:
            told = _verdict(claim.id, [run for run in results if run.scenario == one.name], one)
            blocks.append(Padding(Text.assemble((one.name, "bold"), "  ", told), (0, 0, 0, 4)))
        blocks.append(Text())
    if others := [one.name for one in found if not one.claims]:
        blocks.append(
            Text("These bear on none of them, but on how to measure and what helps:", "dim")
        )
        blocks.append(Padding(styled(", ".join(others)), (0, 0, 0, 4)))
    console.print(Group(*blocks))


def _verdict(claim: str, runs: Sequence[Result], of: Scenario) -> Text:
    """The verdict of the newest valid run that judged this claim."""
    if not runs:
        return Text(f"not run here yet: lab run {of.name}", "dim")
    valid = [run for run in runs if run.valid]
    if not valid:
        return Text("no run of it was valid yet", "red")
    judged = ([one for one in run.expectations if one.claim == claim] for run in valid)
    about = next((found for found in judged if found), [])
    if not about:
        return Text("no run of it has judged this claim", "dim")
    held = [one for one in about if one.verdict == "holds"]
    sign, style = ("✓", "green") if len(held) == len(about) else ("✗", "red")
    shown = (set(map(id, about)) - set(map(id, held))) or set(map(id, about))
    first = next(one for one in about if id(one) in shown)
    measured = "not measured" if first.measured is None else f"{first.measured:.4g}"
    return Text.assemble(
        (f"{sign} {len(held)} of {len(about)} hold", style),
        "  ",
        styled(f"{first.says} Measured {measured}, expected {first.expected}."),
    )


# ── Design of the blog

_WIDEST_PATH = 20


def show(
    owners: Sequence[Responsibility],
    dependencies: Mapping[str, Sequence[Dependency]],
    goals: Sequence[Goal],
    console: Console,
) -> None:
    """Print the four steps of the course as tables.

    Resources, responsibilities, dependencies by arrangement, goals.
    """
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
    """One observed dependency as a line."""
    verb = "asks" if one.how == "asks" else "hears from"
    return Text("  ") + styled(f"{one.service} {verb} {one.other}: {one.what}")


def _foldable(path: str) -> str:
    """A path with a space before its last segment if it is long, so that the line breaks there."""
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
