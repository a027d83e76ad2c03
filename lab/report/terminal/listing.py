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
from lab.results.result import RunResult
from lab.scenarios.scenario import Scenario
from lab.support.text import plain, styled

# ── Facts of a scenario


def scenario_facts(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """The variants, the load, and the phases with their faults, as (label, line)."""
    yield "variants", ", ".join(scenario.variants)
    total_weight = sum(scenario.load.mix.values())
    mix = ", ".join(
        f"{100 * part / total_weight:.0f} % {name}" for name, part in scenario.load.mix.items()
    )
    yield "load", f"{scenario.load.rate:g} a second for each variant: {mix}"
    if scenario.load.during_rate:
        yield "surge", f"{scenario.load.during_rate:g} a second in during"
    if scenario.history:
        history = f"{scenario.history.events} posts of an earlier system, published before the run"
        yield "history", history
    for newcomer in scenario.newcomer:
        yield (
            "newcomer",
            f"another {newcomer.service} with an empty database, {newcomer.at:g} s into during",
        )
    for phase in scenario.timeline().phases:
        faults = [
            f"{window.fault.target}: {window.fault.kind}{_settings(window.fault)},"
            f" {window.fault.description}"
            for window in phase.faults
        ]
        yield phase.name, f"{phase.seconds:g} s" + (f"   {'; '.join(faults)}" if faults else "")


def length_s(scenario: Scenario) -> float:
    """The length of all phases of a scenario, in seconds."""
    return scenario.timeline().seconds


def _settings(fault: Fault) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in fault.settings().items())
    return f" ({settings})" if settings else ""


# ── Scenarios and claims


