"""The `lab simulate` command: a scenario in a fleet that no laptop holds."""

import sys
from functools import partial
from pathlib import Path
from textwrap import wrap
from typing import Annotated, Any

import typer

from lab.commands import completion
from lab.commands.console import (
    VERBOSITY,
    console,
    echo,
    fail,
    load_scenario,
    make_run_folder,
    note,
    or_usage_error,
    print_json,
    progress_line,
)

app = typer.Typer()


@app.command(
    epilog="Example: lab simulate downed-service --services 1000 --rate 100000   "
    "Next: lab simulate downed-service --sweep services=10,100,1000",
)
def simulate(
    name: Annotated[
        str | None,
        typer.Argument(
            help="name of a scenario, or path of a .toml file", autocompletion=completion.scenarios
        ),
    ] = None,
    services: Annotated[
        int | None,
        typer.Option(help="services of the fleet in all; without it, the blog itself", min=1),
    ] = None,
    fleet: Annotated[
        str | None,
        typer.Option(
            help="its shape: blog, shards, chain, tree, alibaba or meta (shards)", metavar="SHAPE"
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(help="arrivals per second in all; without it, the scenario's for each shard"),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(
            help="how many shards one feed needs; in a tree, how many a service calls", min=1
        ),
    ] = None,
    broken: Annotated[int, typer.Option(help="on how many shards the fault acts", min=1)] = 1,
    target: Annotated[
        str, typer.Option(help="service that the fault acts on, such as hop-17, instead of its own")
    ] = "",
    busy: Annotated[
        float,
        typer.Option(
            help="share of time for which processes are provisioned to work", min=0.05, max=0.95
        ),
    ] = 0.5,
    seed: Annotated[
        int, typer.Option(help="seed of the arrivals and of the model", envvar="LAB_SEED")
    ] = 7,
    quick: Annotated[bool, typer.Option("--quick", help="half the simulated time")] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="VARIANT", help="only this variant; may be repeated"),
    ] = None,
    settings_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SWITCH=VALUE", help="as in lab run; may be repeated"),
    ] = None,
    sweep: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT=VALUES",
            help="one run for each value, as services=10,100,1000; also rate, width, broken",
        ),
    ] = None,
    from_: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="RUN",
            help="take the times of this run, by its folder or scenario; may be repeated. With "
            "--validate: compare the runs of this earlier validation again",
        ),
    ] = None,
    validate: Annotated[
        bool,
        typer.Option(
            "--validate",
            help="run what the model covers, or only this scenario, really and simulated, and "
            "print how far the model is off",
        ),
    ] = False,
    seeds: Annotated[
        int, typer.Option(help="of --validate: real runs of each scenario", min=1, max=50)
    ] = 5,
    list_: Annotated[
        bool, typer.Option("--list", help="list the scenarios that the model covers")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="print one JSON document")] = False,
    full: Annotated[
        bool, typer.Option("--full", help="print every table instead of the answer")
    ] = False,
    keep: Annotated[
        Path | None,
        typer.Option("--keep", "-o", metavar="DIR", help="save it in this folder (runs)"),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no notes, no progress")] = False,
) -> None:
    """Simulate a scenario with measured times, at any size, and print what users would notice."""
    from lab.simulation.fleet import ExtraMissing, require_extra

    VERBOSITY.level -= quiet
    try:
        require_extra()
    except ExtraMissing as missing:
        fail(missing, 2)
    from lab.commands.run import print_run, save_report
    from lab.results.saved_names import RUNS
    from lab.scenarios.switches import parse_assignment
    from lab.simulation.fleet import runs
    from lab.simulation.fleet.fleets import FleetSpec
    from lab.simulation.fleet.world import is_compiled

    if list_:
        _list_covered(json)
        return
    if validate:
        from lab.commands.validation import run_validation

        kept = Path(from_[-1]) if from_ else None
        run_validation(name, range(seed, seed + seeds), quick, json, full, keep or RUNS, kept)
        return
    if name is None:
        fail("Which scenario? `lab simulate --list` shows those that the model covers.", 2)
    settings = dict(or_usage_error(parse_assignment, text) for text in settings_ or [])
    scenario = or_usage_error(
        partial(runs.prepared, load_scenario(name), quick=quick, only=only, settings=settings)
    )
    spec = FleetSpec(
        kind=fleet or ("blog" if services is None and sweep is None else "shards"),
        services=4 if services is None else services,
        width=1 if width is None else width,
        broken=broken,
        target=target,
        busy=busy,
        seed=seed,
    )
    sizes = or_usage_error(runs.parse_sweep, sweep, spec, rate) if sweep else [(spec, rate)]
    parameters = or_usage_error(runs.find_parameters, from_ or [])
    for size, its_rate in sizes if sweep else ():
        or_usage_error(partial(runs.check, scenario, parameters, size, its_rate))
    if not is_compiled():
        note("The engine is compiled first, once on this machine: about half a minute.")
    results: list[Any] = []
    folders: list[Path] = []
    folder: Path | None = None
    for spec, its_rate in sizes:
        with progress_line(f"simulating {spec.services:,} services"):
            result, samples = or_usage_error(
                partial(runs.run_once, scenario, parameters, seed, spec, its_rate, quick)
            )
        folder = folder or make_run_folder(runs.create_folder, scenario.name, keep or RUNS)
        own = folder if len(sizes) == 1 else folder / f"{len(results) + 1:02d}"
        runs.save(result, samples, own)
        save_report(result, own)
        results.append(result)
        folders.append(own)
    assert folder is not None
    if json:
        documents = [result.to_json() for result in results]
        document = documents[0] if len(documents) == 1 else f"[{','.join(documents)}]\n"
        sys.stdout.buffer.write(document.encode())
    elif len(results) == 1:
        print_run(results[0], folder, full)
    else:
        _show_sweep(results, folders, folder)
    note(f"Saved in {folder}")
    raise typer.Exit(max(result.exit_code for result in results))


def _list_covered(json: bool) -> None:
    from lab.simulation.fleet.runs import covered

    known = list(covered())
    if json:
        print_json([{"name": name, "not_covered": reason} for name, reason in known])
        return
    names = [name for name, reason in known if reason is None]
    echo(f"The model covers {len(names)} of {len(known)} scenarios:")
    echo("")
    echo("\n".join(wrap(", ".join(names), 80, break_on_hyphens=False)))
    echo("\nNot these:")
    echo("")
    for name, reason in known:
        if reason is not None:
            indented = wrap(reason, 58, break_on_hyphens=False)
            echo(f"{name:<22}" + f"\n{'':22}".join(indented))
    echo(f"\nNext: lab simulate {names[0]}")


def _show_sweep(results: list[Any], folders: list[Path], folder: Path) -> None:
    """Print the table of a sweep, and write its chart and its page."""
    from lab.report.cost import cost_blocks, cost_chart
    from lab.report.formatting import TextFormat
    from lab.report.html import sweep
    from lab.report.terminal.writer import to_rich

    screen = console()
    for renderable in to_rich(cost_blocks(results), TextFormat.for_console(screen)):
        screen.print(renderable)
    if any(result.simulation.refused for result in results):
        echo("-  left out: there the model missed the real lab (lab simulate --validate)")
    chart = folder / "cost.svg"
    chart.write_text(cost_chart(results).svg(), "utf-8")
    note(f"The chart of these figures: {chart}")
    note(f"The page with a slider: {sweep.save(results, folders, folder)}")
