"""What there is: the scenarios, one of them in full, the claims and what came of them."""

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lab.report.facts import facts, length_s
from lab.report.text import plain, styled
from lab.scenarios.claims import CLAIMS
from lab.scenarios.result import Result
from lab.scenarios.scenario import Scenario


def scenarios(found: Sequence[Scenario], console: Console) -> None:
    """A line for each scenario."""
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
    """Everything about a scenario but what comes out of it. `called`: its name for `lab run`."""
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
    """Each claim, the scenarios that bear on it, and the newest verdict of each."""
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
    """What the newest valid run that judged this claim says of it."""
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
