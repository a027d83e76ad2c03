"""What `lab simulate --validate` prints: the model beside the real lab, and how far it is off."""

import sys
from collections.abc import Iterator, Sequence
from math import isnan
from pathlib import Path

import typer

from lab.commands.console import (
    console,
    fail,
    load_scenario,
    make_run_folder,
    note,
    run_until_done,
)
from lab.report.blocks import Block, Cell, Column, Line, Table
from lab.report.formatting import TextFormat
from lab.report.terminal.writer import to_rich
from lab.results.run_folder import create_run_folder
from lab.scenarios import catalogue
from lab.simulation.fleet.runs import prepared
from lab.simulation.fleet.validate import (
    BOUNDS,
    GOALS,
    Comparison,
    Figure,
    summarize,
    validate,
)


def run_validation(
    name: str | None,
    seeds: Sequence[int],
    quick: bool,
    json: bool,
    full: bool,
    parent: Path,
    kept: Path | None = None,
) -> None:
    """Run scenarios really and simulated, and print how far the model is off. `name`: one scenario;
    None: all that the model covers. `kept`: the folder of an earlier validation, whose real runs
    are compared again. Ends with exit code 1 if a goal is missed.

    The folder has `validation.json` and `calibration.json`, as they come with the lab.
    """
    known = catalogue.builtin_scenarios() if name is None else [load_scenario(name)]
    scenarios = [prepared(scenario, quick=quick) for scenario in known]
    if kept is not None and not list(kept.glob("*/result.json")):
        fail(f"--from {kept}: expected the folder of a validation, with its real runs.", 2)
    folder = kept or make_run_folder(create_run_folder, "validation", parent)
    found = run_until_done(validate(scenarios, list(seeds), folder, quick, note, bool(kept)))
    validation = found.to_validation()
    (folder / "validation.json").write_text(validation.to_json(), "utf-8")
    if found.parameters is not None:
        (folder / "calibration.json").write_text(found.parameters.to_json(), "utf-8")
    if json:
        sys.stdout.write(validation.to_json())
    else:
        screen = console()
        blocks = validation_blocks(found, full)
        for renderable in to_rich(blocks, TextFormat.for_console(screen)):
            screen.print(renderable)
    note(f"Saved in {folder}")
    missed = any(
        validation.summary[name]["median"] > goal
        for name, goal in GOALS.items()
        if name in validation.summary
    )
    raise typer.Exit(1 if missed else 0 if found.figures else 3)


TITLES = {
    "success": "success",
    "p50": "p50",
    "p99": "p99",
    "visible_p50": "visible p50",
    "lag": "lag",
    "recovery": "recovery",
}


def validation_blocks(found: Comparison, full: bool) -> Iterator[Block]:
    """The answer first: how far the model is off; then each scenario; with `full` each figure."""
    if found.figures:
        yield _summary(found.figures)
        yield Line(
            "again: the real lab against itself, the runs with even numbers against those with odd "
            "ones. A figure above its bound is refused: larger fleets do not show it."
        )
        yield _by_scenario(found.figures)
    if full:
        for name in dict.fromkeys(figure.scenario for figure in found.figures):
            yield _each(name, [one for one in found.figures if one.scenario == name])
    for name, reason in found.left_out.items():
        yield Line(f"{name}: left out. {reason}")


def _error(name: str, value: float) -> str:
    if isnan(value):
        return "—"
    if name == "recovery":
        return f"{value:.2f} s"
    return f"{100 * value:.1f} {'points' if name == 'success' else '%'}"


def _summary(figures: Sequence[Figure]) -> Table:
    headings = ("figures", "median", "goal", "worst kept", "worst", "bound", "refused", "again")
    rows = []
    for name, of in summarize(figures).items():
        goal = GOALS.get(name, float("nan"))
        missed = not isnan(goal) and of["median"] > goal
        rows.append(
            [
                Cell(TITLES[name]),
                Cell(f"{of['figures']:.0f}"),
                Cell(_error(name, of["median"]), "bad" if missed else ""),
                Cell(_error(name, goal), "soft"),
                Cell(_error(name, of["worst_kept"])),
                Cell(_error(name, of["worst"]), "soft"),
                Cell(_error(name, BOUNDS[name]), "soft"),
                Cell(f"{of['refused']:.0f}"),
                Cell(_error(name, of.get("again", float("nan"))), "soft"),
            ]
        )
    columns = [Column("figure"), *(Column(one, right=True) for one in headings)]
    return Table("How far the model is off", columns, [rows])


def _by_scenario(figures: Sequence[Figure]) -> Table:
    rows = []
    for scenario in dict.fromkeys(figure.scenario for figure in figures):
        own = summarize([figure for figure in figures if figure.scenario == scenario])
        row = [Cell(scenario)]
        for name in TITLES:
            of = own.get(name)
            text = "—"
            if of is not None:
                text = f"{_error(name, of['median'])}, {_error(name, of['worst'])}"
                text += f", {of['refused']:.0f} of {of['figures']:.0f}"
            row.append(Cell(text))
        rows.append(row)
    columns = [Column("scenario"), *(Column(title) for title in TITLES.values())]
    return Table("By scenario: median error, worst error, figures refused", columns, [rows])


def _each(scenario: str, figures: Sequence[Figure]) -> Table:
    rows = [
        [
            Cell(".".join(part for part in figure.key if part)),
            Cell(_value(figure.name, figure.real)),
            Cell(_value(figure.name, figure.simulated)),
            Cell(_error(figure.name, figure.error), "warn" if figure.refused else ""),
            Cell("—" if figure.again is None else _error(figure.name, figure.again), "soft"),
            Cell(f"{figure.n}", "soft"),
        ]
        for figure in figures
    ]
    headings = ("real", "simulated", "error", "again", "n")
    columns = [Column("figure"), *(Column(one, right=True) for one in headings)]
    return Table(scenario, columns, [rows])


def _value(name: str, value: float) -> str:
    if name == "success":
        return f"{100 * value:.1f} %"
    if name == "lag":
        return f"{value:.0f} events"
    return f"{value:.2f} s" if name == "recovery" else f"{value:.1f} ms"
