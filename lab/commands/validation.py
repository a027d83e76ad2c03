"""What `lab simulate --validate` prints: the model beside the real lab, and how far it is off."""

from collections.abc import Iterator, Sequence
from math import isnan

from lab.report.blocks import Block, Cell, Column, Line, Table
from lab.simulation.fleet.validate import (
    BOUNDS,
    GOALS,
    Comparison,
    Figure,
    summarize,
)

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
        yield _each(found.figures)
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
                Cell(_error(name, of["again"]), "soft"),
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


def _each(figures: Sequence[Figure]) -> Table:
    rows = [
        [
            Cell(figure.scenario),
            Cell(".".join(part for part in figure.key if part)),
            Cell(_value(figure.name, figure.real)),
            Cell(_value(figure.name, figure.simulated)),
            Cell(_error(figure.name, figure.error)),
            Cell("—" if figure.again is None else _error(figure.name, figure.again), "soft"),
            Cell(f"{figure.n}"),
            Cell("refused" if figure.refused else "", "warn"),
        ]
        for figure in figures
    ]
    columns = [Column("scenario"), Column("figure")]
    columns += [Column(one, right=True) for one in ("real", "simulated", "error", "again", "n", "")]
    return Table("Each figure", columns, [rows], labels=2)


def _value(name: str, value: float) -> str:
    if name == "success":
        return f"{100 * value:.1f} %"
    if name == "lag":
        return f"{value:.0f} events"
    return f"{value:.2f} s" if name == "recovery" else f"{value:.1f} ms"
