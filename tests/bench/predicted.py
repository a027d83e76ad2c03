"""How many predictions of the catalogue lie inside their own interval, and how wide these are.

`python -m tests.bench predicted` runs each scenario with predictions once, in its quick form.
`python -m tests.bench.predicted FOLDER…` counts in folders of saved runs instead.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lab.results.result import Prediction, RunResult
from lab.scenarios.catalogue import builtin_scenarios
from tests.bench.running import lab_run
from tests.bench.table import Figure, at_least, missing

NARROW = 0.15


def figures(folders: Sequence[str] = ()) -> Iterator[Figure]:
    runs = list(_saved(folders) if folders else _of_the_catalogue())
    judged = [
        (run.scenario, one)
        for run in runs
        if run.valid
        for one in run.predictions
        if one.agrees is not None
    ]
    valid = sum(run.valid for run in runs)
    if not judged:
        yield missing("predictions inside their interval", f"none judged in {len(runs)} runs")
        return
    outside = [f"{name}: {one.says}" for name, one in judged if not one.agrees]
    told = f" (outside: {'; '.join(outside)})" if outside else ""
    inside = 100 * (len(judged) - len(outside)) / len(judged)
    counted = f"of {len(judged)} judged in {valid} valid runs of {len(runs)}"
    yield at_least(f"predictions inside their interval, {counted}{told}", 95, [inside], "%")
    narrow = sum(half_width(one) < NARROW for _, one in judged)
    share = 100 * narrow / len(judged)
    yield at_least(f"intervals narrower than ± {NARROW:.0%}", 50, [share], "%")


def half_width(prediction: Prediction) -> float:
    """Half of the interval, as a share of the prediction; infinite without an interval."""
    if not prediction.predicted or prediction.low is None or prediction.high is None:
        return float("inf")
    return (prediction.high - prediction.low) / 2 / abs(prediction.predicted)


def _of_the_catalogue() -> Iterator[RunResult]:
    for scenario in builtin_scenarios():
        if scenario.predict:
            _, document = lab_run(scenario.name, "--quick")
            if "predictions" in document:
                yield RunResult.model_validate(document)


def _saved(folders: Iterable[str]) -> Iterator[RunResult]:
    for folder in folders:
        for file in sorted(Path(folder).glob("**/result.json")):
            yield RunResult.model_validate_json(file.read_bytes())


if __name__ == "__main__":
    for figure in figures(sys.argv[1:]):
        sys.stdout.write(f"{figure.line()}\n")
