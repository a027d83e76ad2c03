"""`lab.simulate`: a scenario in a fleet that no laptop holds, from Python.

    fleet = lab.simulate("downed-service", services=1000, rate=100_000)
    fleet["sync-chain"]["during"]["read_feed"].success
    sizes = lab.simulate("downed-service", sweep="services=40,400,4000")
    sizes                                       # in a notebook: the table, and the chart of costs

A simulated result is a `Result` like any other, with `simulated` true. Without the extra that the
engine needs, the call raises ImportError with what to install.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.api.display import NotebookSequence
from lab.api.progress import notebook_line
from lab.api.result import Result
from lab.report.cost import cost_blocks, cost_chart
from lab.report.formatting import TextFormat
from lab.report.html import notebook, page
from lab.report.html import sweep as sweep_page
from lab.report.terminal.writer import to_rich
from lab.results.saved_names import RUNS
from lab.scenarios import catalogue
from lab.scenarios.scenario import Scenario
from lab.simulation.fleet import require_extra


class Sizes(NotebookSequence[Result]):
    """The results of a sweep, one for each size; displays what a fleet costs against its size."""

    def __init__(self, results: Sequence[Result], page: Path) -> None:
        super().__init__(results)
        self.page = page
        """A page with a slider over these sizes."""

    def chart(self) -> Any:
        """The chart of latency, success, events, processes, connections and memory against size."""
        return cost_chart(self)

    def _text(self) -> str:
        def render(console: Any) -> None:
            for block in to_rich(cost_blocks(self), TextFormat.for_console(console)):
                console.print(block)

        return notebook.as_text(render)

    def _html(self) -> str:
        return notebook.cell_html(notebook.as_pre(self._text()), notebook.inline_svg(self.chart()))


def simulate(
    name: str | Scenario,
    *,
    services: int | None = None,
    fleet: str | None = None,
    rate: float | None = None,
    width: int = 1,
    broken: int = 1,
    target: str = "",
    busy: float = 0.5,
    seed: int = 7,
    quick: bool = False,
    only: Sequence[str] | str | None = None,
    settings: Mapping[str, Any] | None = None,
    sweep: str | None = None,
    from_: Sequence[str | Path] | str | Path = (),
    keep: str | Path | None = None,
) -> Any:
    """Simulate a scenario (its name, or the path of a .toml file); returns a `Result`, or with
    `sweep` one for each size (`Sizes`). The arguments are those of `lab simulate`.

    - `services`: services of the fleet in all; without it, the blog itself.
    - `fleet`: its shape: blog, shards, chain, tree, alibaba or meta.
    - `rate`: arrivals/s for each variant, in all; without it, the scenario's for each shard.
    - `settings`: switches, as `{"retries": 2}`, in each variant that has them.
    - `from_`: runs whose times to take, by folder or scenario; without them, those of the lab.
    - `sweep`: as `"services=40,400"`; also rate, width, broken.

    Raises ValueError for a fleet that cannot be, or a scenario that the model does not cover, and
    ImportError without numba.
    """
    require_extra()
    from lab.simulation.fleet import runs
    from lab.simulation.fleet.fleets import FleetSpec
    from lab.simulation.fleet.world import is_compiled

    variants = [only] if isinstance(only, str) else only
    scenario = runs.prepared(
        name if isinstance(name, Scenario) else catalogue.find(name),
        quick=quick,
        only=variants,
        settings=settings,
    )
    spec = FleetSpec(
        kind=fleet or ("blog" if services is None and sweep is None else "shards"),
        services=4 if services is None else services,
        width=width,
        broken=broken,
        target=target,
        busy=busy,
        seed=seed,
    )
    sizes = runs.parse_sweep(sweep, spec, rate) if sweep else [(spec, rate)]
    measured = [from_] if isinstance(from_, str | Path) else from_
    parameters = runs.find_parameters([str(one) for one in measured])
    for size, its_rate in sizes if sweep else ():
        runs.check(scenario, parameters, size, its_rate)
    folder: Path | None = None
    parent = RUNS if keep is None else Path(keep).expanduser()
    places: list[Path] = []
    results: list[Result] = []
    with notebook_line() as show:
        for number, (size, its_rate) in enumerate(sizes, 1):
            first = "" if is_compiled() else " (the engine is compiled first, once: half a minute)"
            show(f"simulating {size.services:,} services{first}")
            result, samples = runs.run_once(scenario, parameters, seed, size, its_rate, quick)
            folder = folder or runs.create_folder(scenario.name, parent)
            place = folder / f"{number:02d}" if sweep else folder
            runs.save(result, samples, place)
            page.save(result, place)
            places.append(place)
            results.append(Result.load_run(place))
    if not sweep:
        return results[0]
    assert folder is not None
    return Sizes(results, sweep_page.save(results, places, folder))
