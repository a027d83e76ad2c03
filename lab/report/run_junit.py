"""The verdicts of runs as JUnit XML: a test case for each expectation of each scenario."""

from collections.abc import Iterator, Sequence

from lab.report.answer_rows import with_unit
from lab.results.result import Expectation, RunResult
from lab.support.junit import JUnitCase, render_junit

_NO_RESULT = "The lab could not run this scenario. Its messages on stderr say why."


def run_junit(runs: Sequence[tuple[str, RunResult | None]]) -> str:
    """The XML document of scenarios and their results. A run that is no result is an error, and an
    expectation that was not measured is skipped; None: the scenario could not be run."""
    cases = [case for _, result in runs if result and result.valid for case in _cases(result)]
    errors = [
        JUnitCase("the run", reason, classname=name)
        for name, result in runs
        if (reason := _error(result))
    ]
    seconds = sum(_seconds(result) for _, result in runs if result)
    return render_junit("lab run", "lab run", cases, seconds, *errors)


def _cases(result: RunResult) -> Iterator[JUnitCase]:
    for expectation in result.expectations:
        measured = _measured(expectation)
        failed, skipped = (expectation.verdict == word for word in ("fails", "not measured"))
        yield JUnitCase(
            expectation.says,
            f"Measured: {measured}." if failed else "",
            f"Expected: {expectation.that}\nMeasured: {measured}",
            (expectation.reason or "Not measured in this run.") if skipped else "",
            classname=result.scenario,
        )


def _measured(expectation: Expectation) -> str:
    return ", ".join(
        f"{path} {'not measured' if value is None else with_unit(path, value)}"
        for path, value in expectation.values.items()
    )


def _error(result: RunResult | None) -> str:
    if result is None:
        return _NO_RESULT
    return "" if result.valid else f"No result: {' '.join(result.problems)}"


def _seconds(result: RunResult) -> float:
    """The length of the measured stages of a run, in s."""
    return max((stage.until_s for stage in result.timeline.stages), default=0.0)
