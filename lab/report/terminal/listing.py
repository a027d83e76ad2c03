"""Lists: the scenarios, the claims with their verdicts, and the design of the blog.

The facts of a scenario are pairs of label and line, for the terminal and for documents.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import starmap
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lab.faults.kinds import Fault
from lab.report.formatting import TextFormat, fault_setting
from lab.report.terminal.picture import draw_blog
from lab.results.claims import CLAIMS
from lab.results.result import Expectation, RunResult
from lab.scenarios.names import AFTERNOON, FIRST_HOUR, THEMES, stage_of, theme_of
from lab.scenarios.scenario import Scenario
from lab.support.text import plain, styled

if TYPE_CHECKING:  # it starts processes: a list of the scenarios does not
    from lab.report.tracing.design import Dependency, Goal, Responsibility

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
    settings = ", ".join(starmap(fault_setting, fault.settings().items()))
    return f" ({settings})" if settings else ""


# ── Scenarios and claims

_INDENT = (0, 0, 0, 4)

_STAGE_HEADINGS = {
    "first hour": "The first hour, in this order",
    "afternoon": "The afternoon",
    "reference": "Reference: {count} more, and `lab list --all` has a line for each",
}


def show_scenarios(
    scenarios: Sequence[Scenario], console: Console, everything: bool = False
) -> None:
    """Print the scenarios by stage, with a line for each of the first hour and the afternoon.

    `everything`: by theme, with a line for each, and the tags.
    """
    by_theme: dict[str, list[Scenario]] = {theme: [] for theme in [*THEMES, ""]}
    for scenario in scenarios:
        by_theme[theme_of(scenario.name)].append(scenario)
    for theme, order in THEMES.items():
        by_theme[theme].sort(key=lambda scenario: order.index(scenario.name))
    names = max((len(scenario.name) for scenario in scenarios), default=0)
    titles = max((len(plain(scenario.title)) for scenario in scenarios), default=0)
    heading = Text(f"{'name':<{names + 4}}{'what happens':<{titles + 2}}seconds  quick", "dim")
    console.print(heading, soft_wrap=True)

    def print_lines(chosen: Sequence[Scenario]) -> None:
        for scenario in chosen:
            line = Text.assemble((f"  {scenario.name:<{names + 2}}", "bold"))
            line.append(f"{plain(scenario.title):<{titles + 2}}{length_s(scenario):>7.0f}")
            line.append(f"{length_s(scenario.quick()):>7.0f}")
            console.print(line, soft_wrap=True)

    if everything:
        for theme, chosen in by_theme.items():
            if chosen:
                console.print(Text(theme or "Others", "bold"))
                print_lines(chosen)
        tags = ", ".join(dict.fromkeys(tag for scenario in scenarios for tag in scenario.tags))
        console.print(Text(f"\nTags, as in `lab run --tag notes`: {tags}", "dim"))
    else:
        for stage, title in _STAGE_HEADINGS.items():
            chosen = [one for one in _in_order(scenarios) if stage_of(one.name) == stage]
            if not chosen:
                continue
            console.print(Text(title.format(count=len(chosen)), "bold"))
            if stage != "reference":
                print_lines(chosen)
                continue
            for theme, members in by_theme.items():
                if rest := [one.name for one in members if one in chosen]:
                    console.print(Padding(Text(theme or "Others"), (0, 0, 0, 2)))
                    console.print(Padding(styled(", ".join(rest), "bold"), (0, 0, 0, 4)))
    console.print(Text("\nNext: lab show slow-service, and then lab run slow-service", "dim"))


def _in_order(scenarios: Sequence[Scenario]) -> list[Scenario]:
    """The scenarios of the first hour and the afternoon in the order of the path, then the rest."""
    path = (*FIRST_HOUR, *AFTERNOON)
    return sorted(
        scenarios, key=lambda one: path.index(one.name) if one.name in path else len(path)
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
        *_picture(scenario, TextFormat.for_console(console)),
    ]
    if scenario.claims:
        blocks += [Text(), Text("Claims that it tests", "bold")]
        blocks += [
            Padding(Text.assemble((name, "bold"), "  ", styled(CLAIMS[name].says)), (0, 0, 0, 2))
            for name in scenario.claims
        ]
    console.print(Group(*blocks))
    console.print(Text(f"\nWrite your answer down; then: lab run {plain(command_name)}", "dim"))


def _picture(scenario: Scenario, fmt: TextFormat) -> list[Text]:
    """The twins among the variants, with the targets of the faults marked."""
    arrangements = {spec.arrangement or name for name, spec in scenario.variants.items()}
    broken = {method.target for method in scenario.method}
    picture = list(draw_blog(fmt, arrangements, broken))
    return [Text(), *picture] if picture else []


def show_claims(
    scenarios: Sequence[Scenario], results: Sequence[RunResult], console: Console
) -> None:
    """Print each claim, and what the newest valid run of each scenario measured.

    Scenarios without such a run are only counted. `results`: saved runs, newest first.
    """
    blocks: list[RenderableType] = []
    for claim in CLAIMS.values():
        blocks.append(Text.assemble((claim.id, "bold"), "  ", styled(claim.says)))
        tested_by = [scenario.name for scenario in scenarios if claim.id in scenario.claims]
        if not tested_by:
            blocks.append(Padding(Text("No run can refute it. See: lab design", "dim"), _INDENT))
        unmeasured = []
        for name in tested_by:
            run, judged = judged_by(claim.id, name, results)
            if run is None:
                unmeasured.append(name)
            else:
                blocks.append(Padding(_verdict_line(run, judged), _INDENT))
        if unmeasured:
            count = len(unmeasured)
            more = "more " if count < len(tested_by) else ""
            tests = "scenario tests it" if count == 1 else "scenarios test it"
            sentence = f"Not measured here: {count} {more}{tests}. Try: lab run {unmeasured[0]}"
            blocks.append(Padding(Text(sentence, "dim"), _INDENT))
        blocks.append(Text())
    console.print(Group(*blocks))


def judged_by(
    claim: str, scenario: str, results: Sequence[RunResult]
) -> tuple[RunResult | None, list[Expectation]]:
    """The newest valid run of the scenario that judged this claim, and these expectations. A
    simulated run proves nothing."""
    for run in results:
        if run.scenario == scenario and run.valid and not run.simulated:
            judged = [one for one in run.expectations if one.claim == claim]
            if any(one.verdict != "not measured" for one in judged):
                return run, judged
    return None, []


def _verdict_line(run: RunResult, judged: Sequence[Expectation]) -> Text:
    """How many expectations hold, and the figures of the first that does not, or of the first."""
    holding = sum(one.verdict == "holds" for one in judged)
    failing = [one for one in judged if one.verdict == "fails"]
    sign, style = ("✗", "red") if failing else ("✓", "green")
    shown = next((one for one in (*failing, *judged) if one.verdict != "not measured"), judged[0])
    return Text.assemble(
        (run.scenario, "bold"),
        "  ",
        (f"{sign} {holding} of {len(judged)} hold", style),
        ". ",
        styled(f"{shown.says} Measured: {_measured(shown)}."),
    )


def _measured(expectation: Expectation) -> str:
    """The figures that decided it, with their units: `sync-chain.during.read_feed.p50 312 ms`."""
    from lab.report.answer_rows import with_unit

    figures = [
        f"{path} {'not measured' if value is None else with_unit(path, value)}"
        for path, value in expectation.values.items()
    ]
    if not figures and expectation.measured is not None:
        return f"{expectation.measured:.4g} (expected: {expectation.expected})"
    return ", ".join(figures) or "nothing"


# ── Design of the blog

_NO_ONE = ("nobody", "nothing", "")


def show_design(
    owners: Sequence[Responsibility],
    dependencies: Iterable[tuple[str, Sequence[Dependency]]],
    goals: Sequence[Goal],
    console: Console,
) -> None:
    """Print the picture of the blog, and the four steps of the course as tables.

    Resources, responsibilities, dependencies by arrangement, goals. `dependencies`: may be observed
    while they are printed, so each pair is printed at once.
    """
    for line in draw_blog(TextFormat.for_console(console)):
        console.print(line, soft_wrap=True)
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
        shown = ("-" if text in _NO_ONE else text for text in texts)
        table.add_row(styled(owner.service, "bold"), *map(styled, shown))
    console.print(table)
    console.print(
        Text("In sync-chain they call each other instead; `lab diff comments` shows both.", "dim")
    )

    _print_heading(console, "3", "Dependencies, as observed in one run of each arrangement")
    for arrangement, found in dependencies:
        asks = [dependency for dependency in found if dependency.how == "asks"]
        hears = [dependency for dependency in found if dependency.how == "hears"]
        console.print(Text.assemble((arrangement, "bold"), f"  {_dependency_summary(asks, hears)}"))
        for dependency in (*asks, *hears):
            console.print(_dependency_line(dependency))

    _print_heading(console, "4", "Goals: the request and its response")
    table = _table("goal")
    table.add_column("method and path", no_wrap=True)
    for heading in ("body", "response"):
        table.add_column(heading, overflow="fold")
    for goal in goals:
        table.add_row(
            styled(goal.goal, "bold"),
            styled(f"{goal.method} {goal.path}"),
            styled(goal.body or "-"),
            styled(goal.answer),
        )
    console.print(table)


def _dependency_line(dependency: Dependency) -> Text:
    """One observed dependency as a line."""
    verb = "calls" if dependency.how == "asks" else "consumes from"
    return Text("  ") + styled(f"{dependency.service} {verb} {dependency.other}: {dependency.what}")


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