def show_scenarios(scenarios: Sequence[Scenario], console: Console) -> None:
    """Print a line for each scenario, and the scenarios of each tag."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("name", "what happens", "seconds", "quick"):
        table.add_column(heading, justify="right" if heading in ("seconds", "quick") else "left")
    for scenario in scenarios:
        table.add_row(
            styled(scenario.name, "bold"),
            styled(scenario.title),
            f"{length_s(scenario):.0f}",
            f"{length_s(scenario.quick()):.0f}",
        )
    console.print(table)
    console.print("\nTags, as in `lab run --tag notes`:", highlight=False)
    tags = Table.grid(padding=(0, 2))
    for tag in dict.fromkeys(tag for scenario in scenarios for tag in scenario.tags):
        names = ", ".join(scenario.name for scenario in scenarios if tag in scenario.tags)
        tags.add_row(styled(tag, "bold"), styled(names))
    console.print(tags)
    console.print(
        Text("\nNext: lab show slow-service, and then lab run slow-service --quick", "dim")
    )


def show_scenario(scenario: Scenario, console: Console, command_name: str) -> None:
    """Print title, question, facts and claims of a scenario.

    `command_name`: its name for `lab run`.
    """
    table = Table.grid(padding=(0, 2))
    for label, line in scenario_facts(scenario):
        table.add_row(styled(label), styled(line))
    blocks: list[RenderableType] = [
        styled(scenario.title, "bold"),
        Text(),
        styled(scenario.question),
        Text(),
        table,
    ]
    if scenario.claims:
        blocks += [Text(), Text("Claims that it tests", "bold")]
        blocks += [
            Padding(Text.assemble((name, "bold"), "  ", styled(CLAIMS[name].says)), (0, 0, 0, 2))
            for name in scenario.claims
        ]
    console.print(Group(*blocks))
    console.print(Text(f"\nWrite your answer down; then: lab run {plain(command_name)}", "dim"))


def show_claims(
    scenarios: Sequence[Scenario], results: Sequence[RunResult], console: Console
) -> None:
    """Print each claim, the scenarios that test it, and their newest verdicts.

    `results`: saved runs, newest first.
    """
    blocks: list[RenderableType] = []
    for claim in CLAIMS.values():
        blocks.append(Text.assemble((claim.id, "bold"), "  ", styled(claim.says)))
        tested_by = [scenario for scenario in scenarios if claim.id in scenario.claims]
        if not tested_by:
            blocks.append(
                Text("    no run can refute it; its design is shown by: lab design", "dim")
            )
        for scenario in tested_by:
            verdict = _verdict(
                claim.id, [run for run in results if run.scenario == scenario.name], scenario
            )
            blocks.append(
                Padding(Text.assemble((scenario.name, "bold"), "  ", verdict), (0, 0, 0, 4))
            )
        blocks.append(Text())
    if others := [scenario.name for scenario in scenarios if not scenario.claims]:
        blocks.append(Text("These test no claim, but how to measure and what helps:", "dim"))
        blocks.append(Padding(styled(", ".join(others)), (0, 0, 0, 4)))
    console.print(Group(*blocks))


def _verdict(claim: str, runs: Sequence[RunResult], scenario: Scenario) -> Text:
    """The verdict of the newest valid run that judged this claim."""
    if not runs:
        return Text(f"not run here yet: lab run {scenario.name}", "dim")
    valid = [run for run in runs if run.valid]
    if not valid:
        return Text("no run of it was valid yet", "red")
    judged = (
        [expectation for expectation in run.expectations if expectation.claim == claim]
        for run in valid
    )
    expectations = next((found for found in judged if found), [])
    if not expectations:
        return Text("no run of it has judged this claim", "dim")
    holding = [expectation for expectation in expectations if expectation.verdict == "holds"]
    sign, style = ("✓", "green") if len(holding) == len(expectations) else ("✗", "red")
    first = next(
        (expectation for expectation in expectations if expectation.verdict != "holds"),
        expectations[0],
    )
    measured = "not measured" if first.measured is None else f"{first.measured:.4g}"
    return Text.assemble(
        (f"{sign} {len(holding)} of {len(expectations)} hold", style),
        "  ",
        styled(f"{first.says} Measured {measured}, expected {first.expected}."),
    )


# ── Design of the blog

_MAX_PATH_WIDTH = 20


def show_design(
    owners: Sequence[Responsibility],
    dependencies: Mapping[str, Sequence[Dependency]],
    goals: Sequence[Goal],
    console: Console,
) -> None:
    """Print the four steps of the course as tables.

    Resources, responsibilities, dependencies by arrangement, goals.
    """
    _print_heading(console, "1", "Resources, and a service for each (as in async-bus)")
    table = _table("service", "owns", "a database of its own")
    for owner in owners:
        own = "yes" if owner.database else "-"
        table.add_row(styled(owner.service, "bold"), styled(owner.owns), own)
    console.print(table)

    _print_heading(
        console,
        "2",
        "Responsibilities in async-bus: what each service calls, publishes and consumes",
    )
    table = _table("service", "calls", "publishes", "consumes")
    for owner in owners:
        texts = (owner.asks, owner.tells, owner.hears)
        table.add_row(styled(owner.service, "bold"), *map(styled, texts))
    console.print(table)
    console.print(
        Text("In sync-chain they call each other instead; `lab diff comments` shows both.", "dim")
    )

    _print_heading(console, "3", "Dependencies, as observed in one run of each arrangement")
    for arrangement, found in dependencies.items():
        asks = [dependency for dependency in found if dependency.how == "asks"]
        hears = [dependency for dependency in found if dependency.how == "hears"]
        console.print(Text.assemble((arrangement, "bold"), f"  {_dependency_summary(asks, hears)}"))
        for dependency in (*asks, *hears):
            console.print(_dependency_line(dependency))

    _print_heading(console, "4", "Goals: the request and its response")
    table = _table("goal", "method and path", "body", "response")
    for goal in goals:
        table.add_row(
            styled(goal.goal, "bold"),
            styled(f"{goal.method} {_breakable_path(goal.path)}"),
            styled(goal.body or "-"),
            styled(goal.answer),
        )
    console.print(table)


def _dependency_line(dependency: Dependency) -> Text:
    """One observed dependency as a line."""
    verb = "calls" if dependency.how == "asks" else "consumes from"
    return Text("  ") + styled(f"{dependency.service} {verb} {dependency.other}: {dependency.what}")


def _breakable_path(path: str) -> str:
    """A path with a space before its last segment if it is long, so that the line breaks there."""
    head, slash, tail = path.rpartition("/")
    return f"{head} {slash}{tail}" if len(path) > _MAX_PATH_WIDTH else path


def _dependency_summary(calls: Sequence[Dependency], consumed: Sequence[Dependency]) -> str:
    call_count = len({(call.service, call.other) for call in calls})
    if not call_count and not consumed:
        return "one process: no calls over the network"
    if not call_count:
        return "no service needs another one to respond; its copies may be late"
    return f"{call_count} direct dependencies: without the callee there is no response"


def _print_heading(console: Console, number: str, text: str) -> None:
    console.print(Text(f"\n{number}. {text}", "bold"))


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
